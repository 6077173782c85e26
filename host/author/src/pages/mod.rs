//! The WIT packages as pages of Markdown: one for each interface of dockside's own, and an index.

mod interface;
mod spelling;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use wit_parser::{Interface, InterfaceId, PackageId, Resolve, WorldItem, WorldKey};

/// The namespace whose interfaces get pages. Those of WASI are explained where they come from.
const OWN: &str = "dockside";

/// The world that has everything a driver can import and export.
const WHOLE: &str = "driver";

/// The pages, by file name, of the packages at `wit` and below its `deps`.
///
/// # Errors
///
/// The directory cannot be read or is no valid WIT.
pub fn pages(wit: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut resolve = Resolve::default();
    let (package, _) = match resolve.push_path(wit) {
        Ok(read) => read,
        Err(error) => anyhow::bail!(
            "cannot use {}: {}",
            wit.display(),
            resolve.render_error(&error)
        ),
    };
    let mut pages = BTreeMap::new();
    for (id, interface) in resolve.interfaces.iter() {
        if let Some(file) = file_of(&resolve, id) {
            pages.insert(file, interface::page(&resolve, interface));
        }
    }
    pages.insert("README.md".to_owned(), index(&resolve, package)?);
    Ok(pages)
}

/// The file of an interface's page, if it has one.
fn file_of(resolve: &Resolve, id: InterfaceId) -> Option<String> {
    let interface = resolve.interfaces.get(id)?;
    let package = &resolve.packages.get(interface.package?)?.name;
    (package.namespace == OWN).then(|| {
        format!(
            "{}-{}.md",
            package.name,
            interface.name.as_deref().unwrap_or_default()
        )
    })
}

/// An interface's full name, as in a component's imports.
fn name_of(resolve: &Resolve, interface: &Interface) -> String {
    let name = interface.name.as_deref().unwrap_or_default();
    match interface.package.and_then(|id| resolve.packages.get(id)) {
        Some(package) => package.name.interface_id(name),
        None => name.to_owned(),
    }
}

fn index(resolve: &Resolve, package: PackageId) -> anyhow::Result<String> {
    let found = resolve
        .packages
        .get(package)
        .context("the package is not there")?;
    let world = found
        .worlds
        .get(WHOLE)
        .and_then(|id| resolve.worlds.get(*id))
        .with_context(|| format!("there is no world {WHOLE}"))?;
    let docs = found.docs.contents.as_deref().unwrap_or_default();
    let mut text = format!(
        "# The contract with drivers\n\n{}\n\n\
         These pages are made from the files in [`wit/`](../../wit) by `cargo run --release -p dockside-author --bin wit-pages`; a test says when they are\n\
         not up to date.\n\n",
        docs.trim()
    );
    for (title, items) in [
        ("What a driver exports", &world.exports),
        ("What a driver imports", &world.imports),
    ] {
        text += &format!("## {title}\n\n| interface | |\n| --- | --- |\n");
        for (key, item) in items {
            if let (WorldKey::Interface(id), WorldItem::Interface { docs, .. }) = (key, item)
                && let Some(interface) = resolve.interfaces.get(*id)
            {
                let said = docs
                    .contents
                    .as_deref()
                    .or(interface.docs.contents.as_deref())
                    .unwrap_or_default();
                text += &format!(
                    "| {} | {} |\n",
                    linked(resolve, *id, interface),
                    first_sentence(said)
                );
            }
        }
        text.push('\n');
    }
    text += "Interfaces above that are only named there for their types have no functions to grant.\n\n## Worlds\n\n| world | |\n| --- | --- |\n";
    for (name, id) in &found.worlds {
        let docs = resolve
            .worlds
            .get(*id)
            .and_then(|world| world.docs.contents.as_deref())
            .unwrap_or_default();
        text += &format!("| `{name}` | {} |\n", first_sentence(docs));
    }
    Ok(text)
}

fn linked(resolve: &Resolve, id: InterfaceId, interface: &Interface) -> String {
    let name = name_of(resolve, interface);
    match file_of(resolve, id) {
        Some(file) => format!("[`{name}`]({file})"),
        None => format!("`{name}`"),
    }
}

/// For a cell of a table.
fn first_sentence(text: &str) -> String {
    let line = text
        .split("\n\n")
        .next()
        .unwrap_or_default()
        .replace('\n', " ");
    match line.find(". ") {
        Some(end) => line.get(..=end).unwrap_or_default().to_owned(),
        None => line,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::pages;
    use std::collections::BTreeMap;
    use std::path::Path;

    #[test]
    fn the_pages_in_the_repository_are_up_to_date() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let there: BTreeMap<String, String> = std::fs::read_dir(root.join("docs/wit"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    std::fs::read_to_string(entry.path()).unwrap(),
                )
            })
            .collect();
        let made = pages(&root.join("wit")).unwrap();
        for name in made.keys().chain(there.keys()) {
            assert!(
                made.get(name) == there.get(name),
                "docs/wit/{name}: run cargo run --release -p dockside-author --bin wit-pages"
            );
        }
    }

    #[test]
    fn every_function_and_type_of_a_page_has_a_text() {
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        for (name, page) in pages(&wit).unwrap() {
            assert!(
                !page.contains("(no text)"),
                "{name} has something without a comment in wit/"
            );
        }
    }
}
