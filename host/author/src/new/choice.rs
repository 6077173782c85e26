//! What can be chosen: kinds and languages.

use std::fmt;
use std::str::FromStr;

/// A word on the command line that is none of those that there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownChoice {
    what: &'static str,
    word: String,
    choices: String,
}

impl fmt::Display for UnknownChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            word,
            choices,
        } = self;
        write!(f, "there is no {what} {word:?}: say one of {choices}")
    }
}

impl std::error::Error for UnknownChoice {}

macro_rules! choices {
    ($(#[$doc:meta])* $name:ident, $what:literal: $($(#[$variant_doc:meta])* $variant:ident = $word:literal, $title:literal;)+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word for it on the command line.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// What people call it.
            pub fn title(self) -> &'static str {
                match self {
                    $(Self::$variant => $title,)+
                }
            }

            /// All words, for a sentence.
            pub fn choices() -> String {
                [$($word,)+].join(", ")
            }
        }

        impl FromStr for $name {
            type Err = UnknownChoice;

            fn from_str(word: &str) -> Result<Self, UnknownChoice> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|choice| choice.word() == word)
                    .ok_or_else(|| UnknownChoice {
                        what: $what,
                        word: word.to_owned(),
                        choices: Self::choices(),
                    })
            }
        }
    };
}

choices! {
    /// A kind of Docker's plugins.
    Kind, "kind of plugin":
    /// `VolumeDriver`.
    Volume = "volume", "volume";
    /// `NetworkDriver`.
    Network = "network", "network";
    /// `IpamDriver`.
    Ipam = "ipam", "IPAM";
    /// `authz`.
    Authz = "authz", "authorization";
}

choices! {
    /// A language that there are templates for.
    Lang, "template for the language":
    /// Rust, with the kit of this repository.
    Rust = "rust", "Rust";
    /// JavaScript, with QuickJS.
    Js = "js", "JavaScript";
    /// Python, with CPython inside the component.
    Python = "python", "Python";
    /// C, with clang.
    C = "c", "C";
    /// Go, with its own compiler.
    Go = "go", "Go";
}
