//! Images that a request uses or makes.

use dockside_authz::routes::{Kind, Route};
use dockside_driver::authz::Request;
use serde_json::Value;

use crate::{
    containers::is_like_an_id,
    pattern::{self, Pattern},
};

/// Looks at every image that a request names.
pub(crate) fn check(
    patterns: &[Pattern],
    user: &str,
    request: &Request,
    route: &Route,
    body: &Value,
) -> Result<(), String> {
    let query = |name: &str| request.query.get(name).unwrap_or_default().to_owned();
    let tagged = |name: &str| match query("tag") {
        tag if tag.is_empty() => query(name),
        tag if tag.contains(':') => format!("{}@{tag}", query(name)),
        tag => format!("{}:{tag}", query(name)),
    };
    let text = |pointer: &str| {
        body.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let mut images: Vec<String> = Vec::new();
    match route.action {
        "container_create" => images.push(text("/Image")),
        "service_create" | "service_update" => {
            images.push(text("/TaskTemplate/ContainerSpec/Image"))
        }
        "image_pull" => images.push(tagged("fromImage")),
        "image_import" | "container_commit" => images.push(tagged("repo")),
        "image_tag" => {
            images.extend(route.object.clone());
            images.push(tagged("repo"));
        }
        "image_push" => images.push(match (route.object.as_deref(), query("tag")) {
            (Some(name), tag) if !tag.is_empty() => format!("{name}:{tag}"),
            (name, _) => name.unwrap_or_default().to_owned(),
        }),
        "image_build" => images.extend(request.query.all("t").map(str::to_owned)),
        "image_load" | "image_prune" => {
            return Err("it can be about any image (images)".to_owned());
        }
        "image_list" | "image_search" | "image_build_prune" | "image_build_cancel" => {}
        _ if route.kind == Kind::Image => {
            images.extend(route.object.clone());
            images.extend(
                request
                    .query
                    .all("names")
                    .flat_map(|names| names.split(','))
                    .map(str::to_owned),
            );
        }
        _ => {}
    }
    images
        .iter()
        .filter(|image| !image.is_empty())
        .try_for_each(|image| one(patterns, user, image))
}

fn one(patterns: &[Pattern], user: &str, image: &str) -> Result<(), String> {
    let plain = name(image);
    // The engine looks for an ID first.
    if is_like_an_id(image) || image.starts_with("sha256:") {
        if patterns.iter().any(|pattern| pattern.fits("*", user)) {
            return Ok(());
        }
        return Err(format!(
            "{image:?} looks like an ID: use the image's name (images)"
        ));
    }
    let full = full(plain);
    let rest = image.strip_prefix(plain).unwrap_or_default();
    let names = [
        image.to_owned(),
        plain.to_owned(),
        format!("{full}{rest}"),
        full,
    ];
    if names
        .iter()
        .any(|name| patterns.iter().any(|pattern| pattern.fits(name, user)))
    {
        return Ok(());
    }
    Err(format!(
        "the image {image:?} is not allowed, but {} (images)",
        pattern::list(patterns)
    ))
}

/// A reference without tag and digest.
fn name(image: &str) -> &str {
    let plain = image.split('@').next().unwrap_or(image);
    match plain.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => plain,
    }
}

/// A name with its registry, as the engine completes it.
fn full(name: &str) -> String {
    match name.split_once('/') {
        Some((registry, _)) if registry.contains(['.', ':']) || registry == "localhost" => name
            .strip_prefix("index.docker.io/")
            .map_or_else(|| name.to_owned(), |rest| format!("docker.io/{rest}")),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}
