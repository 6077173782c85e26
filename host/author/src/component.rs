//! `dockside component`: a component from the core module that a compiler for WASI preview 1 wrote.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, bail};
use wasi_preview1_component_adapter_provider as preview1;
use wasmparser::{Encoding, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::{ManglingAndAbi, Resolve, WasmExport, WorldId, WorldItem, WorldKey};

use crate::world;

/// Exports that are named in an error.
const NAMED: usize = 8;

/// The world that a module is to be a component of. Not needed where the module carries one, as what the C bindings were linked into does.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The directory or file with the WIT.
    pub wit: &'a Path,
    /// The world in it; none if it has only one.
    pub name: Option<&'a str>,
}

/// Makes the component, with an adapter for what the module imports of WASI preview 1.
///
/// # Errors
///
/// The bytes are no core module, there is no world to go by, or the module does not have what the world says.
pub fn encode(module: &[u8], world: Option<World<'_>>) -> anyhow::Result<Vec<u8>> {
    let found = Found::in_module(module)?;
    let mut module = module.to_vec();
    match (found.world, world) {
        (true, _) => {}
        (false, None) => bail!(
            "the module carries no world, so say which it implements: --wit DIR [--world NAME]"
        ),
        (false, Some(World { wit, name })) => {
            let (resolve, id) = world::load(wit, name)?;
            let missing = missing(&resolve, id, &found.exports);
            if !missing.is_empty() {
                let more = missing.len().saturating_sub(NAMED);
                let mut text = missing
                    .into_iter()
                    .take(NAMED)
                    .map(|name| format!("\n  {name}"))
                    .collect::<String>();
                if more > 0 {
                    text.push_str(&format!("\n  and {more} more"));
                }
                bail!(
                    "the module does not export what the world {} has:{text}\nA function that the program does not define, or a linker that \
                     was not told to keep exports, leaves these out",
                    resolve
                        .worlds
                        .get(id)
                        .map_or("", |world| world.name.as_str())
                );
            }
            wit_component::embed_component_metadata(
                &mut module,
                &resolve,
                id,
                StringEncoding::UTF8,
                false,
            )
            .context("cannot write the world into the module")?;
        }
    }
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .context("the world that the module carries makes no sense")?
        .adapter(
            preview1::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
            preview1::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
        )
        .context("cannot add the adapter for WASI preview 1")?
        .encode()
        .context("the module does not fit the world")
}

/// What a module says of itself.
struct Found {
    exports: BTreeSet<String>,
    world: bool,
}

impl Found {
    fn in_module(bytes: &[u8]) -> anyhow::Result<Self> {
        if !bytes.starts_with(b"\0asm") {
            bail!("this is no WebAssembly: it does not begin as a .wasm file does");
        }
        let mut found = Self {
            exports: BTreeSet::new(),
            world: false,
        };
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.context("the file is cut short or damaged")? {
                Payload::Version {
                    encoding: Encoding::Component,
                    ..
                } => bail!("this is a component already: it can be used as it is"),
                Payload::ExportSection(exports) => {
                    for export in exports {
                        found.exports.insert(export?.name.to_owned());
                    }
                }
                Payload::CustomSection(section) if section.name().starts_with("component-type") => {
                    found.world = true;
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

/// The functions of a world that a module does not export, by the names that it would have to.
fn missing(resolve: &Resolve, world: WorldId, exports: &BTreeSet<String>) -> Vec<String> {
    let Some(world) = resolve.worlds.get(world) else {
        return Vec::new();
    };
    let mut missing = Vec::new();
    let mut look = |key: Option<&WorldKey>, function| {
        let export = |abi| {
            resolve.wasm_export_name(
                abi,
                WasmExport::Func {
                    interface: key,
                    func: function,
                    kind: wit_parser::WasmExportKind::Normal,
                },
            )
        };
        let name = export(ManglingAndAbi::Legacy(wit_parser::LiftLowerAbi::Sync));
        if !exports.contains(&name) && !exports.contains(&export(ManglingAndAbi::Standard32)) {
            missing.push(name);
        }
    };
    for (key, item) in &world.exports {
        match item {
            WorldItem::Function(function) => look(None, function),
            WorldItem::Interface { id, .. } => {
                for function in resolve
                    .interfaces
                    .get(*id)
                    .into_iter()
                    .flat_map(|interface| interface.functions.values())
                {
                    look(Some(key), function);
                }
            }
            WorldItem::Type { .. } => {}
        }
    }
    missing
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    const WIT: &str = "package demo:driver@1.2.3;
        interface sums { add: func(a: u32, b: u32) -> u32; zero: func() -> u32; }
        world calculator { export sums; }
        world idle {}";

    const ADD: &str = r#"(func (export "demo:driver/sums@1.2.3#add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))"#;
    const ZERO: &str =
        r#"(func (export "demo:driver/sums@1.2.3#zero") (result i32) (i32.const 0))"#;

    fn wit() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("driver.wit"), WIT).unwrap();
        directory
    }

    fn module(parts: &[&str]) -> Vec<u8> {
        wat::parse_str(format!("(module {})", parts.concat())).unwrap()
    }

    #[test]
    fn a_module_with_all_that_its_world_has_becomes_a_component() {
        let directory = wit();
        let world = World {
            wit: directory.path(),
            name: Some("calculator"),
        };
        let core = module(&[ADD, ZERO]);
        let component = encode(&core, Some(world)).unwrap();
        assert!(Parser::is_component(&component));

        let (resolve, id) = world::load(directory.path(), world.name).unwrap();
        let mut carries = core;
        wit_component::embed_component_metadata(
            &mut carries,
            &resolve,
            id,
            StringEncoding::UTF8,
            false,
        )
        .unwrap();
        assert_eq!(encode(&carries, None).unwrap(), component);
    }

    #[test]
    fn what_cannot_become_a_component_is_told_why() {
        let directory = wit();
        let in_world = |name| World {
            wit: directory.path(),
            name,
        };
        let component = encode(&module(&[ADD, ZERO]), Some(in_world(Some("calculator")))).unwrap();
        let whole = module(&[ADD, ZERO]);
        let cases: [(&[u8], Option<World<'_>>, &[&str]); 8] = [
            (b"(module)", None, &["no WebAssembly"]),
            (whole.get(..20).unwrap(), None, &["cut short or damaged"]),
            (&component, None, &["component already"]),
            (&whole, None, &["carries no world", "--wit"]),
            (
                &whole,
                Some(in_world(Some("calc"))),
                &["no world calc", "calculator, idle"],
            ),
            (&whole, Some(in_world(None)), &["several worlds", "--world"]),
            (
                &module(&[ADD]),
                Some(in_world(Some("calculator"))),
                &["does not export", "\n  demo:driver/sums@1.2.3#zero\n"],
            ),
            (
                &module(&[r#"(import "somewhere" "f" (func))"#, ADD, ZERO]),
                Some(in_world(Some("calculator"))),
                &["does not fit the world", "somewhere"],
            ),
        ];
        for (bytes, world, says) in cases {
            let Err(error) = encode(bytes, world) else {
                panic!("made a component where {says:?} was expected");
            };
            let text = format!("{error:#}");
            for words in says {
                assert!(text.contains(words), "{words:?} is not in: {text}");
            }
        }
    }
}
