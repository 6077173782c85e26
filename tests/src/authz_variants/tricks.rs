//! The ways to say one thing so that two readers hear different ones.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{Draft, Framing, Kind, chunked};

/// A change to a request.
pub(super) struct Trick {
    pub(super) name: &'static str,
    /// Tricks are applied in this order: text of the body, body as a whole, headers, target, framing.
    pub(super) order: u8,
    kinds: &'static [Kind],
    pub(super) apply: fn(&mut Draft, &mut StdRng),
}

impl Trick {
    pub(super) fn fits(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }
}

const BODIES: &[Kind] = &[Kind::Volume, Kind::Network, Kind::Container];
const NAMED_IN_QUERY: &[Kind] = &[Kind::Container, Kind::Rename];
const CONTAINERS: &[Kind] = &[Kind::Container];
const ALL_KINDS: &[Kind] = &[Kind::Volume, Kind::Network, Kind::Container, Kind::Rename];

macro_rules! tricks {
    ($($order:literal $kinds:ident $name:literal => $apply:expr;)*) => {
        &[$(Trick { name: $name, order: $order, kinds: $kinds, apply: $apply }),*]
    };
}

/// Every trick.
pub(super) const ALL: &[Trick] = tricks! {
    // Keys.
    0 BODIES "keys in lower case" => |d, _| keys(d, str::to_lowercase);
    0 BODIES "keys in upper case" => |d, _| keys(d, str::to_uppercase);
    0 BODIES "keys in random case" => |d, r| {
        let coins: Vec<bool> = (0..64).map(|_| r.random()).collect();
        keys(d, |key| key.chars().zip(&coins).map(|(c, up)| if *up { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect());
    };
    0 BODIES "long s in keys" => |d, _| keys(d, |key| key.replace(['s', 'S'], "\u{17f}"));
    0 BODIES "kelvin sign in keys" => |d, _| keys(d, |key| key.replace(['k', 'K'], "\u{212a}"));
    0 BODIES "dotless i in keys" => |d, _| keys(d, |key| key.replace('i', "\u{131}"));
    0 BODIES "escaped keys" => |d, _| keys(d, |key| key.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect());
    0 BODIES "one escaped letter in keys" => |d, _| keys(d, |key| {
        let mut chars = key.chars();
        chars.next().map_or(String::new(), |first| format!("\\u{:04x}{}", u32::from(first), chars.as_str()))
    });
    0 BODIES "space behind keys" => |d, _| keys(d, |key| format!("{key} "));
    0 BODIES "NUL behind keys" => |d, _| keys(d, |key| format!("{key}\\u0000"));
    // Repeated keys.
    1 BODIES "evil labels last" => |d, _| add_last(d, &labels(d, "Labels"));
    1 BODIES "evil labels first" => |d, _| add_first(d, &labels(d, "Labels"));
    1 BODIES "evil labels last in another case" => |d, _| add_last(d, &labels(d, "labels"));
    1 BODIES "evil labels last with a long s" => |d, _| add_last(d, &labels(d, "Label\u{17f}"));
    1 BODIES "evil labels last, escaped" => |d, _| add_last(d, &labels(d, "L\\u0061bels"));
    1 BODIES "null labels last" => |d, _| add_last(d, "\"Labels\":null");
    1 BODIES "null labels first" => |d, _| add_first(d, "\"labels\":null");
    1 BODIES "repeated key among labels" => |d, _| replace(d, "\"level\":\"good\"", "\"level\":\"good\",\"level\":\"evil\"");
    1 BODIES "labels of two cases" => |d, _| replace(d, "\"level\":\"good\"", "\"level\":\"good\",\"LEVEL\":\"evil\"");
    1 BODIES "evil name last" => |d, _| add_last(d, &format!("\"Name\":\"{}b\"", d.marker));
    1 BODIES "evil name last in another case" => |d, _| add_last(d, &format!("\"nAME\":\"{}b\"", d.marker));
    1 BODIES "evil setting last" => |d, _| { let evil = evil_setting(d, false); add_last(d, &evil) };
    1 BODIES "evil setting last in another case" => |d, _| { let evil = evil_setting(d, true); add_last(d, &evil) };
    1 BODIES "evil setting first" => |d, _| { let evil = evil_setting(d, true); add_first(d, &evil) };
    1 CONTAINERS "top-level privilege beside HostConfig" => |d, _| add_last(d, "\"Privileged\":true");
    1 CONTAINERS "top-level privilege without HostConfig" => |d, _| {
        replace(d, "\"HostConfig\":{\"Privileged\":false}", "\"Privileged\":true");
    };
    1 CONTAINERS "top-level memory" => |d, _| add_last(d, "\"Memory\":67108864");
    1 CONTAINERS "top-level cpuset" => |d, _| add_last(d, "\"Cpuset\":\"0\"");
    1 CONTAINERS "zero memory at the top level" => |d, _| add_last(d, "\"Memory\":0,\"MemorySwap\":0");
    1 CONTAINERS "null HostConfig last" => |d, _| add_last(d, "\"HostConfig\":null");
    1 CONTAINERS "null then privileged" => |d, _| replace(d, "\"HostConfig\":{", "\"HostConfig\":null,\"hostConfig\":{\"Privileged\":true},\"X\":{");
    1 CONTAINERS "capability as a string" => |d, _| replace(d, "\"HostConfig\":{", "\"HostConfig\":{\"CapAdd\":\"NET_ADMIN\",");
    1 CONTAINERS "command as a string" => |d, _| replace(d, "[\"true\"]", "\"true\"");
    1 CONTAINERS "a Config object around it" => |d, _| wrap(d, "{\"Config\":", "}");
    // Text of the body.
    2 BODIES "unknown keys" => |d, _| add_last(d, "\"Future\":{\"a\":[1,{\"b\":null}]}");
    2 BODIES "unknown keys of two cases" => |d, _| add_last(d, "\"Future\":1,\"FUTURE\":2");
    2 BODIES "deep nesting" => |d, _| add_last(d, &format!("\"Future\":{}{}", "[".repeat(90), "]".repeat(90)));
    2 BODIES "very deep nesting" => |d, _| add_last(d, &format!("\"Future\":{}{}", "[".repeat(9000), "]".repeat(9000)));
    2 BODIES "endless nesting" => |d, _| add_last(d, &format!("\"Future\":{}{}", "[".repeat(20000), "]".repeat(20000)));
    2 BODIES "lone surrogate" => |d, _| replace(d, "\"good\"", "\"good\\ud800\"");
    2 BODIES "not UTF-8" => |d, _| replace_bytes(d, b"\"good\"", b"\"good\xff\"");
    2 BODIES "overlong UTF-8" => |d, _| replace_bytes(d, b"\"good\"", b"\"\xc1\xa7ood\"");
    2 BODIES "NUL in a value" => |d, _| replace(d, "\"good\"", "\"good\\u0000evil\"");
    2 BODIES "bare newline in a value" => |d, _| replace(d, "\"good\"", "\"go\nod\"");
    2 BODIES "surrogate pair" => |d, _| replace(d, "\"good\"", "\"good\\ud83d\\ude00\"");
    2 BODIES "number as a label" => |d, _| replace(d, "\"good\"", "7");
    2 BODIES "text for a boolean" => |d, _| replace(d, ":false", ":\"true\"");
    2 BODIES "number for a boolean" => |d, _| replace(d, ":false", ":1");
    2 BODIES "boolean in another case" => |d, _| replace(d, ":false", ":TRUE");
    2 BODIES "comment" => |d, _| wrap(d, "/* x */", "");
    2 BODIES "single quotes" => |d, _| replace(d, "\"good\"", "'good'");
    2 BODIES "trailing comma" => |d, _| replace(d, "\"good\"", "\"good\",");
    2 BODIES "spaces everywhere" => |d, _| { replace(d, ":", " :\t"); replace(d, ",", "\r\n, ") };
    3 BODIES "second document" => |d, _| { let evil = evil_document(d); wrap(d, "", &evil) };
    3 BODIES "second document in front" => |d, _| { let evil = evil_document(d); wrap(d, &evil, "") };
    3 BODIES "junk behind" => |d, _| wrap(d, "", " junk");
    3 BODIES "NUL behind" => |d, _| wrap(d, "", "\0");
    3 BODIES "newline behind" => |d, _| wrap(d, " \r\n\t", "\n\n");
    3 BODIES "vertical tab in front" => |d, _| wrap(d, "\u{b}", "");
    3 BODIES "byte-order mark" => |d, _| wrap(d, "\u{feff}", "");
    3 BODIES "UTF-16" => |d, _| {
        let text = String::from_utf8_lossy(&d.body).into_owned();
        d.body = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    };
    3 BODIES "a list around it" => |d, _| wrap(d, "[", "]");
    3 BODIES "null for a body" => |d, _| { d.body = b"null".to_vec(); mark_query(d) };
    3 BODIES "no body" => |d, _| { d.body.clear(); mark_query(d) };
    3 BODIES "just under 1 MiB" => |d, _| pad(d, (1 << 20) - 1);
    3 BODIES "1 MiB" => |d, _| pad(d, 1 << 20);
    3 BODIES "1.2 MiB" => |d, _| pad(d, 1_200_000);
    3 BODIES "just under 4 MiB" => |d, _| pad(d, (4 << 20) - 1);
    3 BODIES "4 MiB" => |d, _| pad(d, 4 << 20);
    3 BODIES "over 4 MiB" => |d, _| pad(d, (4 << 20) + 1);
    3 BODIES "5 MiB of spaces in front" => |d, _| { let spaces = " ".repeat(5 << 20); wrap(d, &spaces, "") };
    // Headers.
    4 BODIES "type in capitals" => |d, _| content_types(d, &["APPLICATION/JSON"]);
    4 BODIES "charset" => |d, _| content_types(d, &["application/json; charset=utf-8"]);
    4 BODIES "UTF-16 charset" => |d, _| content_types(d, &["application/json; charset=utf-16"]);
    4 BODIES "empty parameter" => |d, _| content_types(d, &["application/json;"]);
    4 BODIES "broken parameter" => |d, _| content_types(d, &["application/json; broken"]);
    4 BODIES "repeated parameter" => |d, _| content_types(d, &["application/json; a=1; a=2"]);
    4 BODIES "spaces around the type" => |d, _| content_types(d, &["\t application/json \t"]);
    4 BODIES "two types in one" => |d, _| content_types(d, &["application/json, text/plain"]);
    4 BODIES "JSON then text" => |d, _| content_types(d, &["application/json", "text/plain"]);
    4 BODIES "text then JSON" => |d, _| content_types(d, &["text/plain", "application/json"]);
    4 BODIES "form then JSON" => |d, _| content_types(d, &["application/x-www-form-urlencoded", "application/json"]);
    4 BODIES "JSON then form" => |d, _| content_types(d, &["application/json", "application/x-www-form-urlencoded"]);
    4 BODIES "empty type then JSON" => |d, _| content_types(d, &["", "application/json"]);
    4 BODIES "no type" => |d, _| content_types(d, &[]);
    4 BODIES "text type" => |d, _| content_types(d, &["text/plain"]);
    4 BODIES "form type" => |d, _| content_types(d, &["application/x-www-form-urlencoded"]);
    4 BODIES "JSON patch type" => |d, _| content_types(d, &["application/merge-patch+json"]);
    4 BODIES "header name in lower case" => |d, _| for (name, _) in &mut d.headers { *name = name.to_lowercase() };
    4 BODIES "space behind the header name" => |d, _| for (name, _) in &mut d.headers { name.push(' ') };
    4 BODIES "folded header" => |d, _| content_types(d, &["application/json;\r\n charset=utf-8"]);
    4 ALL_KINDS "method override headers" => |d, _| header(d, "X-HTTP-Method-Override", "DELETE");
    4 ALL_KINDS "original URL headers" => |d, _| { header(d, "X-Original-URL", "/v1.41/info"); header(d, "X-Rewrite-Url", "/v1.41/info") };
    4 ALL_KINDS "gzip encoding header" => |d, _| header(d, "Content-Encoding", "gzip");
    // Forms.
    4 NAMED_IN_QUERY "form body" => |d, _| form(d, &["application/x-www-form-urlencoded"]);
    4 NAMED_IN_QUERY "form body with a charset" => |d, _| form(d, &["Application/X-WWW-Form-Urlencoded; charset=utf-8"]);
    4 NAMED_IN_QUERY "form body, text type last" => |d, _| form(d, &["application/x-www-form-urlencoded", "text/plain"]);
    4 NAMED_IN_QUERY "form body, JSON type last" => |d, _| form(d, &["application/x-www-form-urlencoded", "application/json"]);
    4 NAMED_IN_QUERY "form body, archive type last" => |d, _| form(d, &["application/x-www-form-urlencoded", "application/x-tar"]);
    4 NAMED_IN_QUERY "form body, JSON type first" => |d, _| form(d, &["application/json", "application/x-www-form-urlencoded"]);
    4 NAMED_IN_QUERY "form body without a type" => |d, _| form(d, &[]);
    4 NAMED_IN_QUERY "multipart body" => |d, _| {
        content_types(d, &["multipart/form-data; boundary=x"]);
        d.body = format!("--x\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\n{}b\r\n--x--\r\n", d.marker).into_bytes();
    };
    // Methods.
    5 ALL_KINDS "method in lower case" => |d, _| d.method = "post".to_owned();
    5 ALL_KINDS "method in mixed case" => |d, _| d.method = "Post".to_owned();
    5 ALL_KINDS "PUT" => |d, _| d.method = "PUT".to_owned();
    5 ALL_KINDS "GET" => |d, _| d.method = "GET".to_owned();
    5 ALL_KINDS "HTTP/1.0" => |d, _| d.http = "HTTP/1.0";
    5 ALL_KINDS "newline in front" => |d, _| d.before = b"\r\n".to_vec();
    // Paths.
    6 ALL_KINDS "no version" => |d, _| version(d, "");
    6 ALL_KINDS "old version" => |d, r| { let old = ["/v1.24", "/v1.30", "/v1.40"].choose(r).copied().unwrap_or("/v1.30"); version(d, old) };
    6 ALL_KINDS "ancient version" => |d, _| version(d, "/v1.20");
    6 ALL_KINDS "future version" => |d, _| version(d, "/v9.99");
    6 ALL_KINDS "dot behind the version" => |d, _| version(d, "/v1.41.");
    6 ALL_KINDS "two dots behind the version" => |d, _| version(d, "/v1.41..");
    6 ALL_KINDS "three numbers in the version" => |d, _| version(d, "/v1.41.0");
    6 ALL_KINDS "zero in front of the version" => |d, _| version(d, "/v01.041");
    6 ALL_KINDS "version in a capital" => |d, _| version(d, "/V1.41");
    6 ALL_KINDS "version of one number" => |d, _| version(d, "/v1");
    6 ALL_KINDS "version of a dot" => |d, _| version(d, "/v.");
    6 ALL_KINDS "letter behind the version" => |d, _| version(d, "/v1.41x");
    6 ALL_KINDS "two versions" => |d, _| version(d, "/v1.41/v1.41");
    6 ALL_KINDS "path in capitals" => |d, _| d.path = d.path.replace("create", "CREATE").replace("rename", "RENAME");
    7 ALL_KINDS "encoded letter in the path" => |d, r| encode_letters(d, r, 1);
    7 ALL_KINDS "encoded letters in the path" => |d, r| encode_letters(d, r, 6);
    7 ALL_KINDS "encoded version" => |d, _| d.path = d.path.replacen("/v1", "/%76%31", 1);
    7 ALL_KINDS "letter encoded twice" => |d, _| d.path = d.path.replacen('e', "%2565", 1);
    7 ALL_KINDS "encoded slash" => |d, _| last_slash(d, "%2f");
    7 ALL_KINDS "encoded slash in front" => |d, _| d.path = d.path.replacen("/v1", "/%2Fv1", 1);
    7 ALL_KINDS "backslash" => |d, _| last_slash(d, "\\");
    7 ALL_KINDS "two slashes in front" => |d, _| d.path.insert(0, '/');
    7 ALL_KINDS "two slashes inside" => |d, _| last_slash(d, "//");
    7 ALL_KINDS "dot part" => |d, _| last_slash(d, "/./");
    7 ALL_KINDS "dot-dot part" => |d, _| last_slash(d, "/x/../");
    7 ALL_KINDS "encoded dot-dot part" => |d, _| last_slash(d, "/x/%2e%2e/");
    7 ALL_KINDS "dot-dot behind auth" => |d, _| d.path.insert_str(0, "/auth/..");
    7 ALL_KINDS "slash at the end" => |d, _| d.path.push('/');
    7 ALL_KINDS "encoded space at the end" => |d, _| d.path.push_str("%20");
    7 ALL_KINDS "encoded NUL at the end" => |d, _| d.path.push_str("%00");
    7 ALL_KINDS "broken escape at the end" => |d, _| d.path.push_str("%zz");
    7 ALL_KINDS "semicolon in the path" => |d, _| d.path.push_str(";x=1");
    7 ALL_KINDS "fragment in the path" => |d, _| d.path.push_str("#x");
    8 ALL_KINDS "absolute target" => |d, _| d.path.insert_str(0, "http://elsewhere");
    8 ALL_KINDS "absolute target with a port" => |d, _| d.path.insert_str(0, "HTTPS://[::1]:2375");
    8 ALL_KINDS "absolute target with a user" => |d, _| d.path.insert_str(0, "http://a:b@elsewhere");
    8 ALL_KINDS "absolute target of another scheme" => |d, _| d.path.insert_str(0, "gopher://elsewhere");
    8 ALL_KINDS "target without a slash" => |d, _| { d.path.remove(0); };
    // Queries.
    8 ALL_KINDS "query that ends in auth" => |d, _| query_last(d, "x=/auth");
    8 ALL_KINDS "query that has auth" => |d, _| query_first(d, "x=/v1.41/auth/");
    8 ALL_KINDS "empty pairs" => |d, _| { query_first(d, "&&"); query_last(d, "&") };
    8 ALL_KINDS "question mark in the query" => |d, _| query_last(d, "x=a?name=b");
    8 ALL_KINDS "long query" => |d, _| query_last(d, &format!("x={}", "y".repeat(8000)));
    8 ALL_KINDS "many parameters" => |d, _| query_last(d, &(0..1200).map(|n| format!("k{n}=1&")).collect::<String>());
    8 ALL_KINDS "broken escape in the query" => |d, _| query_last(d, "x=%zz");
    8 ALL_KINDS "semicolon in the query" => |d, _| query_last(d, "x=1;y=2");
    8 NAMED_IN_QUERY "evil name last in the query" => |d, _| query_last(d, &format!("name={}b", d.marker));
    8 NAMED_IN_QUERY "evil name first in the query" => |d, _| query_first(d, &format!("name={}b", d.marker));
    8 NAMED_IN_QUERY "same name twice" => |d, _| query_last(d, &format!("name={}a", d.marker));
    8 NAMED_IN_QUERY "evil name in another case" => |d, _| query_first(d, &format!("Name={}b", d.marker));
    8 NAMED_IN_QUERY "evil name with an encoded key" => |d, _| query_first(d, &format!("n%61me={}b", d.marker));
    8 NAMED_IN_QUERY "evil name behind a semicolon" => |d, _| query_first(d, &format!("x=1;name={}b", d.marker));
    8 NAMED_IN_QUERY "evil name with brackets" => |d, _| query_first(d, &format!("name[]={}b", d.marker));
    8 NAMED_IN_QUERY "evil name behind a space" => |d, _| query_first(d, &format!("+name={}b", d.marker));
    8 NAMED_IN_QUERY "encoded name" => |d, _| d.query = d.query.replacen("=d", "=%64", 1);
    8 NAMED_IN_QUERY "slash in front of the name" => |d, _| d.query = d.query.replacen("=d", "=/d", 1);
    // Framing.
    9 ALL_KINDS "chunked" => |d, _| d.framing = Framing::Chunked;
    9 ALL_KINDS "chunked in capitals" => |d, _| own_chunks(d, &["CHUNKED"], None);
    9 ALL_KINDS "chunked twice" => |d, _| own_chunks(d, &["chunked", "chunked"], None);
    9 ALL_KINDS "chunked and identity" => |d, _| own_chunks(d, &["identity, chunked"], None);
    9 ALL_KINDS "chunked with length 0" => |d, _| own_chunks(d, &["chunked"], Some("0"));
    9 ALL_KINDS "chunked with a length" => |d, _| own_chunks(d, &["chunked"], Some("20"));
    9 ALL_KINDS "vertical tab in the transfer encoding" => |d, _| own_chunks(d, &["\u{b}chunked"], None);
    9 ALL_KINDS "length twice" => |d, _| { let n = d.body.len(); own_lengths(d, &[&n.to_string(), &n.to_string()]) };
    9 ALL_KINDS "two lengths" => |d, _| { let n = d.body.len(); own_lengths(d, &["0", &n.to_string()]) };
    9 ALL_KINDS "length with a plus" => |d, _| { let n = d.body.len(); own_lengths(d, &[&format!("+{n}")]) };
    9 ALL_KINDS "length with a zero in front" => |d, _| { let n = d.body.len(); own_lengths(d, &[&format!("0{n}")]) };
    9 ALL_KINDS "length 0 before a body" => |d, _| own_lengths(d, &["0"]);
    9 ALL_KINDS "length too short" => |d, _| { let n = d.body.len().saturating_sub(2); own_lengths(d, &[&n.to_string()]) };
    9 ALL_KINDS "no length" => |d, _| own_lengths(d, &[]);
    9 BODIES "second request behind" => |d, _| {
        let mut second = Draft::plain(d.kind, &d.marker, &d.image);
        second.body = evil_document(d).into_bytes();
        d.after = second.bytes();
    };
};

/// Changes the spelling of every key that is the name of one of Docker's fields.
fn keys(draft: &mut Draft, change: impl Fn(&str) -> String) {
    for key in [
        "Name",
        "Driver",
        "DriverOpts",
        "Labels",
        "Internal",
        "Options",
        "Image",
        "Cmd",
        "HostConfig",
        "Privileged",
    ] {
        replace(
            draft,
            &format!("\"{key}\":"),
            &format!("\"{}\":", change(key)),
        );
    }
}

fn labels(draft: &Draft, key: &str) -> String {
    format!(
        "\"{key}\":{{\"dsv\":\"{}\",\"level\":\"evil\"}}",
        draft.marker
    )
}

/// A member that makes the object a dangerous one, with its key in Docker's spelling or another.
fn evil_setting(draft: &Draft, other_case: bool) -> String {
    let (key, value) = match draft.kind {
        Kind::Volume => (
            "DriverOpts",
            "{\"type\":\"tmpfs\",\"device\":\"tmpfs\",\"o\":\"size=1m\"}",
        ),
        Kind::Network => ("Internal", "true"),
        Kind::Container | Kind::Rename => ("HostConfig", "{\"Privileged\":true}"),
    };
    let key = if other_case {
        key.to_lowercase()
    } else {
        key.to_owned()
    };
    format!("\"{key}\":{value}")
}

/// A whole body that makes another object.
fn evil_document(draft: &Draft) -> String {
    let plain = Draft::plain(draft.kind, &draft.marker, &draft.image);
    String::from_utf8_lossy(&plain.body)
        .replace(&format!("{}a", draft.marker), &format!("{}b", draft.marker))
        .replace("good", "evil")
        .replace(":false", ":true")
}

fn replace(draft: &mut Draft, from: &str, to: &str) {
    if let Ok(text) = std::str::from_utf8(&draft.body) {
        draft.body = text.replace(from, to).into_bytes();
    }
}

fn replace_bytes(draft: &mut Draft, from: &[u8], to: &[u8]) {
    if let Some(at) = draft
        .body
        .windows(from.len())
        .position(|window| window == from)
    {
        draft.body.splice(at..at + from.len(), to.iter().copied());
    }
}

fn wrap(draft: &mut Draft, before: &str, after: &str) {
    draft.body.splice(0..0, before.bytes());
    draft.body.extend_from_slice(after.as_bytes());
}

fn add_first(draft: &mut Draft, member: &str) {
    if let Some(at) = draft.body.iter().position(|byte| *byte == b'{') {
        draft
            .body
            .splice(at + 1..at + 1, format!("{member},").into_bytes());
    }
}

fn add_last(draft: &mut Draft, member: &str) {
    if let Some(at) = draft.body.iter().rposition(|byte| *byte == b'}') {
        draft.body.splice(at..at, format!(",{member}").into_bytes());
    }
}

/// Pads the body with an unknown member to `length` bytes.
fn pad(draft: &mut Draft, length: usize) {
    let fill = length.saturating_sub(draft.body.len() + ",\"Pad\":\"\"".len());
    add_last(draft, &format!("\"Pad\":\"{}\"", "x".repeat(fill)));
}

/// Puts the marker into the query, for a request that has lost its body.
fn mark_query(draft: &mut Draft) {
    query_last(draft, &format!("mark={}", draft.marker));
}

fn header(draft: &mut Draft, name: &str, value: &str) {
    draft.headers.push((name.to_owned(), value.to_owned()));
}

fn content_types(draft: &mut Draft, values: &[&str]) {
    draft
        .headers
        .retain(|(name, _)| !name.trim().eq_ignore_ascii_case("content-type"));
    for value in values {
        header(draft, "Content-Type", value);
    }
}

fn form(draft: &mut Draft, types: &[&str]) {
    content_types(draft, types);
    draft.body = format!("name={}b", draft.marker).into_bytes();
}

fn version(draft: &mut Draft, version: &str) {
    draft.path = draft.path.replacen("/v1.41", version, 1);
}

fn encode_letters(draft: &mut Draft, random: &mut StdRng, number: usize) {
    for _ in 0..number {
        let letters: Vec<usize> = draft
            .path
            .char_indices()
            .filter(|(at, c)| {
                c.is_ascii_lowercase()
                    && !draft
                        .path
                        .get(at.saturating_sub(2)..*at)
                        .is_some_and(|near| near.contains('%'))
            })
            .map(|(at, _)| at)
            .collect();
        let Some(at) = letters.choose(random).copied() else {
            return;
        };
        let escape = draft
            .path
            .as_bytes()
            .get(at)
            .map(|byte| format!("%{byte:02x}"))
            .unwrap_or_default();
        draft.path.replace_range(at..=at, &escape);
    }
}

/// Replaces the slash before the last part of the path.
fn last_slash(draft: &mut Draft, with: &str) {
    if let Some(at) = draft.path.rfind('/') {
        draft.path.replace_range(at..=at, with);
    }
}

fn query_first(draft: &mut Draft, pair: &str) {
    draft.query = if draft.query.is_empty() {
        pair.to_owned()
    } else {
        format!("{pair}&{}", draft.query)
    };
}

fn query_last(draft: &mut Draft, pair: &str) {
    draft.query = if draft.query.is_empty() {
        pair.to_owned()
    } else {
        format!("{}&{pair}", draft.query)
    };
}

fn own_chunks(draft: &mut Draft, encodings: &[&str], length: Option<&str>) {
    draft.framing = Framing::Own;
    if let Some(length) = length {
        header(draft, "Content-Length", length);
    }
    for encoding in encodings {
        header(draft, "Transfer-Encoding", encoding);
    }
    draft.body = chunked(&draft.body);
}

fn own_lengths(draft: &mut Draft, lengths: &[&str]) {
    draft.framing = Framing::Own;
    for length in lengths {
        header(draft, "Content-Length", length);
    }
}
