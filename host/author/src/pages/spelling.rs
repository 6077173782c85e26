//! Types as WIT spells them.

use wit_parser::{Handle, Resolve, Type, TypeDefKind};

/// A type where it is used: its name, or what it is made of.
pub(super) fn spelled(resolve: &Resolve, ty: Type) -> String {
    let word = match ty {
        Type::Bool => "bool",
        Type::U8 => "u8",
        Type::U16 => "u16",
        Type::U32 => "u32",
        Type::U64 => "u64",
        Type::S8 => "s8",
        Type::S16 => "s16",
        Type::S32 => "s32",
        Type::S64 => "s64",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::ErrorContext => "error-context",
        Type::Id(id) => {
            let Some(found) = resolve.types.get(id) else {
                return String::new();
            };
            return match &found.name {
                Some(name) => name.clone(),
                None => spelled_type(resolve, &found.kind).unwrap_or_default(),
            };
        }
    };
    word.to_owned()
}

/// What a type without a name of its own is made of. `None` for those that always have one.
pub(super) fn spelled_type(resolve: &Resolve, kind: &TypeDefKind) -> Option<String> {
    let name = |id| {
        resolve
            .types
            .get(id)
            .and_then(|found| found.name.clone())
            .unwrap_or_default()
    };
    let of = |ty: &Type| spelled(resolve, *ty);
    Some(match kind {
        // A resource that is handed over is written by its name alone.
        TypeDefKind::Handle(Handle::Own(id)) => name(*id),
        TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", name(*id)),
        TypeDefKind::Tuple(tuple) => format!(
            "tuple<{}>",
            tuple.types.iter().map(of).collect::<Vec<_>>().join(", ")
        ),
        TypeDefKind::Option(inner) => format!("option<{}>", of(inner)),
        TypeDefKind::Result(result) => match (&result.ok, &result.err) {
            (None, None) => "result".to_owned(),
            (Some(ok), None) => format!("result<{}>", of(ok)),
            (ok, Some(err)) => format!(
                "result<{}, {}>",
                ok.as_ref().map_or_else(|| "_".to_owned(), of),
                of(err)
            ),
        },
        TypeDefKind::List(inner) => format!("list<{}>", of(inner)),
        TypeDefKind::Map(key, value) => format!("map<{}, {}>", of(key), of(value)),
        TypeDefKind::FixedLengthList(inner, length) => format!("list<{}, {length}>", of(inner)),
        TypeDefKind::Future(inner) => inner.as_ref().map_or_else(
            || "future".to_owned(),
            |inner| format!("future<{}>", of(inner)),
        ),
        TypeDefKind::Stream(inner) => inner.as_ref().map_or_else(
            || "stream".to_owned(),
            |inner| format!("stream<{}>", of(inner)),
        ),
        TypeDefKind::Type(inner) => of(inner),
        TypeDefKind::Record(_)
        | TypeDefKind::Resource
        | TypeDefKind::Flags(_)
        | TypeDefKind::Variant(_)
        | TypeDefKind::Enum(_)
        | TypeDefKind::Unknown => return None,
    })
}

/// The keyword of a definition.
pub(super) fn kind_word(kind: &TypeDefKind) -> &'static str {
    match kind {
        TypeDefKind::Record(_) => "record",
        TypeDefKind::Resource => "resource",
        TypeDefKind::Flags(_) => "flags",
        TypeDefKind::Variant(_) => "variant",
        TypeDefKind::Enum(_) => "enum",
        _ => "type",
    }
}
