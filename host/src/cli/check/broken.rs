//! A driver broken on purpose: each of Docker's methods of it traps, or never returns, but for those that tell what it is.
//!
//! What it imports, and what it says of itself, stays as it is. So this is the very driver on the day when it, or what is behind it, does
//! not work, and nothing in the daemon has to know of checks.

use std::collections::BTreeSet;
use std::convert::Infallible;

use anyhow::{Context as _, bail};
use dockside_check::control::Fault;
use wasm_encoder::reencode::{Error, Reencode, ReencodeComponent, component_utils, utils};
use wasm_encoder::{BlockType, CodeSection, Component, Function, Instruction};
use wasmparser::{ExternalKind, FunctionBody, Parser, Payload, TypeRef};

/// The interfaces whose functions are Docker's methods.
const KINDS: &[&str] = &["volume", "network", "ipam", "authz"];

/// The component with its methods replaced.
///
/// # Errors
///
/// The component has a form that is not known here.
pub(super) fn broken(component: &[u8], fault: Fault) -> anyhow::Result<Vec<u8>> {
    let mut breaker = Breaker {
        fault,
        methods: BTreeSet::new(),
        next: 0,
        replaced: 0,
    };
    let mut whole = Component::new();
    breaker
        .parse_component(&mut whole, Parser::new(0), component)
        .map_err(|error| anyhow::anyhow!("the component cannot be rewritten: {error}"))?;
    if breaker.replaced == 0 {
        bail!("none of the component's functions is one of Docker's methods");
    }
    Ok(whole.finish())
}

struct Breaker {
    fault: Fault,
    /// Of the module at hand: the functions that are methods, and the number of the body that comes next.
    methods: BTreeSet<u32>,
    next: u32,
    replaced: u32,
}

impl Reencode for Breaker {
    type Error = Infallible;

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        body: FunctionBody<'_>,
    ) -> Result<(), Error<Infallible>> {
        let number = self.next;
        self.next += 1;
        if !self.methods.contains(&number) {
            return utils::parse_function_body(self, code, body);
        }
        self.replaced += 1;
        let mut function = Function::new([]);
        if self.fault == Fault::Hang {
            function.instruction(&Instruction::Loop(BlockType::Empty));
            function.instruction(&Instruction::Br(0));
            function.instruction(&Instruction::End);
        }
        function.instruction(&Instruction::Unreachable);
        function.instruction(&Instruction::End);
        code.function(&function);
        Ok(())
    }
}

impl ReencodeComponent for Breaker {
    fn parse_component_submodule(
        &mut self,
        component: &mut Component,
        parser: Parser,
        module: &[u8],
    ) -> Result<(), Error<Infallible>> {
        (self.next, self.methods) = methods(module).unwrap_or_default();
        component_utils::parse_component_submodule(self, component, parser, module)
    }
}

/// How many functions a module imports, and those that it exports as Docker's methods.
fn methods(module: &[u8]) -> anyhow::Result<(u32, BTreeSet<u32>)> {
    let (mut imported, mut methods) = (0, BTreeSet::new());
    for payload in Parser::new(0).parse_all(module) {
        match payload.context("a module cannot be read")? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    if matches!(import?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)) {
                        imported += 1;
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    if export.kind == ExternalKind::Func && is_method(export.name) {
                        methods.insert(export.index);
                    }
                }
            }
            _ => {}
        }
    }
    Ok((imported, methods))
}

/// Functions of these interfaces that only tell what the driver is. The host asks for that before it serves the driver at all.
const TELL: &[&str] = &[
    "capabilities",
    "get-capabilities",
    "get-default-address-spaces",
];

/// Exports of a component's modules are named `package:name/interface@version#function`.
fn is_method(export: &str) -> bool {
    export
        .strip_prefix("dockside:driver/")
        .and_then(|rest| rest.split_once('#'))
        .is_some_and(|(interface, function)| {
            KINDS.contains(&interface.split('@').next().unwrap_or_default())
                && !TELL.contains(&function)
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_the_methods_of_docker_are_replaced() {
        let text = r#"(component (core module
            (import "env" "log" (func))
            (func (export "dockside:driver/volume@1.0.0#get") (result i32) (i32.const 7))
            (func (export "dockside:driver/describe@1.0.0#describe") (result i32) (i32.const 8))
            (func (export "dockside:driver/volume@1.0.0#capabilities") (result i32) (i32.const 9))
            (func (export "cabi_realloc") (result i32) (i32.const 9))))"#;
        let component = wat::parse_str(text).unwrap();
        for (fault, loops) in [(Fault::Fail, false), (Fault::Hang, true)] {
            let bytes = broken(&component, fault).unwrap();
            wasmparser::Validator::new().validate_all(&bytes).unwrap();
            let mut bodies = Vec::new();
            for payload in Parser::new(0).parse_all(&bytes) {
                if let Payload::CodeSectionEntry(body) = payload.unwrap() {
                    let text =
                        format!("{:?}", body.get_operators_reader().unwrap().read().unwrap());
                    bodies.push(text);
                }
            }
            assert_eq!(bodies.len(), 4);
            assert_eq!(bodies[0].starts_with("Loop"), loops, "{bodies:?}");
            assert_eq!(bodies[0] == "Unreachable", !loops, "{bodies:?}");
            assert!(bodies[1].contains("value: 8"), "{bodies:?}");
            assert!(bodies[2].contains("value: 9"), "{bodies:?}");
            assert!(bodies[3].contains("value: 9"), "{bodies:?}");
        }
    }

    #[test]
    fn a_component_without_methods_is_refused() {
        let component = wat::parse_str("(component (core module))").unwrap();
        assert!(broken(&component, Fault::Fail).is_err());
    }
}
