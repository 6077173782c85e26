//! What the author of an authorization plugin says about its policy.

use serde::Deserialize;
use serde_json::{Value, json};

/// `[authz]`: samples of what the policy in force allows and denies, and what moves it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct AuthzProfile {
    /// The common name of the client's certificate in every request; none: clients of the Unix socket.
    pub user: Option<String>,
    /// Requests without a body that the policy allows, as `"GET /_ping"`.
    pub allowed: Vec<String>,
    /// The path, without a version, of a POST that is judged by its JSON body.
    pub path: String,
    /// A body that makes it denied: an object.
    pub harmful: Value,
    /// A body of the same fields that makes it allowed; `false`: none does.
    pub harmless: Value,
    /// A user to whom the harmful body is allowed.
    pub admin: Option<String>,
    /// The policy allows builds over `/session` and `/grpc`, of which it sees nothing.
    pub sessions: bool,
    /// Commands in containers can only be started if the plugin saw who made them.
    pub tracks_exec: bool,
    /// A command that takes the policy away.
    pub remove_policy: Option<String>,
    /// A command that puts another policy in force, which denies the harmless body too.
    pub other_policy: Option<String>,
    /// A command that brings the policy back.
    pub restore_policy: Option<String>,
    /// An image that the engine of the checks that need one has.
    pub image: String,
}

impl Default for AuthzProfile {
    fn default() -> Self {
        Self {
            user: None,
            allowed: ["GET /_ping", "HEAD /_ping", "GET /v1.41/_ping"]
                .map(str::to_owned)
                .to_vec(),
            path: "/containers/create".to_owned(),
            harmful: json!({"Image": "debian", "HostConfig": {"Privileged": true}}),
            harmless: json!({"Image": "debian", "HostConfig": {"Privileged": false}}),
            admin: None,
            sessions: false,
            tracks_exec: false,
            remove_policy: None,
            other_policy: None,
            restore_policy: None,
            image: "busybox:latest".to_owned(),
        }
    }
}
