#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;
use crate::store::Store;

struct Site {
    directory: tempfile::TempDir,
    store: Store,
}

impl Site {
    fn new() -> Site {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("data")).unwrap();
        Site { directory, store }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn wanted(&self, name: &str, settings: &str) -> Announcement {
        let text = format!("[endpoint]\n{settings}");
        let plugin = config::Plugin::parse(&text, Path::new("/")).unwrap();
        let name = name.parse().unwrap();
        let endpoint = plugin.endpoint.unwrap();
        Announcement::of(&self.path("specs"), &name, &endpoint, 7070)
    }

    async fn announce(&self, wanted: Option<&Announcement>) -> Result<(), String> {
        announce(&self.store, "p", wanted, &self.path("sockets"))
            .await
            .map_err(|error| error.to_string())
    }

    fn files(&self) -> Vec<String> {
        fn walk(directory: &Path, root: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    walk(&path, root, found);
                }
                found.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
        let mut found = Vec::new();
        walk(&self.path("specs"), &self.path("specs"), &mut found);
        found.sort();
        found
    }
}

const PLAIN: &str = "listen = \"tcp://127.0.0.1:0\"";
const TLS: &str = "listen = \"tcp://127.0.0.1:0\"\ntls = { certificate = \"a\", key = { file = \"b\" }, client-ca = \"c\" }\nclient = { ca-file = \"/e/ca\", cert-file = \"/e/cert\", key-file = \"/e/key\" }";

#[tokio::test]
async fn docker_is_told_as_long_as_the_plugin_is_there() {
    let site = Site::new();
    let plain = site.wanted("p", PLAIN);
    site.announce(Some(&plain)).await.unwrap();
    assert_eq!(site.files(), ["p.spec"]);
    let text = fs::read_to_string(site.path("specs/p.spec")).unwrap();
    assert_eq!(text, "tcp://127.0.0.1:7070\n");
    // Removed by hand, it comes back.
    fs::remove_file(site.path("specs/p.spec")).unwrap();
    site.announce(Some(&plain)).await.unwrap();
    assert_eq!(site.files(), ["p.spec"]);
    site.announce(Some(&site.wanted("p", TLS))).await.unwrap();
    assert_eq!(site.files(), ["p.json"]);
    let text = fs::read_to_string(site.path("specs/p.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        value,
        json!({ "Name": "p", "Addr": "https://127.0.0.1:7070", "TLSConfig": {
            "InsecureSkipVerify": false, "CAFile": "/e/ca", "CertFile": "/e/cert", "KeyFile": "/e/key" } })
    );
    site.announce(None).await.unwrap();
    assert!(site.files().is_empty());
    assert_eq!(site.store.meta("p", NOTE).unwrap(), None);
}

#[tokio::test]
async fn a_name_with_slashes_is_a_path() {
    let site = Site::new();
    let wanted = site.wanted("a/b/c", PLAIN);
    site.announce(Some(&wanted)).await.unwrap();
    assert_eq!(site.files(), ["a", "a/b", "a/b/c.spec"]);
    fs::write(site.path("specs/a/other"), "").unwrap();
    site.announce(None).await.unwrap();
    assert_eq!(site.files(), ["a", "a/other"]);
}

#[tokio::test]
async fn what_others_wrote_stays() {
    let site = Site::new();
    let wanted = site.wanted("p", PLAIN);
    fs::create_dir(site.path("specs")).unwrap();
    let file = site.path("specs/p.spec");
    fs::write(&file, "tcp://192.0.2.1:1").unwrap();
    let error = site.announce(Some(&wanted)).await.unwrap_err();
    assert!(error.contains("dockside has not written it"), "{error}");
    site.announce(None).await.unwrap();
    assert_eq!(site.files(), ["p.spec"]);

    fs::remove_file(&file).unwrap();
    site.announce(Some(&wanted)).await.unwrap();
    fs::write(&file, "tcp://192.0.2.1:1").unwrap();
    let error = site.announce(Some(&wanted)).await.unwrap_err();
    assert!(error.contains("dockside has not written it"), "{error}");
    site.announce(None).await.unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "tcp://192.0.2.1:1");
}

#[tokio::test]
async fn a_crash_between_note_and_file_leaves_the_file_known() {
    let site = Site::new();
    let before = site.wanted("p", PLAIN);
    let after = Announcement {
        text: "tcp://127.0.0.1:1\n".to_owned(),
        ..before.clone()
    };
    site.announce(Some(&before)).await.unwrap();
    let note = Note {
        directory: before.directory.clone(),
        file: before.file.clone(),
        digests: vec![
            digest(after.text.as_bytes()),
            digest(before.text.as_bytes()),
        ],
    };
    remember(&site.store, "p", &note).await.unwrap();
    site.announce(Some(&after)).await.unwrap();
    site.announce(None).await.unwrap();
    assert!(site.files().is_empty());
}

#[tokio::test]
async fn what_docker_finds_first_is_named() {
    for (first, settings) in [
        ("sockets/p.sock", PLAIN),
        ("sockets/p/p.sock", PLAIN),
        ("specs/p.spec", TLS),
        ("specs/p/p.spec", TLS),
    ] {
        let site = Site::new();
        let path = site.path(first);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        let wanted = site.wanted("p", settings);
        let error = site.announce(Some(&wanted)).await.unwrap_err();
        assert!(
            error.contains("Docker finds") && error.contains(first),
            "{error}"
        );
        fs::remove_file(&path).unwrap();
        site.announce(Some(&wanted)).await.unwrap();
    }
}
