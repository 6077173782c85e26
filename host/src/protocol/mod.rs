//! Docker's plugin protocol: requests into typed calls of a driver, and what comes of them into answers.

pub mod address;
pub mod answer;
pub mod authz;
pub mod describe;
pub mod ipam;
pub mod lifecycle;
pub mod method;
pub mod network;
pub mod volume;
pub mod wire;

use crate::sandbox::bindings::types;

pub use answer::{
    Answer, Decision, encode, encode_error, encode_plain_error, error_text, one_line, status_of,
};
pub use authz::canonical::Trust;
pub use describe::Description;
pub use method::{Handshake, Kind, Method};
pub use wire::KeyValue;

/// A call of a driver, ready to be made; it can be made again.
#[derive(Debug, Clone)]
pub enum Call {
    /// Of a volume driver.
    Volume(volume::Call),
    /// Of a network driver.
    Network(network::Call),
    /// Of an IPAM driver.
    Ipam(ipam::Call),
    /// Of an authorization driver.
    Authz(authz::Call),
    /// In the driver's own life; never asked for by Docker.
    Lifecycle(lifecycle::Call),
}

impl Call {
    /// The method that it came by; none in the driver's own life.
    pub fn method(&self) -> Option<Method> {
        match self {
            Call::Volume(call) => Some(call.method()),
            Call::Network(call) => Some(call.method()),
            Call::Ipam(call) => Some(call.method()),
            Call::Authz(call) => Some(call.method()),
            Call::Lifecycle(_) => None,
        }
    }

    /// The kind of driver that it is for; none in the driver's own life.
    pub fn kind(&self) -> Option<Kind> {
        self.method().map(Method::kind)
    }

    /// Interface and function, for logs.
    pub fn function(&self) -> &'static str {
        match self {
            Call::Volume(call) => call.method().function(),
            Call::Network(call) => call.method().function(),
            Call::Ipam(call) => call.method().function(),
            Call::Authz(call) => call.method().function(),
            Call::Lifecycle(call) => call.function(),
        }
    }

    /// Whether it may change something.
    pub fn is_mutation(&self) -> bool {
        self.method().is_none_or(Method::is_mutation)
    }

    /// What it is about, for logs: a volume's name, a network's ID, a pool's ID, an API request without its query.
    pub fn about(&self) -> Option<String> {
        match self {
            Call::Volume(call) => call.name().map(str::to_owned),
            Call::Network(call) => call.network_id().map(str::to_owned),
            Call::Ipam(call) => call.pool_id().map(str::to_owned),
            Call::Authz(call) => {
                let request = call.request();
                Some(format!("{} /{}", request.method, request.path.join("/")))
            }
            Call::Lifecycle(_) => None,
        }
    }

    /// The options that a user gave with it, to be checked against what the driver declares and completed with defaults.
    pub fn options_mut(&mut self) -> Option<(describe::Subject, &mut Vec<KeyValue>)> {
        use describe::Subject;
        match self {
            Call::Volume(volume::Call::Create { options, .. }) => Some((Subject::Volume, options)),
            Call::Network(
                network::Call::CreateNetwork { options, .. }
                | network::Call::GwAllocCheck { options },
            ) => Some((Subject::Network, &mut options.generic)),
            Call::Network(network::Call::AllocateNetwork { options, .. }) => {
                Some((Subject::Network, options))
            }
            Call::Ipam(ipam::Call::RequestPool(request)) => {
                Some((Subject::Ipam, &mut request.options))
            }
            _ => None,
        }
    }
}

/// What a request turns out to be.
#[derive(Debug, Clone)]
pub enum Decoded {
    /// The driver has to be asked.
    Call(Call),
    /// The answer is a constant of the driver's [`Description`].
    Constant,
    /// The host has the answer, and the driver is not asked.
    Answered(Answer),
    /// The host has the answer, and it is no: as if the driver had said so.
    Refused(types::Error),
}

/// A request that makes no sense. Nothing is done.
///
/// For `VolumeDriver.Get` neither may be answered, because an engine takes an error for the loss of the volume: close the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// The body is empty although the method has arguments.
    #[error(
        "bad request {0}: the body is empty, as in the second attempt of an engine whose connection broke; run the command again"
    )]
    EmptyBody(Method),
    /// The body is not what the method takes.
    #[error("bad request {method}: {reason}")]
    Malformed {
        /// The method.
        method: Method,
        /// What is wrong with it: one sentence.
        reason: String,
    },
}

/// Reads the body of a request.
///
/// # Errors
/// [`BadRequest`] if the body is not JSON or lacks what the method needs.
pub fn decode(method: Method, body: &[u8]) -> Result<Decoded, BadRequest> {
    decode_trusting(method, body, Trust::default())
}

/// As [`decode`], with what the operator vouches for in requests that are to be authorized.
///
/// # Errors
/// See [`decode`].
pub fn decode_trusting(method: Method, body: &[u8], trust: Trust) -> Result<Decoded, BadRequest> {
    let malformed = |reason| BadRequest::Malformed { method, reason };
    let body = body.trim_ascii();
    if body.is_empty() && method.needs_body() {
        return Err(BadRequest::EmptyBody(method));
    }
    let object = wire::parse(if body.is_empty() { b"{}" } else { body }).map_err(malformed)?;
    let decoded = match method.kind() {
        Kind::Volume => volume::decode(method, &object),
        Kind::Network => network::decode(method, &object),
        Kind::Ipam => ipam::decode(method, &object),
        Kind::Authz => authz::decode(method, &object, trust).map(Some),
    };
    Ok(decoded.map_err(malformed)?.unwrap_or(Decoded::Constant))
}

#[cfg(test)]
mod tests;
