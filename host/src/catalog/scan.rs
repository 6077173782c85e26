//! stub
#![allow(missing_docs, unreachable_pub, dead_code, unused)]
use std::path::*; use std::collections::BTreeMap; use std::sync::Arc;
use std::os::unix::fs::MetadataExt;
#[derive(Debug,Clone,PartialEq)] pub struct FileId(u64,u64,i64,i64);
#[derive(Debug,Clone)] pub struct Candidate { pub stem: String, pub file: String, pub path: PathBuf, pub semver: Option<semver::Version>, pub id: FileId }
#[derive(Debug)] pub struct PluginFile { pub settings: Result<Arc<crate::config::Plugin>, crate::config::ConfigError> }
#[derive(Debug)] pub struct Refused { pub file: String, pub stem: Option<String>, pub reason: String }
#[derive(Debug,Default)] pub struct Scan { pub drivers: BTreeMap<String, Vec<Candidate>>, pub plugins: BTreeMap<String, PluginFile>, pub refused: Vec<Refused> }
pub fn scan(d: &Path, _: u64) -> std::io::Result<Scan> { let mut s=Scan::default();
 for e in std::fs::read_dir(d)? { let e=e?; let p=e.path(); let f=e.file_name().to_string_lossy().into_owned(); let Ok(m)=e.metadata() else {continue};
  if let Some(st)=f.strip_suffix(".wasm") { let (n,v)=match st.split_once('@'){Some((n,v))=>(n.to_string(),semver::Version::parse(v).ok()),None=>(st.to_string(),None)};
   s.drivers.entry(n.clone()).or_default().push(Candidate{stem:n,file:f,path:p,semver:v,id:FileId(m.ino(),m.len(),m.mtime(),m.mtime_nsec())}); }
  else if let Some(st)=f.strip_suffix(".toml") { let t=std::fs::read_to_string(&p)?; s.plugins.insert(st.to_string(),PluginFile{settings:toml::from_str(&t).map(Arc::new).map_err(|e|crate::config::ConfigError(e.to_string()))}); } }
 for v in s.drivers.values_mut(){ v.sort_by(|a,b|b.semver.cmp(&a.semver)); } Ok(s) }
