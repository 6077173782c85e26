//! What the engine's handlers read besides the path.

use super::schema;
use super::shape::Shape;

/// What a route's handler takes from the body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Takes {
    /// Nothing; GET, HEAD and DELETE.
    Nothing,
    /// JSON, or nothing.
    Json(&'static Shape),
    /// The body of `containers/create`.
    Container,
    /// The host configuration that engines up to 23 take at a container's start for old API versions.
    Start,
    /// An archive, and from the query nothing that a form in its place would make dangerous: a handler that has read a form finds no archive.
    Archive,
    /// A build context or a root file system; a form in its place can name another source, and with that do all that the route can.
    Source,
    /// The connection itself, after an empty body.
    Connection,
    /// Credentials, which most engines hide.
    Credentials,
}

/// What the handler of `method` and `path` takes from the body. Names in paths can have slashes, as the engine's patterns allow.
pub(super) fn takes(method: &str, path: &[&str]) -> Takes {
    use Takes::{Archive, Connection, Container, Credentials, Json, Nothing, Source, Start};
    match (method, path) {
        ("POST", ["containers", "create"]) => Container,
        ("POST", ["containers", _, .., "start"]) => Start,
        ("POST", ["containers", _, .., "attach"]) | ("POST", ["session" | "grpc"]) => Connection,
        ("POST", ["containers", _, .., "exec"]) => Json(&schema::EXEC),
        ("POST", ["containers", _, .., "update"]) => Json(&schema::CONTAINER_UPDATE),
        ("POST", ["containers", _, .., "copy"]) => Json(&schema::COPY),
        ("POST", ["containers", _, .., "checkpoints"]) => Json(&schema::CHECKPOINT),
        ("PUT", ["containers", _, .., "archive"]) => Archive,
        ("POST", ["exec", _, .., "start"]) => Json(&schema::EXEC_START),
        ("POST", ["commit"]) => Json(&schema::CREATE),
        ("POST", ["volumes", "create"]) => Json(&schema::VOLUME_CREATE),
        ("PUT", ["volumes", _, ..]) => Json(&schema::VOLUME_UPDATE),
        ("POST", ["networks", "create"]) => Json(&schema::NETWORK_CREATE),
        ("POST", ["networks", _, .., "connect"]) => Json(&schema::NETWORK_CONNECT),
        ("POST", ["networks", _, .., "disconnect"]) => Json(&schema::NETWORK_DISCONNECT),
        ("POST", ["services", "create"] | ["services", _, "update"]) => Json(&schema::SERVICE),
        ("POST", ["secrets", "create"] | ["secrets", _, "update"]) => Json(&schema::SECRET),
        ("POST", ["configs", "create"] | ["configs", _, "update"]) => Json(&schema::SWARM_CONFIG),
        ("POST", ["nodes", _, "update"]) => Json(&schema::NODE),
        ("POST", ["swarm", "init"]) => Json(&schema::SWARM_INIT),
        ("POST", ["swarm", "join"]) => Json(&schema::SWARM_JOIN),
        ("POST", ["swarm", "update"]) => Json(&schema::SWARM_UPDATE),
        ("POST", ["swarm", "unlock"]) => Json(&schema::SWARM_UNLOCK),
        ("POST", ["plugins", "create"]) | ("POST", ["images", "load"]) => Archive,
        ("POST", ["plugins", "pull"] | ["plugins", _, .., "upgrade"]) => {
            Json(&schema::PLUGIN_PRIVILEGES)
        }
        ("POST", ["images", _, .., "push"]) => Json(&schema::CREDENTIALS),
        ("POST", ["auth"]) => Credentials,
        ("POST", ["build"] | ["images", "create"]) => Source,
        ("GET" | "HEAD" | "DELETE", _) => Nothing,
        _ => Json(&Shape::Free),
    }
}

/// The query keys that the handler takes as lists, with every value that they are sent with.
pub(super) fn list_keys(method: &str, path: &[&str]) -> &'static [&'static str] {
    match (method, path) {
        ("POST", ["build"]) => &["t", "extrahosts", "securityopt"],
        ("POST", ["commit"] | ["images", "create"]) => &["changes"],
        ("GET", ["images", "get"]) => &["names", "platform"],
        ("GET", ["images", _, .., "get"]) | ("POST", ["images", "load"]) => &["platform"],
        ("DELETE", ["images", _, ..]) => &["platforms"],
        _ => &[],
    }
}
