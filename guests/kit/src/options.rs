//! The options that a driver takes. The host refuses unknown and malformed ones before the driver runs.
//!
//! ```
//! use dockside_driver::options::{Declaration, volume};
//!
//! let declared: Vec<Declaration> = vec![
//!     volume("size").size().default("1g").help("Size of the volume"),
//!     volume("fs").choice(["ext4", "xfs"]).required().help("File system"),
//! ];
//! ```

use std::ops::RangeInclusive;

/// Which of Docker's commands an option belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `docker volume create -o`.
    Volume,
    /// `docker network create -o`.
    Network,
    /// `docker network create --ipam-opt`.
    Ipam,
}

/// The values that an option can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// Any text.
    Text,
    /// `true`, `false`, `1`, `0`, `yes`, `no`, `on`, `off`.
    Boolean,
    /// A whole number in this range.
    Integer(RangeInclusive<i64>),
    /// A number of bytes with an optional unit: `512`, `10m`, `1GiB`. Units are powers of 1024, as in Docker.
    Size,
    /// One of these words.
    Choice(Vec<String>),
}

/// One option. Begin with [`volume`], [`network`] or [`ipam`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// Where it is given.
    pub subject: Subject,
    /// Its name.
    pub name: String,
    /// What it can be.
    pub value_type: ValueType,
    /// What it is when the user does not say; the host adds it.
    pub default: Option<String>,
    /// Whether the user has to give it.
    pub required: bool,
    /// Whether its value must not appear in logs and listings.
    pub secret: bool,
    /// One line for `dockside inspect`.
    pub help: String,
}

/// An option of `docker volume create -o`: any text, as long as nothing else is said.
pub fn volume(name: impl Into<String>) -> Declaration {
    Declaration::new(Subject::Volume, name)
}

/// An option of `docker network create -o`.
pub fn network(name: impl Into<String>) -> Declaration {
    Declaration::new(Subject::Network, name)
}

/// An option of `docker network create --ipam-opt`.
pub fn ipam(name: impl Into<String>) -> Declaration {
    Declaration::new(Subject::Ipam, name)
}

impl Declaration {
    fn new(subject: Subject, name: impl Into<String>) -> Self {
        Self {
            subject,
            name: name.into(),
            value_type: ValueType::Text,
            default: None,
            required: false,
            secret: false,
            help: String::new(),
        }
    }
}

macro_rules! value_builder {
    ($type:ident) => {
        impl $type {
            /// It is yes or no.
            #[must_use]
            pub fn boolean(self) -> Self {
                Self {
                    value_type: ValueType::Boolean,
                    ..self
                }
            }

            /// It is a whole number in this range.
            #[must_use]
            pub fn integer(self, range: std::ops::RangeInclusive<i64>) -> Self {
                Self {
                    value_type: ValueType::Integer(range),
                    ..self
                }
            }

            /// It is a number of bytes.
            #[must_use]
            pub fn size(self) -> Self {
                Self {
                    value_type: ValueType::Size,
                    ..self
                }
            }

            /// It is one of these words.
            #[must_use]
            pub fn choice<W: Into<String>>(self, words: impl IntoIterator<Item = W>) -> Self {
                Self {
                    value_type: ValueType::Choice(words.into_iter().map(Into::into).collect()),
                    ..self
                }
            }

            /// What it is when the user does not say.
            #[must_use]
            pub fn default(self, value: impl Into<String>) -> Self {
                Self {
                    default: Some(value.into()),
                    ..self
                }
            }

            /// The user has to give it.
            #[must_use]
            pub fn required(self) -> Self {
                Self {
                    required: true,
                    ..self
                }
            }

            /// Its value must not appear in logs and listings.
            #[must_use]
            pub fn secret(self) -> Self {
                Self {
                    secret: true,
                    ..self
                }
            }

            /// One line of explanation.
            #[must_use]
            pub fn help(self, text: impl Into<String>) -> Self {
                Self {
                    help: text.into(),
                    ..self
                }
            }
        }
    };
}

pub(crate) use value_builder;

value_builder!(Declaration);

/// A driver that declares its options.
pub trait Options {
    /// All options. A constant: the host asks once, when it loads the component. An option that is not declared is refused for each
    /// subject that has at least one declaration; a subject without any takes everything.
    fn declare() -> Vec<Declaration>;
}

#[cfg(target_family = "wasm")]
mod export {
    use std::marker::PhantomData;

    use crate::{
        bindings::options::exports::dockside::driver::options as wit, convert::to_value_type,
    };

    #[doc(hidden)]
    pub struct Export<T>(PhantomData<T>);

    fn declaration(declaration: super::Declaration) -> wit::OptionDeclaration {
        wit::OptionDeclaration {
            subject: match declaration.subject {
                super::Subject::Volume => wit::Subject::Volume,
                super::Subject::Network => wit::Subject::Network,
                super::Subject::Ipam => wit::Subject::Ipam,
            },
            name: declaration.name,
            value_type: to_value_type(declaration.value_type),
            default: declaration.default,
            required: declaration.required,
            secret: declaration.secret,
            help: declaration.help,
        }
    }

    impl<T: super::Options> wit::Guest for Export<T> {
        fn declare() -> Vec<wit::OptionDeclaration> {
            T::declare().into_iter().map(declaration).collect()
        }
    }
}

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub use export::Export;
