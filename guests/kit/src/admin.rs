//! What an operator can ask of a driver beside Docker's methods: `dockside run PLUGIN VERB [KEY=VALUE...]`.
//!
//! ```
//! use dockside_driver::{Admin, Error, KeyValues, Result, admin::{self, Rows, Verb, argument, verb}};
//!
//! struct Pools;
//!
//! impl Admin for Pools {
//!     fn verbs() -> Vec<Verb> {
//!         vec![
//!             verb("leases")
//!                 .help("List the addresses that are taken")
//!                 .argument(argument("pool").required().help("The pool's ID")),
//!         ]
//!     }
//!     fn run(verb: &str, arguments: &KeyValues) -> Result<String> {
//!         match verb {
//!             "leases" => {
//!                 let mut rows = Rows::new(["address", "owner"]);
//!                 rows.push(["10.0.0.2", arguments.get("pool").unwrap_or_default()]);
//!                 Ok(rows.to_json())
//!             }
//!             _ => Err(admin::unknown(verb)),
//!         }
//!     }
//! }
//! ```

use serde::Serialize;
use serde_json::Value;

use crate::{
    Error, KeyValues, Result,
    options::{ValueType, value_builder},
};

/// An argument of a verb. Begin with [`argument`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// What it can be.
    pub value_type: ValueType,
    /// What it is when the operator does not say; the host adds it.
    pub default: Option<String>,
    /// Whether the operator has to give it.
    pub required: bool,
    /// Whether its value must not appear in logs, errors and command lines.
    pub secret: bool,
    /// One line for `dockside run PLUGIN`.
    pub help: String,
}

value_builder!(Argument);

/// An argument: any text, as long as nothing else is said. Its name has letters, digits and `-`, `_`, `.`.
pub fn argument(name: impl Into<String>) -> Argument {
    Argument {
        name: name.into(),
        value_type: ValueType::Text,
        default: None,
        required: false,
        secret: false,
        help: String::new(),
    }
}

/// Something that the driver can be asked to do. Begin with [`verb`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verb {
    /// Its name.
    pub name: String,
    /// One line for `dockside run PLUGIN`.
    pub help: String,
    /// What can be said with it.
    pub arguments: Vec<Argument>,
}

/// A verb without arguments. Its name has lower-case letters, digits and `-`.
pub fn verb(name: impl Into<String>) -> Verb {
    Verb {
        name: name.into(),
        help: String::new(),
        arguments: Vec::new(),
    }
}

impl Verb {
    /// One line of explanation.
    #[must_use]
    pub fn help(self, text: impl Into<String>) -> Self {
        Self {
            help: text.into(),
            ..self
        }
    }

    /// It takes this argument too.
    #[must_use]
    pub fn argument(mut self, argument: Argument) -> Self {
        self.arguments.push(argument);
        self
    }
}

/// A driver that can be asked for more than Docker asks.
pub trait Admin {
    /// All verbs. A constant: the host asks once, when it loads the component, without state, without configuration and without grants.
    fn verbs() -> Vec<Verb>;

    /// Does what a verb says, and returns JSON text: see [`answer`] and [`Rows`]. Runs as one call, in a transaction, with a deadline of its
    /// own. The host has checked the arguments and added the defaults.
    fn run(verb: &str, arguments: &KeyValues) -> Result<String>;
}

/// An answer: a struct or a list of structs becomes a table with their fields as columns, a text is shown as it is, and `()` is nothing.
pub fn answer(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::other(format!("the answer cannot be written as JSON: {error}")))
}

/// The error for a verb that [`Admin::verbs`] does not name. The host lets none through.
pub fn unknown(verb: &str) -> Error {
    Error::not_implemented(format!("there is no verb {verb:?}"))
}

/// A table whose columns are known only now. For columns that are known beforehand a list of structs and [`answer`] will do.
#[derive(Clone, Debug)]
pub struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Rows {
    /// A table with these columns and no rows.
    pub fn new<C: Into<String>>(columns: impl IntoIterator<Item = C>) -> Self {
        Self {
            columns: columns.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row: one value for each column. Those that are missing are empty, and there are no further ones.
    pub fn push<V: Into<Value>>(&mut self, values: impl IntoIterator<Item = V>) {
        let mut row: Vec<Value> = values.into_iter().map(Into::into).collect();
        row.resize(self.columns.len(), Value::Null);
        self.rows.push(row);
    }

    /// The table as a list of objects, whose fields are in the order of the columns.
    pub fn to_json(&self) -> String {
        let row = |row: &Vec<Value>| {
            let fields: Vec<String> = self
                .columns
                .iter()
                .zip(row)
                .map(|(column, value)| format!("{}:{value}", Value::from(column.as_str())))
                .collect();
            format!("{{{}}}", fields.join(","))
        };
        let rows: Vec<String> = self.rows.iter().map(row).collect();
        format!("[{}]", rows.join(","))
    }
}

#[cfg(target_family = "wasm")]
mod export {
    use std::marker::PhantomData;

    use crate::{
        bindings::{
            admin::exports::dockside::driver::admin as wit, imports::dockside::driver::types,
        },
        convert::{Pairs, to_error, to_value_type},
    };

    #[doc(hidden)]
    pub struct Export<T>(PhantomData<T>);

    fn argument(argument: super::Argument) -> wit::Argument {
        wit::Argument {
            name: argument.name,
            value_type: to_value_type(argument.value_type),
            default: argument.default,
            required: argument.required,
            secret: argument.secret,
            help: argument.help,
        }
    }

    impl<T: super::Admin> wit::Guest for Export<T> {
        fn verbs() -> Vec<wit::Verb> {
            let verb = |verb: super::Verb| wit::Verb {
                name: verb.name,
                help: verb.help,
                arguments: verb.arguments.into_iter().map(argument).collect(),
            };
            T::verbs().into_iter().map(verb).collect()
        }

        fn run(verb: String, arguments: Pairs) -> Result<String, types::Error> {
            T::run(&verb, &arguments.into_iter().collect()).map_err(to_error)
        }
    }
}

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub use export::Export;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_the_order_of_their_columns_and_have_a_value_for_each() {
        let mut rows = Rows::new(["zone", "a \"b\""]);
        assert_eq!(rows.to_json(), "[]");
        rows.push([Value::from(1), Value::from("x")]);
        rows.push(["y"]);
        assert_eq!(
            rows.to_json(),
            r#"[{"zone":1,"a \"b\"":"x"},{"zone":"y","a \"b\"":null}]"#
        );
    }
}
