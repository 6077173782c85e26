//! Copies of documents in which secrets are unreadable, for logs.

use serde_json::Value;

/// What stands in the place of a secret.
pub const MASK: &str = "**REDACTED**";

/// Names with one of these in them have secrets as their values.
const TELLTALES: [&str; 10] = [
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "SECRET",
    "TOKEN",
    "CREDENTIAL",
    "APIKEY",
    "API_KEY",
    "PRIVATE_KEY",
    "ACCESS_KEY",
];

/// Fields that are secret by what they are in Docker's API: credentials for registries, the contents of secrets and configs, keys of a swarm.
const FIELDS: [&str; 11] = [
    "X-Registry-Auth",
    "X-Registry-Config",
    "Authorization",
    "Cookie",
    "identitytoken",
    "auth",
    "UnlockKey",
    "SigningCAKey",
    "JoinTokens",
    "Data",
    "Pwd",
];

/// Masks what is secret by its name: values of fields, `NAME=VALUE` in environments, build arguments and commands, and passwords in URLs. The
/// texts that were masked or taken apart are JSON only where Docker has JSON in text.
pub fn by_name(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if is_secret(name) && !matches!(value, Value::Null | Value::Bool(_)) {
                    *value = Value::from(MASK);
                } else {
                    by_name(value);
                }
            }
        }
        Value::Array(values) => {
            // `--password VALUE`
            let mut is_value = false;
            for value in values {
                let names_one = value
                    .as_str()
                    .is_some_and(|text| text.starts_with('-') && is_secret_name(text));
                match value {
                    Value::String(text) if is_value && !text.starts_with('-') => {
                        *value = Value::from(MASK);
                    }
                    _ => by_name(value),
                }
                is_value = names_one;
            }
        }
        Value::String(text) => {
            if let Some(masked) = text_masked(text) {
                *text = masked;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Masks what a pointer leads to: a JSON pointer in which `*` stands for every field or item.
pub fn at(value: &mut Value, pointer: &str) {
    let mut parts = pointer.trim_start_matches('/').splitn(2, '/');
    let name = parts
        .next()
        .unwrap_or_default()
        .replace("~1", "/")
        .replace("~0", "~");
    let rest = parts.next();
    let hit = |value: &mut Value| match rest {
        Some(rest) => at(value, rest),
        None => *value = Value::from(MASK),
    };
    match value {
        Value::Object(fields) if name == "*" => fields.values_mut().for_each(hit),
        Value::Object(fields) => {
            if let Some(value) = fields.get_mut(&name) {
                hit(value);
            }
        }
        Value::Array(values) if name == "*" => values.iter_mut().for_each(hit),
        Value::Array(values) => {
            if let Some(value) = name
                .parse()
                .ok()
                .and_then(|index: usize| values.get_mut(index))
            {
                hit(value);
            }
        }
        _ => {}
    }
}

fn is_secret(name: &str) -> bool {
    FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name)) || is_secret_name(name)
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase().replace('-', "_");
    TELLTALES.iter().any(|telltale| name.contains(telltale))
}

/// The text without the secrets in it; none if there are none.
fn text_masked(text: &str) -> Option<String> {
    // Build arguments and filters are JSON in text.
    if text.starts_with(['{', '[']) {
        let mut inner: Value = serde_json::from_str(text).ok()?;
        by_name(&mut inner);
        let masked = inner.to_string();
        return masked.contains(MASK).then_some(masked);
    }
    if let Some((name, _)) = text.split_once('=')
        && !name.contains(char::is_whitespace)
        && is_secret_name(name)
    {
        return Some(format!("{name}={MASK}"));
    }
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    let (_, behind) = rest.split_at_checked(user.len())?;
    Some(format!("{scheme}://{MASK}{behind}"))
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_unreadable_and_the_rest_is_not() {
        let mut document = json!({
            "Headers": {"X-Registry-Auth": "hunter2", "x-registry-config": "hunter2", "Content-Type": "application/json"},
            "Query": {"buildargs": ["{\"DB_PASSWORD\":\"hunter2\",\"VERSION\":\"3\"}"], "remote": ["https://me:hunter2@example.com/x.git"], "t": ["a"]},
            "Body": {
                "Env": ["PATH=/bin", "MYSQL_ROOT_PASSWORD=hunter2", "api-token=hunter2", "GITHUB_TOKEN=hunter2=x", "TOKENS"],
                "Cmd": ["run", "--password", "hunter2", "--verbose", "--client-secret=hunter2", "--name", "web"],
                "Labels": {"com.example.secret": "hunter2"},
                "TaskTemplate": {"ContainerSpec": {"Env": ["AWS_SECRET_ACCESS_KEY=hunter2"]}},
                "Data": "aHVudGVyMg==",
                "Image": "debian",
            },
        });
        by_name(&mut document);
        let text = document.to_string();
        assert!(
            !text.contains("hunter2") && !text.contains("aHVud"),
            "{text}"
        );
        for kept in [
            "application/json",
            "PATH=/bin",
            "\"TOKENS\"",
            "--verbose",
            "web",
            "debian",
            "\\\"VERSION\\\":\\\"3\\\"",
            "@example.com/x.git",
            "\"a\"",
        ] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
        assert_eq!(
            document["Body"]["Env"][1],
            "MYSQL_ROOT_PASSWORD=**REDACTED**"
        );
    }

    #[test]
    fn pointers_lead_to_what_the_operator_wants_masked() {
        for (pointer, expected) in [
            (
                "/a",
                json!({"a": MASK, "l": [{"n": 2}, {"n": 3}], "s/h": 4}),
            ),
            (
                "/l/*/n",
                json!({"a": 1, "l": [{"n": MASK}, {"n": MASK}], "s/h": 4}),
            ),
            ("/l/1", json!({"a": 1, "l": [{"n": 2}, MASK], "s/h": 4})),
            (
                "/s~1h",
                json!({"a": 1, "l": [{"n": 2}, {"n": 3}], "s/h": MASK}),
            ),
            ("/*", json!({"a": MASK, "l": MASK, "s/h": MASK})),
            ("/l/7", json!({"a": 1, "l": [{"n": 2}, {"n": 3}], "s/h": 4})),
            (
                "/a/b/c",
                json!({"a": 1, "l": [{"n": 2}, {"n": 3}], "s/h": 4}),
            ),
        ] {
            let mut document = json!({"a": 1, "l": [{"n": 2}, {"n": 3}], "s/h": 4});
            at(&mut document, pointer);
            assert_eq!(document, expected, "{pointer}");
        }
    }
}
