//! `#[derive(Traced)]` for the types that `bindgen!` makes of the WIT.
//!
//! A record becomes an object and a case its name, or an object of its name and what it carries. The names are those of the WIT, which
//! `bindgen!` leaves behind in `#[component(name = "…")]`.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{Attribute, Data, DeriveInput, Error, Fields, Ident, LitStr, Variant};

/// Implements `crate::trace::Traced`.
#[proc_macro_derive(Traced, attributes(component))]
pub fn traced(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    implement(&input)
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

fn implement(input: &DeriveInput) -> Result<Tokens, Error> {
    let name = &input.ident;
    if let Some(parameter) = input.generics.params.first() {
        return Err(Error::new_spanned(
            parameter,
            "types of the WIT have no parameters",
        ));
    }
    let (show, restore, refusal) = match &input.data {
        Data::Struct(record) => of_record(&record.fields)?,
        Data::Enum(variant) => of_cases(variant.variants.iter().collect())?,
        Data::Union(_) => {
            return Err(Error::new_spanned(name, "the WIT has no such type"));
        }
    };
    Ok(quote! {
        impl crate::trace::Traced for #name {
            fn show(&self, table: &::wasmtime::component::ResourceTable) -> ::serde_json::Value {
                #show
            }
            fn restore(
                value: &::serde_json::Value,
                table: &mut ::wasmtime::component::ResourceTable,
            ) -> ::core::option::Option<Self> {
                #restore
            }
            fn refusal(reason: &str) -> ::core::option::Option<Self> {
                #refusal
            }
        }
    })
}

fn of_record(fields: &Fields) -> Result<(Tokens, Tokens, Tokens), Error> {
    let mut show = Vec::new();
    let mut restore = Vec::new();
    let mut refusal = Vec::new();
    for field in fields {
        let Some(ident) = &field.ident else {
            return Err(Error::new_spanned(field, "records of the WIT have names"));
        };
        let name = wit_name(&field.attrs, ident)?;
        show.push(quote! {
            object.insert(#name.to_owned(), crate::trace::Traced::show(&self.#ident, table));
        });
        restore.push(quote! {
            #ident: crate::trace::Traced::restore(value.get(#name)?, table)?
        });
        refusal.push(quote! { #ident: crate::trace::Traced::refusal(reason)? });
    }
    Ok((
        quote! {
            let mut object = ::serde_json::Map::new();
            #(#show)*
            ::serde_json::Value::Object(object)
        },
        quote! { ::core::option::Option::Some(Self { #(#restore),* }) },
        quote! { ::core::option::Option::Some(Self { #(#refusal),* }) },
    ))
}

fn of_cases(variants: Vec<&Variant>) -> Result<(Tokens, Tokens, Tokens), Error> {
    let mut show = Vec::new();
    let mut restore = Vec::new();
    let mut refusal = None;
    for variant in variants {
        let ident = &variant.ident;
        let name = wit_name(&variant.attrs, ident)?;
        let refused = match &variant.fields {
            Fields::Unit => {
                show.push(quote! { Self::#ident => ::serde_json::Value::from(#name) });
                restore.push(quote! { (#name, _) => ::core::option::Option::Some(Self::#ident) });
                quote! { ::core::option::Option::Some(Self::#ident) }
            }
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                show.push(quote! {
                    Self::#ident(inner) => {
                        let mut object = ::serde_json::Map::new();
                        object.insert(#name.to_owned(), crate::trace::Traced::show(inner, table));
                        ::serde_json::Value::Object(object)
                    }
                });
                restore.push(quote! {
                    (#name, ::core::option::Option::Some(inner)) => {
                        crate::trace::Traced::restore(inner, table).map(Self::#ident)
                    }
                });
                quote! { crate::trace::Traced::refusal(reason).map(Self::#ident) }
            }
            _ => {
                return Err(Error::new_spanned(
                    variant,
                    "a case of the WIT carries one thing or none",
                ));
            }
        };
        // The case for whatever has none of its own says best that something was refused.
        if refusal.is_none() || ident == "Other" {
            refusal = Some(refused);
        }
    }
    let refusal = refusal.unwrap_or_else(|| quote! { ::core::option::Option::None });
    Ok((
        quote! { match self { #(#show),* } },
        quote! {
            let case = match value {
                ::serde_json::Value::String(name) => (name.as_str(), ::core::option::Option::None),
                ::serde_json::Value::Object(object) => {
                    let (name, inner) = object.iter().next()?;
                    (name.as_str(), ::core::option::Option::Some(inner))
                }
                _ => return ::core::option::Option::None,
            };
            match case {
                #(#restore,)*
                _ => ::core::option::Option::None,
            }
        },
        refusal,
    ))
}

/// The name in the WIT.
fn wit_name(attributes: &[Attribute], ident: &Ident) -> Result<String, Error> {
    let mut name = None;
    for attribute in attributes {
        if !attribute.path().is_ident("component") {
            continue;
        }
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") {
                name = Some(meta.value()?.parse::<LitStr>()?.value());
            }
            Ok(())
        })?;
    }
    name.ok_or_else(|| Error::new_spanned(ident, "bindgen! has left no name here"))
}
