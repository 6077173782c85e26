//! Request targets that a policy may read in another way than the engine.

use super::check;
use super::lab::{Ask, Lab, VERSION};
use crate::Bench;
use crate::check::{Check, Level, Outcome};

pub(super) const CHECKS: &[Check] = &[
    check(
        "A20",
        Level::Security,
        "the versions of a path, and none",
        "The same decision: /v1.41/x, /v1.24/x and /x are one endpoint to the engine.",
        knows_versions,
    ),
    check(
        "A21",
        Level::Security,
        "what looks like a version",
        "Denied: the engine has no such endpoint, and a policy that finds one reads paths in its own way. One that lets what is harmless pass at any endpoint is asked with the harmful sample alone.",
        knows_what_is_no_version,
    ),
    check(
        "A22",
        Level::Security,
        "a letter that is percent-encoded",
        "The same decision: the engine decodes the path before it looks for the endpoint.",
        decodes_once,
    ),
    check(
        "A23",
        Level::Security,
        "slashes, dots, percent signs and NUL, percent-encoded, and backslashes",
        "Read as the engine does, which decodes once and then has no such endpoint; otherwise denied. One that lets what is harmless pass at any endpoint is asked with the harmful sample alone.",
        decodes_no_more,
    ),
    check(
        "A24",
        Level::Security,
        "paths that are not clean",
        "Judged as the clean one, or denied; never allowed as another endpoint.",
        cleans_paths,
    ),
    check(
        "A25",
        Level::Security,
        "a target with a host",
        "The same decision: the engine goes by the path in http://any/v1.41/containers/create.",
        knows_absolute_targets,
    ),
    check(
        "A26",
        Level::Security,
        "odd queries",
        "Whatever is in the query, the harmful body is denied: the endpoint is the path's.",
        judges_odd_queries,
    ),
    check(
        "A27",
        Level::Security,
        "containers that are called as endpoints are",
        "Judged as any other name: a container may be called json, create or start.",
        tells_names_from_words,
    ),
    check(
        "A28",
        Level::Security,
        "methods that are none, and headers that would change them",
        "Denied; headers change no method: the engine knows GET, HEAD, POST, PUT and DELETE in capitals, and no override.",
        knows_methods,
    ),
    check(
        "A29",
        Level::Security,
        "paths that begin or end with /auth",
        "No way around: older engines show no body to a policy if the target ends in /auth, query included.",
        is_not_fooled_by_auth,
    ),
];

fn knows_versions(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let path = lab.own.path.clone();
    for version in ["/v1.41", "/v1.24", "/v1.51", ""] {
        let uri = format!("{version}{path}");
        lab.same(&uri, &|ask| ask.to(&uri))?;
    }
    // The engine's router takes any digits and dots, and refuses what is no version only behind the policy.
    for version in ["/v1.41.", "/v1", "/v9.99", "/v.", "/v1..41"] {
        let uri = format!("{version}{path}");
        lab.denied(&uri, &lab.harmful().to(&uri))?;
    }
    Ok(())
}

fn knows_what_is_no_version(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    for version in [
        "/V1.41",
        "/v",
        "/v1.41x",
        "/version1.41",
        "/1.41",
        "/v1.41/v1.41",
    ] {
        let uri = format!("{version}{}", lab.own.path);
        lab.nowhere(&uri)?;
    }
    Ok(())
}

/// The sample's path with its first letter replaced.
fn with_first_letter(lab: &Lab<'_>, to: impl Fn(u8) -> String) -> String {
    let path = &lab.own.path;
    let first = path.as_bytes().get(1).copied().unwrap_or_default();
    format!(
        "{VERSION}/{}{}",
        to(first),
        path.get(2..).unwrap_or_default()
    )
}

fn decodes_once(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let uri = with_first_letter(&lab, |letter| format!("%{letter:02x}"));
    lab.same(&uri, &|ask| ask.to(&uri))?;
    let (head, last) = lab.own.path.split_at(lab.own.path.len() - 1);
    let last = last.as_bytes().first().copied().unwrap_or_default();
    let uri = format!("{VERSION}{head}%{last:02X}");
    lab.same(&uri, &|ask| ask.to(&uri))
}

fn decodes_no_more(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let path = lab.own.path.clone();
    let twice = with_first_letter(&lab, |letter| format!("%25{letter:02x}"));
    let thrice = with_first_letter(&lab, |letter| {
        let [high, low] = format!("{letter:02x}").into_bytes()[..] else {
            return String::new();
        };
        format!("%25%{high:02x}%{low:02x}")
    });
    let backslashes = format!("{VERSION}{}", path.replace('/', "\\"));
    for uri in [
        twice,
        thrice,
        backslashes,
        format!("{VERSION}{path}%00"),
        format!("{VERSION}{path}%00.json"),
        format!("{VERSION}{path}%zz"),
        format!("{VERSION}{path}%"),
        format!("{VERSION}{path}%2"),
        format!("{VERSION}{path}%20"),
    ] {
        lab.nowhere(&uri)?;
    }
    let slashes = path.get(1..).unwrap_or_default().replace('/', "%2f");
    for uri in [
        format!("{VERSION}/{slashes}"),
        format!("{VERSION}/x/%2e%2e{path}"),
        format!("{VERSION}/%2e{path}"),
    ] {
        lab.denied(&uri, &lab.harmful().to(&uri))?;
    }
    Ok(())
}

fn cleans_paths(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let path = lab.own.path.clone();
    for uri in [
        format!("/{VERSION}{path}"),
        format!("{VERSION}/{path}"),
        format!("{VERSION}{}", path.replace("/c", "//c")),
        format!("{VERSION}/.{path}"),
        format!("{VERSION}/x/..{path}"),
        format!("/x/..{VERSION}{path}"),
        format!("{VERSION}{path}/"),
        format!("{VERSION}{path}/."),
        format!("{VERSION}{path}/x/.."),
        format!("/auth/..{path}"),
        format!("{VERSION}/auth/..{path}"),
        format!("/_ping/..{VERSION}{path}"),
        format!("/../..{path}"),
    ] {
        lab.denied(&uri, &lab.harmful().to(&uri))?;
    }
    Ok(())
}

fn knows_absolute_targets(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    for host in ["http://any", "http://docker", "http://127.0.0.1:2375"] {
        let uri = format!("{host}{VERSION}{}", lab.own.path);
        lab.same(&uri, &|ask| ask.to(&uri))?;
    }
    let path = format!("{VERSION}{}", lab.own.path);
    for uri in [
        format!("https://any{path}"),
        format!("HTTP://any{path}"),
        format!("http://any@other{path}"),
        format!("http://{path}"),
        format!("//any{path}"),
        format!("any{path}"),
    ] {
        lab.denied(&uri, &lab.harmful().to(&uri))?;
    }
    Ok(())
}

fn judges_odd_queries(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let path = format!("{VERSION}{}", lab.own.path);
    for query in [
        "?",
        "?name=a&name=b",
        "?NAME=a&name=b",
        "?name=a;name=b",
        "?name=a+b",
        "?n%61me=a",
        "?name=%",
        "?&&",
        "?=",
        "?name=a?name=b",
        "?name=a#b",
        "#",
        "?name=/_ping",
        "?name=a%00b",
        "?platform=linux&privileged=false",
    ] {
        let uri = format!("{path}{query}");
        lab.denied(&uri, &lab.harmful().to(&uri))?;
    }
    match lab.harmless() {
        Some(harmless) => {
            let uri = format!("{path}?name=web");
            lab.allowed(&uri, &harmless.to(&uri))
        }
        None => Ok(()),
    }
}

fn tells_names_from_words(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let whole = bench.id();
    let prefix = whole.get(..12).unwrap_or_default();
    for line in [
        "GET /containers/{}/json",
        "POST /containers/{}/start",
        "POST /containers/{}/rename?name=web2",
        "DELETE /containers/{}",
    ] {
        let about = |name: &str| {
            let (method, path) = line.split_once(' ').unwrap_or_default();
            lab.plain(&format!("{method} {VERSION}{}", path.replace("{}", name)))
        };
        let usual = lab.judge(&about("web"))?.allow;
        for name in [
            "create", "start", "exec", "json", "prune", "_ping", &whole, prefix,
        ] {
            // Three of the engine's endpoints are of such a form themselves.
            let own = format!("{name} {line}");
            if ["prune DELETE", "json GET", "create GET"]
                .iter()
                .any(|two| own.starts_with(two))
            {
                continue;
            }
            let decision = lab.judge(&about(name))?;
            decision.answer.ensure(decision.allow == usual, || {
                let usual = if usual { "allowed" } else { "denied" };
                format!("for a container that is called web it is {usual}")
            })?;
        }
        for name in ["..", ".", "", "a/../b"] {
            lab.denied(
                &format!("a container called {name:?}"),
                &about(name).to(about(name).uri + "/x/../.."),
            )?;
        }
    }
    Ok(())
}

fn knows_methods(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    for method in [
        "post",
        "Post",
        "BREW",
        "OPTIONS",
        "TRACE",
        "POST ",
        "GET\r\nX: y",
        "GETX",
    ] {
        lab.neither(method, &|ask| ask.by(method))?;
    }
    for method in ["PATCH", "PUT", "get"] {
        lab.denied(method, &lab.harmful().by(method))?;
    }
    for header in [
        "X-Http-Method-Override",
        "X-Http-Method",
        "X-Method-Override",
    ] {
        lab.same(header, &|ask: Ask| ask.with(header, "GET"))?;
    }
    for header in ["X-Original-Url", "X-Rewrite-Url", "X-Forwarded-Uri"] {
        lab.same(header, &|ask: Ask| ask.with(header, "/_ping"))?;
    }
    Ok(())
}

fn is_not_fooled_by_auth(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let path = format!("{VERSION}{}", lab.own.path);
    for uri in [
        format!("{path}?x=/auth"),
        format!("{path}?x=/v1.41/auth"),
        format!("{path}?/auth"),
        format!("{path}#/auth"),
        format!("{path}/auth"),
        format!("/auth{path}"),
        format!("{VERSION}/auth{}", lab.own.path),
        format!("/authx{path}"),
    ] {
        lab.denied(&uri, &lab.harmful().to(&uri))?;
        let hidden = lab.harmful().withheld().to(&uri);
        lab.denied(&format!("{uri} with a hidden body"), &hidden)?;
    }
    for uri in ["/authx", "/v1.41/authx", "/v1.41/auth/x", "/auth/"] {
        lab.denied(uri, &lab.harmful().withheld().to(uri))?;
    }
    Ok(())
}
