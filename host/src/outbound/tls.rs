//! TLS as a client.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::error::{HttpError, HttpErrorKind};
use super::grant::Allowed;
use super::secrets::Secrets;

/// The authorities that the machine trusts, read once: a change of them needs a restart.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "cannot read an authority for https");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            tracing::warn!(
                "this machine trusts no authorities for https: install the package ca-certificates and restart dockside"
            );
        }
        roots
    })
}

pub(super) fn config(
    allowed: &Allowed,
    secrets: &dyn Secrets,
) -> Result<Arc<ClientConfig>, HttpError> {
    let mut roots = RootCertStore::empty();
    match &allowed.ca {
        None => roots = system_roots().clone(),
        Some(file) => {
            for certificate in certificates("ca", file)? {
                roots.add(certificate).map_err(|error| {
                    wrong("ca", file, &format!("has a bad certificate: {error}"))
                })?;
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            HttpError::new(
                HttpErrorKind::Configuration,
                format!("TLS cannot be set up: {error}"),
            )
        })?
        .with_root_certificates(roots);
    let mut config = match (&allowed.client_certificate, &allowed.client_key) {
        (Some(file), Some(name)) => {
            let chain = certificates("client-certificate", file)?;
            config
                .with_client_auth_cert(chain, key(name, secrets)?)
                .map_err(|error| {
                    wrong(
                        "client-certificate",
                        file,
                        &format!("does not go with the key in the secret {name}: {error}"),
                    )
                })?
        }
        (None, None) => config.with_no_client_auth(),
        _ => {
            return Err(HttpError::new(
                HttpErrorKind::Configuration,
                "grants.http.client-certificate and grants.http.client-key go together",
            ));
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(what: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(what, file, &format!("cannot be read: {error}")))?;
    if found.is_empty() {
        return Err(wrong(what, file, "has no certificate in PEM"));
    }
    Ok(found)
}

fn key(name: &str, secrets: &dyn Secrets) -> Result<PrivateKeyDer<'static>, HttpError> {
    let wrong = |reason: &str| {
        HttpError::new(
            HttpErrorKind::Configuration,
            format!("grants.http.client-key: {reason}"),
        )
    };
    let pem = secrets.secret(name).map_err(|reason| wrong(&reason))?;
    // The error could quote the key.
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| wrong(&format!("the secret {name} is no private key in PEM")))
}

fn wrong(what: &str, file: &Path, reason: &str) -> HttpError {
    HttpError::new(
        HttpErrorKind::Configuration,
        format!("grants.http.{what}: {} {reason}", file.display()),
    )
}
