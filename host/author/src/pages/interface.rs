//! The page of one interface.

use wit_parser::{Docs, Function, FunctionKind, Interface, Resolve, TypeDef, TypeDefKind, TypeId};

use super::name_of;
use super::spelling::{kind_word, spelled, spelled_type};

pub(super) fn page(resolve: &Resolve, interface: &Interface) -> String {
    let mut text = format!(
        "# `{}`\n\n{}\n\n",
        name_of(resolve, interface),
        said(&interface.docs)
    );
    let plain: Vec<&Function> = interface
        .functions
        .values()
        .filter(|function| function.kind.resource().is_none())
        .collect();
    if !plain.is_empty() {
        text += "## Functions\n\n";
        for function in plain {
            text += &function_text(resolve, function, "###");
        }
    }
    let (own, used): (Vec<_>, Vec<_>) = interface
        .types
        .iter()
        .partition(|(_, id)| !is_used(resolve, **id));
    if !own.is_empty() {
        text += "## Types\n\n";
        for (name, id) in own {
            if let Some(found) = resolve.types.get(*id) {
                text += &type_text(resolve, interface, name, *id, found);
            }
        }
    }
    let used: Vec<String> = used
        .into_iter()
        .filter_map(|(name, id)| origin(resolve, name, *id))
        .collect();
    if !used.is_empty() {
        text += &format!("Types from elsewhere: {}.\n", used.join(", "));
    }
    text.trim_end().to_owned() + "\n"
}

fn said(docs: &Docs) -> &str {
    docs.contents.as_deref().map_or("(no text)", str::trim)
}

/// Whether a type is only named here, and defined by another interface.
fn is_used(resolve: &Resolve, id: TypeId) -> bool {
    resolve.types.get(id).is_some_and(|found| match found.kind {
        TypeDefKind::Type(wit_parser::Type::Id(other)) => resolve
            .types
            .get(other)
            .is_some_and(|other| other.name.is_some() && other.owner != found.owner),
        _ => false,
    })
}

fn origin(resolve: &Resolve, name: &str, id: TypeId) -> Option<String> {
    let mut id = id;
    while let TypeDefKind::Type(wit_parser::Type::Id(other)) = resolve.types.get(id)?.kind {
        id = other;
    }
    let wit_parser::TypeOwner::Interface(owner) = resolve.types.get(id)?.owner else {
        return None;
    };
    let interface = resolve.interfaces.get(owner)?;
    Some(match super::file_of(resolve, owner) {
        Some(file) => format!("[`{name}`]({file}#{name})"),
        None => format!("`{name}` of `{}`", name_of(resolve, interface)),
    })
}

fn function_text(resolve: &Resolve, function: &Function, level: &str) -> String {
    let parameters: Vec<String> = function
        .params
        .iter()
        .filter(|parameter| parameter.name != "self")
        .map(|parameter| format!("{}: {}", parameter.name, spelled(resolve, parameter.ty)))
        .collect();
    let result = function
        .result
        .map(|result| format!(" -> {}", spelled(resolve, result)))
        .unwrap_or_default();
    let (name, static_) = match function.kind {
        FunctionKind::Constructor(_) => ("constructor", ""),
        FunctionKind::Static(_) => (function.item_name(), "static "),
        _ => (function.item_name(), ""),
    };
    format!(
        "{level} {name}\n\n```wit\n{name}: {static_}func({}){result}\n```\n\n{}\n\n",
        parameters.join(", "),
        said(&function.docs)
    )
}

fn type_text(
    resolve: &Resolve,
    interface: &Interface,
    name: &str,
    id: TypeId,
    found: &TypeDef,
) -> String {
    let mut text = format!("### {name}\n\n*{}*", kind_word(&found.kind));
    if let Some(alias) = spelled_type(resolve, &found.kind) {
        text += &format!(" `{alias}`");
    }
    text += &format!(". {}\n\n", said(&found.docs));
    let rows: Vec<(String, String, &str)> = match &found.kind {
        TypeDefKind::Record(record) => record
            .fields
            .iter()
            .map(|field| {
                (
                    field.name.clone(),
                    spelled(resolve, field.ty),
                    said(&field.docs),
                )
            })
            .collect(),
        TypeDefKind::Variant(variant) => variant
            .cases
            .iter()
            .map(|case| {
                (
                    case.name.clone(),
                    case.ty.map(|ty| spelled(resolve, ty)).unwrap_or_default(),
                    said(&case.docs),
                )
            })
            .collect(),
        TypeDefKind::Enum(cases) => cases
            .cases
            .iter()
            .map(|case| (case.name.clone(), String::new(), said(&case.docs)))
            .collect(),
        TypeDefKind::Flags(flags) => flags
            .flags
            .iter()
            .map(|flag| (flag.name.clone(), String::new(), said(&flag.docs)))
            .collect(),
        _ => Vec::new(),
    };
    if !rows.is_empty() {
        let typed = rows.iter().any(|(_, ty, _)| !ty.is_empty());
        text += if typed {
            "| name | type | |\n| --- | --- | --- |\n"
        } else {
            "| name | |\n| --- | --- |\n"
        };
        for (name, ty, docs) in rows {
            let docs = docs.replace('\n', " ").replace('|', "\\|");
            let cell = if ty.is_empty() {
                String::new()
            } else {
                format!("`{ty}`")
            };
            text += &if typed {
                format!("| `{name}` | {cell} | {docs} |\n")
            } else {
                format!("| `{name}` | {docs} |\n")
            };
        }
        text.push('\n');
    }
    for method in interface
        .functions
        .values()
        .filter(|function| function.kind.resource() == Some(id))
    {
        text += &function_text(resolve, method, "####");
    }
    text
}
