//! TLS of a listener: what the files say, read again when they change.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use zeroize::Zeroizing;

use crate::config::{self, Key, ServerTls};

/// The settings of new connections.
pub struct Tls {
    config: ArcSwap<ServerConfig>,
    /// What `config` was made from.
    read: Mutex<Option<[u8; 32]>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// Why there is no TLS: which file is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("endpoint.tls{key}: {reason}")]
pub struct TlsError {
    key: &'static str,
    reason: String,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one of them is missing, or is not what it should be.
    pub fn load(plugin: &config::Plugin, tls: &ServerTls) -> Result<Tls, TlsError> {
        let files = Files::read(plugin, tls)?;
        Ok(Tls {
            config: ArcSwap::new(files.config(tls)?),
            read: Mutex::new(Some(files.digest())),
        })
    }

    /// Reads the files again. Connections from now on are held to what they say; if something is wrong with them, to what they said before.
    ///
    /// # Errors
    /// As [`load`](Tls::load).
    pub fn reload(&self, plugin: &config::Plugin, tls: &ServerTls) -> Result<bool, TlsError> {
        let files = Files::read(plugin, tls)?;
        let digest = files.digest();
        let mut read = self.read.lock();
        if *read == Some(digest) {
            return Ok(false);
        }
        self.config.store(files.config(tls)?);
        *read = Some(digest);
        Ok(true)
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }
}

/// The files, unread as yet by anybody who knows PEM.
struct Files {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl Files {
    fn read(plugin: &config::Plugin, tls: &ServerTls) -> Result<Files, TlsError> {
        let key = match &tls.key {
            Key::Source(source) => source.resolve(),
            // Whether there is one was checked when the settings were read.
            Key::Secret(name) => match plugin.secrets.get(name) {
                Some(source) => source.resolve(),
                None => return Err(wrong(".key", format!("there is no secret {name}"))),
            },
        };
        Ok(Files {
            certificate: read(".certificate", &tls.certificate)?,
            key: key.map_err(|error| wrong(".key", error.to_string()))?,
            client_ca: match &tls.client_ca {
                Some(file) => Some(read(".client-ca", file)?),
                None => None,
            },
        })
    }

    fn digest(&self) -> [u8; 32] {
        let none = Vec::new();
        let parts: [&[u8]; 3] = [
            &self.certificate,
            &self.key,
            self.client_ca.as_ref().unwrap_or(&none),
        ];
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    fn config(&self, tls: &ServerTls) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("", format!("TLS cannot be set up: {error}")))?;
        let config = match (&self.client_ca, &tls.client_ca) {
            (Some(pem), Some(file)) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(".client-ca", file, pem)? {
                    roots.add(certificate).map_err(|error| {
                        wrong(
                            ".client-ca",
                            format!("{} has a bad certificate: {error}", file.display()),
                        )
                    })?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|error| {
                            wrong(".client-ca", format!("{}: {error}", file.display()))
                        })?;
                config.with_client_cert_verifier(verifier)
            }
            _ => config.with_no_client_auth(),
        };
        let chain = certificates(".certificate", &tls.certificate, &self.certificate)?;
        // The error could quote the key.
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| wrong(".key", "it is no private key in PEM".to_owned()))?;
        let mut config = config.with_single_cert(chain, key).map_err(|error| {
            wrong(
                ".certificate",
                format!(
                    "{} does not go with the key of endpoint.tls.key: {error}",
                    tls.certificate.display()
                ),
            )
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn read(key: &'static str, file: &Path) -> Result<Vec<u8>, TlsError> {
    let failed =
        |error: std::io::Error| wrong(key, format!("{} cannot be read: {error}", file.display()));
    // A fifo in place of the file would hold the daemon up.
    if !std::fs::metadata(file).map_err(failed)?.is_file() {
        return Err(wrong(key, format!("{} is no regular file", file.display())));
    }
    std::fs::read(file).map_err(failed)
}

fn certificates(
    key: &'static str,
    file: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(key, format!("{} is no PEM: {error}", file.display())))?;
    if found.is_empty() {
        return Err(wrong(
            key,
            format!("{} has no certificate in PEM", file.display()),
        ));
    }
    Ok(found)
}

fn wrong(key: &'static str, reason: String) -> TlsError {
    TlsError { key, reason }
}
