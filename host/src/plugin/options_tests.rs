#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::*;

fn option(name: &str, value_type: ValueType) -> Parameter {
    Parameter {
        name: name.to_owned(),
        value_type,
        default: None,
        required: false,
        secret: false,
        help: format!("what {name} is for"),
    }
}

fn of(subject: Subject, parameter: Parameter) -> Declaration {
    Declaration { subject, parameter }
}

fn of_volumes() -> Vec<Parameter> {
    let pin = ValueType::Integer {
        min: 1000,
        max: 9999,
    };
    let kinds = ValueType::Choice(vec!["ext4".to_owned(), "xfs".to_owned()]);
    vec![
        option("comment", ValueType::Text),
        option("read-only", ValueType::Boolean),
        option("uid", ValueType::Integer { min: 0, max: 65535 }),
        option("size", ValueType::Size),
        Parameter {
            default: Some("ext4".to_owned()),
            ..option("type", kinds)
        },
        Parameter {
            secret: true,
            ..option("pin", pin)
        },
    ]
}

fn parent() -> Parameter {
    Parameter {
        required: true,
        ..option("parent", ValueType::Text)
    }
}

fn declared() -> Vec<Declaration> {
    let volumes = of_volumes().into_iter();
    volumes
        .map(|parameter| of(Subject::Volume, parameter))
        .chain([of(Subject::Network, parent())])
        .collect()
}

fn given(options: &[(&str, &str)]) -> Vec<KeyValue> {
    options
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn checked(subject: Subject, options: &[(&str, &str)]) -> Result<Vec<KeyValue>, String> {
    check(&declared(), subject, given(options)).map_err(|error| error.to_string())
}

#[test]
fn values_of_the_declared_type_pass_as_they_were_written() {
    let cases = [
        ("comment", &["", "any\ntext\0", "é"][..]),
        (
            "read-only",
            &["true", "false", "1", "0", "yes", "no", "on", "off"],
        ),
        ("uid", &["0", "65535", "007"]),
        (
            "size",
            &["0", "512", "10m", "1GiB", "10 g", "18446744073709551615"],
        ),
        ("type", &["ext4", "xfs"]),
        ("pin", &["1000", "9999"]),
    ];
    for (name, values) in cases {
        for value in values {
            let options = checked(Subject::Volume, &[(name, value)]).unwrap();
            assert_eq!(options[0], (name.to_owned(), (*value).to_owned()));
        }
    }
}

#[test]
fn values_of_another_type_are_refused_with_what_they_should_be() {
    let cases = [
        (
            "read-only",
            &["", "True", "y", "2", " true"][..],
            "must be one of true, false, 1, 0, yes, no, on, off",
        ),
        (
            "uid",
            &[
                "",
                "-1",
                "65536",
                "+1",
                "1.0",
                "1e3",
                "0x1",
                " 1",
                "99999999999999999999",
            ],
            "must be a whole number from 0 to 65535",
        ),
        (
            "size",
            &["", "-1", "1e3", "1.5g", "10 ", "18446744073709551616"],
            "must be",
        ),
        (
            "type",
            &["", "ext3", "EXT4", "ext4 "],
            "must be one of ext4, xfs",
        ),
    ];
    for (name, values, expected) in cases {
        for value in values {
            let error = checked(Subject::Volume, &[(name, value)]).unwrap_err();
            assert!(
                error.starts_with(&format!("option {name:?} {expected}")),
                "{error}"
            );
            assert!(error.ends_with(&format!(", not {value:?}")), "{error}");
        }
    }
}

#[test]
fn a_secret_value_is_not_repeated() {
    for value in ["123", "hunter2", "10000"] {
        let error = checked(Subject::Volume, &[("pin", value)]).unwrap_err();
        assert_eq!(
            error,
            "the value of option \"pin\" must be a whole number from 1000 to 9999"
        );
    }
}

#[test]
fn an_unknown_option_is_refused_with_the_one_that_was_meant() {
    let all = "(known here are `comment`, `read-only`, `uid`, `size`, `type`, `pin`)";
    let cases = [
        ("sise", format!("unknown option `sise`: did you mean `size`? {all}")),
        ("Size", format!("unknown option `Size`: did you mean `size`? {all}")),
        ("read_only", format!("unknown option `read_only`: did you mean `read-only`? {all}")),
        (
            "device",
            "unknown option `device`: known here are `comment`, `read-only`, `uid`, `size`, `type`, `pin`".to_owned(),
        ),
        (
            "",
            "unknown option ``: known here are `comment`, `read-only`, `uid`, `size`, `type`, `pin`".to_owned(),
        ),
        // Declared, but for networks.
        (
            "parent",
            "unknown option `parent`: known here are `comment`, `read-only`, `uid`, `size`, `type`, `pin`".to_owned(),
        ),
    ];
    for (name, expected) in cases {
        assert_eq!(
            checked(Subject::Volume, &[(name, "hunter2")]).unwrap_err(),
            expected
        );
    }
}

#[test]
fn long_and_strange_text_stays_short_and_on_one_line() {
    for text in ["x".repeat(5000), "é\n\u{7}".repeat(2000)] {
        let unknown = checked(Subject::Volume, &[(&text, "")]).unwrap_err();
        let value = checked(Subject::Volume, &[("uid", &text)]).unwrap_err();
        for error in [unknown, value] {
            assert!(
                error.len() < 700 && !error.contains(['\n', '\u{7}']),
                "{error}"
            );
        }
    }
}

#[test]
fn an_option_counts_once() {
    let error = checked(
        Subject::Volume,
        &[("uid", "1"), ("size", "1"), ("uid", "1")],
    )
    .unwrap_err();
    assert_eq!(error, "option \"uid\" is given twice");
}

#[test]
fn defaults_are_added_behind_what_was_given() {
    assert_eq!(
        checked(Subject::Volume, &[]).unwrap(),
        given(&[("type", "ext4")])
    );
    assert_eq!(
        checked(Subject::Volume, &[("uid", "1")]).unwrap(),
        given(&[("uid", "1"), ("type", "ext4")])
    );
    assert_eq!(
        checked(Subject::Volume, &[("type", "xfs")]).unwrap(),
        given(&[("type", "xfs")])
    );
}

#[test]
fn a_required_option_is_asked_for() {
    assert_eq!(
        checked(Subject::Network, &[]).unwrap_err(),
        "option \"parent\" is required: what parent is for"
    );
    assert!(checked(Subject::Network, &[("parent", "eth0")]).is_ok());
    let fallback = Parameter {
        default: Some("eth0".to_owned()),
        ..parent()
    };
    assert_eq!(
        check(
            &[of(Subject::Volume, fallback)],
            Subject::Volume,
            Vec::new()
        )
        .unwrap(),
        given(&[("parent", "eth0")])
    );
}

#[test]
fn a_subject_without_declarations_takes_everything() {
    let anything = [("a", "1"), ("a", "2"), ("", "")];
    assert_eq!(checked(Subject::Ipam, &anything).unwrap(), given(&anything));
    assert_eq!(
        check(&[], Subject::Volume, given(&anything)).unwrap(),
        given(&anything)
    );
}

#[test]
fn a_verbs_arguments_are_checked_as_options_are() {
    let verb = |arguments: Vec<Parameter>| Verb {
        name: "verb".to_owned(),
        help: String::new(),
        arguments,
    };
    let all = verb(of_volumes().into_iter().chain([parent()]).collect());
    let checked = |verb: &Verb, arguments: &[(&str, &str)]| {
        check_arguments(verb, given(arguments)).map_err(|error| error.to_string())
    };
    assert_eq!(
        checked(&all, &[("parent", "eth0")]).unwrap(),
        given(&[("parent", "eth0"), ("type", "ext4")])
    );
    for (arguments, expected) in [
        (
            &[][..],
            "argument \"parent\" is required: what parent is for",
        ),
        (
            &[("pin", "hunter2")],
            "the value of argument \"pin\" must be",
        ),
        (&[("uid", "x")], "argument \"uid\" must be"),
        (
            &[("uid", "1"), ("uid", "1")],
            "argument \"uid\" is given twice",
        ),
        (
            &[("paren", "x")],
            "unknown argument `paren`: did you mean `parent`?",
        ),
    ] {
        let error = checked(&all, arguments).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    assert!(checked(&verb(vec![]), &[("any", "thing")]).is_err());
}
