//! The registry that `docker plugin install` gets relays from: as much of the OCI distribution specification as reading takes.
//!
//! Whatever tag is asked for, the relay of the plugin as it is now is the answer. Nothing is stored: its bytes follow from the plugin's settings.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::package::{Blob, MANIFEST, Package, layer};

/// What the registry is asked about.
pub trait Relays: Send + Sync + 'static {
    /// The relay that is found under this name, without host and tag.
    fn find(&self, repository: &str) -> Option<Package>;
}

/// Serves the registry until the daemon stops. Plugins serve without it as well, so a failure is only reported.
pub async fn serve(
    address: SocketAddr,
    relays: Arc<impl Relays>,
    mut stopped: watch::Receiver<bool>,
) {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "there is no registry for `docker plugin install`: cannot listen on {address} (`registry` in dockside.toml)");
            return;
        }
    };
    tracing::info!(%address, "relays can be installed from the registry");
    let stop = async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let serving = axum::serve(listener, router(relays)).with_graceful_shutdown(stop);
    if let Err(error) = serving.await {
        tracing::error!(%error, "the registry ended");
    }
}

fn router<R: Relays>(relays: Arc<R>) -> Router {
    Router::new().fallback(answer::<R>).with_state(relays)
}

async fn answer<R: Relays>(State(relays): State<Arc<R>>, request: Request) -> Response {
    let mut response = match *request.method() {
        Method::GET | Method::HEAD => look_up(&*relays, request.uri().path()),
        _ => refused(
            StatusCode::METHOD_NOT_ALLOWED,
            "UNSUPPORTED",
            "dockside's registry can only be read",
        ),
    };
    let version = HeaderValue::from_static("registry/2.0");
    response
        .headers_mut()
        .insert("docker-distribution-api-version", version);
    // hyper leaves a body out for HEAD, and keeps its length.
    response
}

fn look_up(relays: &impl Relays, path: &str) -> Response {
    let Some(rest) = path.strip_prefix("/v2") else {
        return refused(
            StatusCode::NOT_FOUND,
            "UNSUPPORTED",
            "this is the registry of dockside's relays, for docker plugin install",
        );
    };
    let rest = rest.trim_matches('/');
    if rest.is_empty() {
        return found("application/json", None, "{}");
    }
    let mut parts = rest.rsplitn(3, '/');
    let (Some(reference), Some(what), Some(name)) = (parts.next(), parts.next(), parts.next())
    else {
        return refused(StatusCode::NOT_FOUND, "NAME_INVALID", "no such resource");
    };
    let Some(package) = relays.find(name) else {
        return refused(
            StatusCode::NOT_FOUND,
            "NAME_UNKNOWN",
            &format!(
                "dockside has no relay named {name}: add it to `names` under [relay] in the plugin's file"
            ),
        );
    };
    match what {
        "manifests" => {
            let manifest = package.manifest();
            if reference.contains(':') && reference != manifest.digest {
                return refused(
                    StatusCode::NOT_FOUND,
                    "MANIFEST_UNKNOWN",
                    "the relay has changed: there is no such manifest any more",
                );
            }
            blob(MANIFEST, manifest)
        }
        "blobs" => {
            let config = package.image_config();
            if reference == layer().digest {
                blob("application/octet-stream", layer().clone())
            } else if reference == config.digest {
                blob("application/octet-stream", config)
            } else {
                refused(
                    StatusCode::NOT_FOUND,
                    "BLOB_UNKNOWN",
                    "the relay has changed: there is no such blob any more",
                )
            }
        }
        "tags" if reference == "list" => {
            let tags = json!({"name": name, "tags": ["latest"]});
            found("application/json", None, tags.to_string())
        }
        _ => refused(StatusCode::NOT_FOUND, "UNSUPPORTED", "no such resource"),
    }
}

fn blob(media_type: &'static str, blob: Blob) -> Response {
    found(media_type, Some(&blob.digest), blob.bytes)
}

fn found(media_type: &'static str, digest: Option<&str>, bytes: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(bytes.into()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    if let Some(Ok(digest)) = digest.map(HeaderValue::from_str) {
        headers.insert("docker-content-digest", digest);
    }
    response
}

fn refused(status: StatusCode, code: &str, text: &str) -> Response {
    let errors = json!({"errors": [{"code": code, "message": text}]});
    let mut response = found("application/json", None, errors.to_string());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::path::Path;

    use http_body_util::BodyExt;
    use serde_json::Value;
    use sha2::{Digest, Sha256};
    use tower::ServiceExt;

    use super::*;
    use crate::config;
    use crate::protocol::Kind;

    struct One;

    impl Relays for One {
        fn find(&self, repository: &str) -> Option<Package> {
            let kinds = [Kind::Volume].into_iter();
            let directory = Path::new("/run/d/relay");
            (repository == "vieux/sshfs")
                .then(|| Package::new("p", kinds, &config::Relay::default(), directory))
        }
    }

    async fn ask(method: &str, path: &str) -> (StatusCode, http::HeaderMap, Vec<u8>) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap();
        let response = router(Arc::new(One)).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        (parts.status, parts.headers, bytes)
    }

    #[tokio::test]
    async fn any_tag_leads_to_a_relay_whose_digests_are_right() {
        let (status, headers, _) = ask("GET", "/v2/").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers["docker-distribution-api-version"], "registry/2.0");
        let (_, headers, manifest) = ask("GET", "/v2/vieux/sshfs/manifests/latest").await;
        assert_eq!(headers["content-type"], MANIFEST);
        let digest = headers["docker-content-digest"]
            .to_str()
            .unwrap()
            .to_owned();
        for reference in ["0.5", "next", &digest] {
            let path = format!("/v2/vieux/sshfs/manifests/{reference}");
            assert_eq!(ask("GET", &path).await.2, manifest, "{reference}");
        }
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        for part in [&manifest["config"], &manifest["layers"][0]] {
            let digest = part["digest"].as_str().unwrap();
            let (status, _, bytes) = ask("GET", &format!("/v2/vieux/sshfs/blobs/{digest}")).await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(part["size"], bytes.len());
            assert_eq!(
                digest,
                format!("sha256:{}", hex::encode(Sha256::digest(&bytes)))
            );
        }
    }

    #[tokio::test]
    async fn what_is_not_there_and_what_would_write_is_refused() {
        let unknown = "/v2/vieux/sshfs/blobs/sha256:00";
        for (method, path, expected) in [
            (
                "GET",
                "/v2/vieux/other/manifests/latest",
                StatusCode::NOT_FOUND,
            ),
            (
                "GET",
                "/v2/vieux/sshfs/manifests/sha256:00",
                StatusCode::NOT_FOUND,
            ),
            ("GET", unknown, StatusCode::NOT_FOUND),
            ("GET", "/v2/vieux/sshfs/what/ever", StatusCode::NOT_FOUND),
            ("GET", "/v2/x", StatusCode::NOT_FOUND),
            ("GET", "/", StatusCode::NOT_FOUND),
            (
                "PUT",
                "/v2/vieux/sshfs/manifests/latest",
                StatusCode::METHOD_NOT_ALLOWED,
            ),
            (
                "POST",
                "/v2/vieux/sshfs/blobs/uploads/",
                StatusCode::METHOD_NOT_ALLOWED,
            ),
            ("DELETE", unknown, StatusCode::METHOD_NOT_ALLOWED),
            ("GET", "/v2/vieux/sshfs/tags/list", StatusCode::OK),
        ] {
            let (status, _, body) = ask(method, path).await;
            assert_eq!(status, expected, "{method} {path}");
            assert!(serde_json::from_slice::<Value>(&body).is_ok());
        }
    }
}
