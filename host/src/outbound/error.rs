//! Why a request got no response.

use std::error::Error;
use std::fmt;
use std::io;

use tokio_rustls::rustls;

/// The class of a failure, one for each error code of `wasi:http` that can happen here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpErrorKind {
    /// The grant does not allow it.
    Denied,
    /// The name leads to an address that the grant does not allow.
    AddressProhibited,
    /// The URI is not one that can be judged.
    UriInvalid,
    /// The URI is longer than [`super::MAX_URI`].
    UriTooLong,
    /// The method cannot be used.
    MethodInvalid,
    /// The headers of the request cannot be sent, or are too many or too large.
    RequestHeaders,
    /// The body of the request is too large, or not as long as it said.
    RequestBody(Option<u64>),
    /// The name has no address.
    Dns,
    /// The name server did not answer in time.
    DnsTimeout,
    /// Nothing listens there.
    ConnectionRefused,
    /// There is no way to the address.
    Unreachable,
    /// The connection or its TLS handshake took too long.
    ConnectionTimeout,
    /// The other side closed the connection.
    ConnectionTerminated,
    /// No connection became free in time.
    ConnectionLimit,
    /// The other side has no certificate that is good for its name.
    TlsCertificate,
    /// The other side ended TLS: number and name of the alert.
    TlsAlert(u8, String),
    /// The other side does not speak TLS as it should.
    TlsProtocol,
    /// The response did not begin in time.
    ReadTimeout,
    /// The whole took longer than it may.
    Timeout,
    /// The headers of the response are too many or too large.
    ResponseHeaders,
    /// The body of the response is larger than this.
    ResponseBody(Option<u64>),
    /// The response ended before its end.
    ResponseIncomplete,
    /// The other side wants to speak another protocol.
    Upgrade,
    /// The response is not HTTP.
    Protocol,
    /// Too many redirects.
    Loop,
    /// What the operator configured cannot be used.
    Configuration,
}

/// A request that got no response, or not all of it. The text is for the plugin's log: one sentence, with what to do about it, without
/// secrets, headers and query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpError {
    /// The class.
    pub kind: HttpErrorKind,
    /// The sentence.
    pub message: String,
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for HttpError {}

impl HttpError {
    pub(super) fn new(kind: HttpErrorKind, message: impl Into<String>) -> HttpError {
        HttpError {
            kind,
            message: message.into(),
        }
    }

    /// Names what was asked for, unless the text does already.
    pub(super) fn of(mut self, asked: &str) -> HttpError {
        if !self.message.starts_with(asked) {
            self.message = format!("{asked}: {}", self.message);
        }
        self
    }

    /// What a connection that could not be made says.
    pub(super) fn connect(error: &io::Error) -> HttpError {
        use io::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::ConnectionRefused => HttpErrorKind::ConnectionRefused,
            ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::AddrNotAvailable => HttpErrorKind::Unreachable,
            ErrorKind::TimedOut => HttpErrorKind::ConnectionTimeout,
            _ => HttpErrorKind::ConnectionTerminated,
        };
        HttpError::new(kind, format!("cannot connect: {error}"))
    }

    /// What TLS says, or the connection below it.
    pub(super) fn tls(error: &io::Error) -> HttpError {
        match inner_tls(error) {
            Some(error) => HttpError::rustls(error),
            None if error.kind() == io::ErrorKind::UnexpectedEof => HttpError::new(
                HttpErrorKind::ConnectionTerminated,
                "the other side closed the connection during the TLS handshake",
            ),
            None => HttpError::connect(error),
        }
    }

    fn rustls(error: &rustls::Error) -> HttpError {
        match error {
            rustls::Error::InvalidCertificate(reason) => {
                let advice = match reason {
                    rustls::CertificateError::UnknownIssuer => {
                        ": no authority known to this machine signed it; for an authority of your own set ca = \"FILE.pem\" under [grants.http]"
                    }
                    _ => "",
                };
                HttpError::new(
                    HttpErrorKind::TlsCertificate,
                    format!("the certificate cannot be trusted: {reason}{advice}"),
                )
            }
            rustls::Error::AlertReceived(alert) => {
                let name = format!("{alert:?}");
                let advice = match alert {
                    rustls::AlertDescription::CertificateRequired => {
                        ": set client-certificate and client-key under [grants.http]"
                    }
                    _ => "",
                };
                HttpError::new(
                    HttpErrorKind::TlsAlert(u8::from(*alert), name.clone()),
                    format!("the other side ended TLS with the alert {name}{advice}"),
                )
            }
            other => HttpError::new(
                HttpErrorKind::TlsProtocol,
                format!("TLS failed: {other}; is this an https port?"),
            ),
        }
    }

    /// What hyper says, from the first error in its chain that says more than it does.
    pub(super) fn hyper(error: &hyper::Error) -> HttpError {
        let mut source = error.source();
        while let Some(inner) = source {
            if let Some(ours) = inner.downcast_ref::<HttpError>() {
                return ours.clone();
            }
            if let Some(io) = inner.downcast_ref::<io::Error>() {
                return match inner_tls(io) {
                    Some(error) => HttpError::rustls(error),
                    None => HttpError::new(
                        HttpErrorKind::ConnectionTerminated,
                        format!("the connection broke: {io}"),
                    ),
                };
            }
            source = inner.source();
        }
        if error.is_parse_too_large() {
            HttpError::new(
                HttpErrorKind::ResponseHeaders,
                "the headers of the response are too many or too large",
            )
        } else if error.is_parse() {
            HttpError::new(
                HttpErrorKind::Protocol,
                format!("the response is not HTTP/1: {error}"),
            )
        } else if error.is_incomplete_message() {
            HttpError::new(
                HttpErrorKind::ConnectionTerminated,
                "the other side closed the connection before the end of its response",
            )
        } else if error.is_user() || error.is_body_write_aborted() {
            HttpError::new(
                HttpErrorKind::RequestBody(None),
                format!("the body of the request ended early: {error}"),
            )
        } else {
            HttpError::new(
                HttpErrorKind::ConnectionTerminated,
                format!("the connection broke: {error}"),
            )
        }
    }
}

fn inner_tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}
