//! Docker's `VolumeDriver` on the wire.

use super::Decoded;
pub use super::answer::Volume;
use super::method::Method;
use super::wire::{KeyValue, Object, Problem};
use crate::sandbox::bindings::types;

/// A call of a volume driver.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// `VolumeDriver.Create`.
    Create {
        /// The volume's name.
        name: String,
        /// The user's options.
        options: Vec<KeyValue>,
    },
    /// `VolumeDriver.Remove`.
    Remove {
        /// The volume's name.
        name: String,
    },
    /// `VolumeDriver.Mount`.
    Mount {
        /// The volume's name.
        name: String,
        /// The label of the use.
        id: String,
    },
    /// `VolumeDriver.Unmount`.
    Unmount {
        /// The volume's name.
        name: String,
        /// The label of the use.
        id: String,
    },
    /// `VolumeDriver.Get`.
    Get {
        /// The volume's name.
        name: String,
    },
    /// `VolumeDriver.List`.
    List,
    /// `VolumeDriver.Path`.
    Path {
        /// The volume's name.
        name: String,
    },
}

impl Call {
    /// The method that it came by.
    pub fn method(&self) -> Method {
        match self {
            Call::Create { .. } => Method::VolumeCreate,
            Call::Remove { .. } => Method::VolumeRemove,
            Call::Mount { .. } => Method::VolumeMount,
            Call::Unmount { .. } => Method::VolumeUnmount,
            Call::Get { .. } => Method::VolumeGet,
            Call::List => Method::VolumeList,
            Call::Path { .. } => Method::VolumePath,
        }
    }

    /// The volume that it is about.
    pub fn name(&self) -> Option<&str> {
        match self {
            Call::Create { name, .. }
            | Call::Remove { name }
            | Call::Mount { name, .. }
            | Call::Unmount { name, .. }
            | Call::Get { name }
            | Call::Path { name } => Some(name),
            Call::List => None,
        }
    }
}

/// The call that a request asks for; none for a method of another kind or one without a driver's part.
pub(super) fn decode(method: Method, body: &Object) -> Result<Option<Decoded>, Problem> {
    let name = || body.required_name("Name");
    let call = match method {
        Method::VolumeCreate => Call::Create {
            name: name()?,
            options: body.text_map("Opts")?,
        },
        Method::VolumeRemove => Call::Remove { name: name()? },
        Method::VolumeMount => Call::Mount {
            name: name()?,
            id: body.name("ID")?,
        },
        Method::VolumeUnmount => Call::Unmount {
            name: name()?,
            id: body.name("ID")?,
        },
        // An engine asks this at its start after it has half deleted a record, and the record is to go.
        Method::VolumeGet if body.get("Name").is_some_and(|name| name == "") => {
            return Ok(Some(Decoded::Refused(types::Error {
                code: types::ErrorCode::NotFound,
                message: "no such volume: the name is empty".to_owned(),
            })));
        }
        Method::VolumeGet => Call::Get { name: name()? },
        Method::VolumeList => Call::List,
        Method::VolumePath => Call::Path { name: name()? },
        _ => return Ok(None),
    };
    Ok(Some(Decoded::Call(super::Call::Volume(call))))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]
    use super::super::{BadRequest, decode};
    use super::*;

    fn call(method: &str, body: &str) -> Call {
        match decode(Method::parse(method).unwrap(), body.as_bytes()) {
            Ok(Decoded::Call(super::super::Call::Volume(call))) => call,
            other => panic!("{method} {body}: {other:?}"),
        }
    }

    #[test]
    fn requests_of_engines_and_podman_become_calls() {
        let id = "22acffab".repeat(8);
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let v1 = || "v1".to_owned();
        let cases = [
            (
                "VolumeDriver.Create",
                "{\"Name\":\"v1\",\"Opts\":{\"k\":\"v\",\"size\":\"10m\"}}\n".to_owned(),
                Call::Create { name: v1(), options: vec![pair("k", "v"), pair("size", "10m")] },
            ),
            (
                "VolumeDriver.Create",
                "{\"Name\":\"v2\",\"Opts\":null}\n".to_owned(),
                Call::Create { name: "v2".to_owned(), options: vec![] },
            ),
            (
                "VolumeDriver.Create",
                "{\"Name\":\"pf1\"}".to_owned(),
                Call::Create { name: "pf1".to_owned(), options: vec![] },
            ),
            (
                "VolumeDriver.Create",
                "{\"Name\":\"../../../x\\u0000\\n\",\"Opts\":{\"\":\"empty\",\"\\u003c\\u0026\\u003e\":\"html\",\"\\u0000\":\"nul\"}}".to_owned(),
                Call::Create {
                    name: "../../../x\0\n".to_owned(),
                    options: vec![pair("", "empty"), pair("<&>", "html"), pair("\0", "nul")],
                },
            ),
            (
                "VolumeDriver.Mount",
                format!("{{\"Name\":\"v1\",\"ID\":\"{id}\"}}\n"),
                Call::Mount { name: v1(), id: id.clone() },
            ),
            (
                "VolumeDriver.Unmount",
                format!("{{\"Name\":\"v1\",\"ID\":\"{id}\"}}\n"),
                Call::Unmount { name: v1(), id: id.clone() },
            ),
            ("VolumeDriver.Get", "{\"Name\":\"v1\"}\n".to_owned(), Call::Get { name: v1() }),
            ("VolumeDriver.Path", "{\"Name\":\"v1\"}\n".to_owned(), Call::Path { name: v1() }),
            ("VolumeDriver.Remove", "{\"Name\":\"v1\"}\n".to_owned(), Call::Remove { name: v1() }),
            ("VolumeDriver.List", "{}\n".to_owned(), Call::List),
            ("VolumeDriver.List", String::new(), Call::List),
            ("VolumeDriver.List", "null".to_owned(), Call::List),
        ];
        for (method, body, expected) in cases {
            assert_eq!(expected.method().path(), method);
            assert_eq!(call(method, &body), expected, "{method} {body}");
        }
    }

    #[test]
    fn a_request_without_a_name_is_refused() {
        for method in ["Create", "Remove", "Mount", "Unmount", "Get", "Path"] {
            let method = Method::parse(&format!("VolumeDriver.{method}")).unwrap();
            for body in [
                "{}",
                "null",
                "{\"Name\":null}",
                "{\"name\":\"v\"}",
                "{\"Name\":7}",
            ] {
                match decode(method, body.as_bytes()) {
                    Err(error @ BadRequest::Malformed { .. }) => {
                        assert!(error.to_string().contains(method.path()), "{error}");
                        assert!(error.to_string().contains("Name"), "{error}");
                    }
                    other => panic!("{method} {body}: {other:?}"),
                }
            }
            for body in ["", " \n"] {
                let decoded = decode(method, body.as_bytes());
                assert!(
                    matches!(decoded, Err(BadRequest::EmptyBody(m)) if m == method),
                    "{decoded:?}"
                );
            }
        }
    }

    #[test]
    fn the_empty_name_is_no_volume() {
        match decode(Method::VolumeGet, b"{\"Name\":\"\"}\n") {
            Ok(Decoded::Refused(error)) => assert_eq!(error.code, types::ErrorCode::NotFound),
            other => panic!("{other:?}"),
        }
        assert!(decode(Method::VolumeCreate, b"{\"Name\":\"\"}").is_err());
    }

    #[test]
    fn option_values_that_are_not_text_are_refused_without_showing_them() {
        let error = decode(
            Method::VolumeCreate,
            b"{\"Name\":\"v\",\"Opts\":{\"password\":123456}}",
        )
        .unwrap_err();
        assert!(error.to_string().contains("\"password\""), "{error}");
        assert!(!error.to_string().contains("123456"), "{error}");
    }
}
