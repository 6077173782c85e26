//! Writes the pages of the WIT packages into `docs/wit`.

use std::path::Path;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let docs = root.join("docs/wit");
    if docs.exists() {
        std::fs::remove_dir_all(&docs).with_context(|| format!("remove {}", docs.display()))?;
    }
    std::fs::create_dir_all(&docs).with_context(|| format!("make {}", docs.display()))?;
    for (name, text) in dockside_author::pages::pages(&root.join("wit"))? {
        let path = docs.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
