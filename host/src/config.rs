//! stub
#![allow(missing_docs, unreachable_pub, dead_code, unused)]
use std::path::*; use std::time::Duration; use std::collections::BTreeMap;
#[derive(Debug,Clone,Default)] pub struct Overrides { pub drivers: Option<PathBuf>, pub plugins: Option<PathBuf>, pub data: Option<PathBuf>, pub control: Option<PathBuf> }
#[derive(Debug,Clone)] pub struct Daemon { pub drivers: PathBuf, pub plugins: PathBuf, pub data: PathBuf, pub control: PathBuf, pub socket_group: Option<String>, pub limits: DaemonLimits, pub log: Log }
#[derive(Debug,Clone)] pub struct DaemonLimits { pub max_calls: u32, pub max_connections: u32, pub max_driver_size: u64, pub compile_memory: u64, pub compile_time: Duration, pub header_deadline: Duration, pub body_deadline: Duration, pub max_body: u64, pub max_authz_body: u64 }
#[derive(Debug,Clone)] pub struct Log { pub format: LogFormat, pub level: String }
#[derive(Debug,Clone)] pub enum LogFormat { Text, Json }
impl Daemon { pub fn load(_: Option<&Path>) -> anyhow::Result<Daemon> { Ok(Daemon{drivers:"/var/lib/dockside/drivers".into(),plugins:"/run/docker/plugins".into(),data:"/var/lib/dockside".into(),control:"/run/dockside/control.sock".into(),socket_group:None,limits:DaemonLimits{max_calls:128,max_connections:512,max_driver_size:64<<20,compile_memory:4<<30,compile_time:Duration::from_secs(60),header_deadline:Duration::from_secs(10),body_deadline:Duration::from_secs(30),max_body:1<<20,max_authz_body:8<<20},log:Log{format:LogFormat::Text,level:"info".into()}}) } pub fn apply(&mut self, o: Overrides) { if let Some(x)=o.drivers{self.drivers=x} if let Some(x)=o.plugins{self.plugins=x} if let Some(x)=o.data{self.data=x} if let Some(x)=o.control{self.control=x} } }
#[derive(Debug,Clone,PartialEq,Default,serde::Deserialize)] #[serde(default)] pub struct Plugin { pub driver: Option<String>, pub names: Option<Vec<String>>, pub config: BTreeMap<String,String>, pub grants: Grants, pub limits: Limits, pub instances: Instances }
#[derive(Debug,Clone,PartialEq,Default,serde::Deserialize)] #[serde(default)] pub struct Grants { pub directories: Option<BTreeMap<String,u64>> }
impl Grants { pub fn quota(&self) -> crate::store::Quota { crate::store::Quota::default() } }
#[derive(Debug,Clone,PartialEq,serde::Deserialize)] #[serde(default)] pub struct Limits { pub memory: u64, pub concurrency: u32, pub queue: u32, pub log_bytes: u64 }
impl Default for Limits { fn default()->Self{Limits{memory:64<<20,concurrency:32,queue:256,log_bytes:64<<10}} }
impl Limits { pub fn deadline(&self, _: &str) -> Duration { Duration::from_secs(5) } }
#[derive(Debug,Clone,PartialEq,Default,serde::Deserialize)] #[serde(default)] pub struct Instances { pub reuse: Option<u32> }
#[derive(Debug,Clone,PartialEq,Eq,Hash,PartialOrd,Ord)] pub struct PluginName(String);
impl std::str::FromStr for PluginName { type Err = String; fn from_str(s:&str)->Result<Self,String>{Ok(PluginName(s.into()))} }
impl std::fmt::Display for PluginName { fn fmt(&self, f:&mut std::fmt::Formatter<'_>)->std::fmt::Result { f.write_str(&self.0) } }
#[derive(Debug,Clone,thiserror::Error)] #[error("{0}")] pub struct ConfigError(pub String);
impl Plugin { pub fn names(&self, s:&str)->Vec<PluginName>{ match &self.names { Some(n)=>n.iter().map(|x|PluginName(x.clone())).collect(), None=>s.parse().into_iter().collect() } } pub fn accepts(&self, _: Option<&semver::Version>)->bool{true} pub fn resolve(&self)->Result<BTreeMap<String,String>,ConfigError>{Ok(self.config.clone())} pub fn files(&self)->Vec<PathBuf>{vec![]} }
