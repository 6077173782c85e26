//! OPA's bundles: archives with policies, data and a manifest.

use std::io::Read as _;

use dockside_driver::{Error, Result};
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    policy::{Module, Text},
    source::{data_directory, json, rooted},
};

/// How long a bundle can be when it is unpacked, in bytes: the sandbox has 64 MiB for everything.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

#[derive(Default, Deserialize)]
struct Manifest {
    revision: Option<String>,
    roots: Option<Vec<String>>,
    rego_version: Option<u8>,
    #[serde(default)]
    file_rego_versions: std::collections::BTreeMap<String, u8>,
}

/// Reads a bundle into a policy's text.
pub(crate) fn read(archive: &[u8], text: &mut Text) -> Result<()> {
    let damaged = |error: std::io::Error| Error::invalid(format!("the bundle is damaged: {error}"));
    let mut unpacked = Vec::new();
    GzDecoder::new(archive)
        .take(MAX_BYTES + 1)
        .read_to_end(&mut unpacked)
        .map_err(damaged)?;
    if unpacked.len() as u64 > MAX_BYTES {
        return Err(Error::exhausted(format!(
            "the bundle has more than {MAX_BYTES} bytes"
        )));
    }
    let mut manifest = Manifest::default();
    let mut modules = Vec::new();
    let mut data = Vec::new();
    for entry in tar::Archive::new(unpacked.as_slice())
        .entries()
        .map_err(damaged)?
    {
        let mut entry = entry.map_err(damaged)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes())
            .trim_start_matches('.')
            .trim_start_matches('/')
            .to_owned();
        let mut content = String::new();
        let is_manifest = name == "manifest";
        if !is_manifest && !name.ends_with(".rego") && data_directory(&name).is_none() {
            if name == "data.yaml" || name.ends_with("/data.yaml") {
                return Err(Error::invalid(format!("{name}: data has to be JSON")));
            }
            continue;
        }
        entry
            .read_to_string(&mut content)
            .map_err(|error| Error::invalid(format!("{name}: {error}")))?;
        if is_manifest {
            manifest = serde_json::from_str(&content)
                .map_err(|error| Error::invalid(format!(".manifest: {error}")))?;
        } else if let Some(directory) = data_directory(&name) {
            data.push(rooted(directory, json(&content, &name)?));
        } else {
            modules.push(Module {
                name,
                text: content,
                before_1_0: None,
            });
        }
    }
    if let Some(roots) = &manifest.roots {
        for value in &data {
            check_roots(value, &mut Vec::new(), roots)?;
        }
    }
    for module in &mut modules {
        let version = manifest
            .file_rego_versions
            .iter()
            .find(|(pattern, _)| pattern.trim_start_matches('/') == module.name)
            .map(|(_, version)| *version)
            .or(manifest.rego_version);
        module.before_1_0 = version.map(|version| version == 0);
    }
    text.modules.append(&mut modules);
    text.data.append(&mut data);
    text.revision = manifest.revision;
    Ok(())
}

/// A bundle owns what its manifest names and nothing else.
fn check_roots(value: &Value, path: &mut Vec<String>, roots: &[String]) -> Result<()> {
    let here = path.join("/");
    let is_inside = |root: &String| {
        root.is_empty()
            || here == *root
            || here.starts_with(&format!("{}/", root.trim_matches('/')))
    };
    if roots.iter().any(is_inside) {
        return Ok(());
    }
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            path.push(name.clone());
            let checked = check_roots(value, path, roots);
            path.pop();
            checked
        }),
        _ => Err(Error::invalid(format!(
            "the bundle has data at {here}, which its manifest does not name among its roots"
        ))),
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
pub(crate) mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::policy::{BuiltinErrors, RULE};

    /// A bundle as `opa build` makes them.
    pub(crate) fn bundle(files: &[(&str, &str)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive
                .append_data(&mut header, name, content.as_bytes())
                .unwrap();
        }
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(&archive.into_inner().unwrap()).unwrap();
        packed.finish().unwrap()
    }

    fn text() -> Text {
        Text {
            modules: vec![],
            data: vec![],
            rule: RULE.into(),
            builtin_errors: BuiltinErrors::Deny,
            revision: None,
        }
    }

    #[test]
    fn policies_data_and_manifest_are_read() {
        let archive = bundle(&[
            ("data.json", r#"{"a": 1}"#),
            ("users/all/data.json", r#"["alice"]"#),
            ("docker/authz.rego", "package docker.authz\nallow { true }"),
            (
                ".manifest",
                r#"{"revision": "r7", "roots": ["docker", "a", "users"], "rego_version": 0, "file_rego_versions": {"/other.rego": 1}}"#,
            ),
            ("other.rego", "package docker.other\nx := 1"),
            ("policy.wasm", "not read"),
        ]);
        let mut text = text();
        read(&archive, &mut text).unwrap();
        assert_eq!(text.revision.as_deref(), Some("r7"));
        assert_eq!(
            text.data,
            [
                serde_json::json!({"a": 1}),
                serde_json::json!({"users": {"all": ["alice"]}})
            ]
        );
        let modules: Vec<_> = text
            .modules
            .iter()
            .map(|module| (module.name.as_str(), module.before_1_0))
            .collect();
        assert_eq!(
            modules,
            [
                ("docker/authz.rego", Some(true)),
                ("other.rego", Some(false))
            ]
        );
    }

    #[test]
    fn damaged_bundles_and_data_outside_the_roots_are_errors() {
        let good = bundle(&[("a.rego", "package a")]);
        for (archive, expected) in [
            (b"".to_vec(), "damaged"),
            (b"no archive".to_vec(), "damaged"),
            (good[..good.len() / 2].to_vec(), "damaged"),
            (bundle(&[(".manifest", "{")]), ".manifest"),
            (bundle(&[("data.json", "{")]), "data.json is no JSON"),
            (bundle(&[("x/data.yaml", "a: 1")]), "has to be JSON"),
            (
                bundle(&[
                    ("data.json", r#"{"a": {"b": 1, "c": 2}}"#),
                    (".manifest", r#"{"roots": ["a/b"]}"#),
                ]),
                "data at a/c",
            ),
            (
                bundle(&[("zeros.rego", &"\n".repeat(17 * 1024 * 1024))]),
                "more than",
            ),
        ] {
            let error = read(&archive, &mut text()).unwrap_err();
            assert!(error.message().contains(expected), "{expected}: {error}");
        }
    }
}
