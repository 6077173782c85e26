//! TLS with an authority of the operator's own.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::doubles::{Names, Server, failure, get, grant, keeper};
use crate::outbound::{Client, HttpError, HttpErrorKind};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Two authorities of one name would be told apart by their signatures alone.
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for a name or an address, and its key.
    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn acceptor(&self, name: &str, clients: Option<&Authority>) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.certificate.clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                config.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let (certificate, key) = self.sign(name);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = config
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

struct World {
    directory: TempDir,
    authority: Authority,
}

impl World {
    fn new() -> World {
        World {
            directory: tempfile::tempdir().unwrap(),
            authority: Authority::new("ours"),
        }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn client(
        &self,
        port: u16,
        ca: Option<&str>,
        key: Option<(&rcgen::Certificate, String)>,
    ) -> Result<Client, HttpError> {
        let mut allowed = grant(&format!(
            "allow = [\"* https://open.test:{port}\", \"* https://other.test:{port}\", \"* https://127.0.0.1:{port}\", \"* http://open.test\"]\nprivate = [\"127.0.0.1/32\"]"
        ));
        allowed.ca = ca.map(|pem| self.file("ca.pem", pem));
        let mut secret = String::new();
        if let Some((certificate, key)) = key {
            allowed.client_certificate = Some(self.file("client.pem", &certificate.pem()));
            allowed.client_key = Some("key".to_owned());
            secret = key;
        }
        let names = Names::new(&[
            ("open.test", &[&["127.0.0.1"]]),
            ("other.test", &[&["127.0.0.1"]]),
        ]);
        Client::new(allowed, keeper(&[("key", &secret)]), names)
    }
}

#[tokio::test]
async fn a_server_is_known_by_its_name_and_its_authority() {
    let world = World::new();
    let acceptor = world.authority.acceptor("open.test", None);
    let server = Server::start_tls("127.0.0.1:0", acceptor).await;
    let port = server.port();
    let (open, other) = (
        format!("https://open.test:{port}/"),
        format!("https://other.test:{port}/"),
    );
    let trusting = world
        .client(port, Some(&world.authority.pem), None)
        .unwrap();
    for _ in 0..10 {
        get(&trusting, &open).await.unwrap();
    }
    assert_eq!(server.connections(), 1, "the connection was not used again");
    assert_eq!(
        server.seen()[0].header("host"),
        Some(format!("open.test:{port}").as_str())
    );
    // The same server under a name, or an address, that is not in its certificate.
    assert_eq!(
        failure(&trusting, &other).await,
        HttpErrorKind::TlsCertificate
    );
    let address = format!("https://127.0.0.1:{port}/");
    assert_eq!(
        failure(&trusting, &address).await,
        HttpErrorKind::TlsCertificate
    );
    for ca in [None, Some(Authority::new("stranger").pem)] {
        let doubting = world.client(port, ca.as_deref(), None).unwrap();
        let error = get(&doubting, &open).await.unwrap_err();
        assert_eq!(error.kind, HttpErrorKind::TlsCertificate);
        assert!(error.message.contains("set ca ="), "{error}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn an_address_can_have_a_certificate() {
    let world = World::new();
    let acceptor = world.authority.acceptor("127.0.0.1", None);
    let server = Server::start_tls("127.0.0.1:0", acceptor).await;
    let client = world
        .client(server.port(), Some(&world.authority.pem), None)
        .unwrap();
    let uri = format!("https://127.0.0.1:{}/", server.port());
    assert!(get(&client, &uri).await.is_ok());
}

#[tokio::test]
async fn a_client_shows_its_certificate_to_whoever_asks() {
    let world = World::new();
    let acceptor = world
        .authority
        .acceptor("open.test", Some(&world.authority));
    let server = Server::start_tls("127.0.0.1:0", acceptor).await;
    let port = server.port();
    let uri = format!("https://open.test:{port}/");
    let ca = Some(world.authority.pem.as_str());
    let (certificate, key) = world.authority.sign("client");
    let with = world
        .client(port, ca, Some((&certificate, key.serialize_pem())))
        .unwrap();
    get(&with, &uri).await.unwrap();
    let without = world.client(port, ca, None).unwrap();
    let error = get(&without, &uri).await.unwrap_err();
    assert!(
        matches!(error.kind, HttpErrorKind::TlsAlert(116, _)),
        "{error:?}"
    );
    assert!(error.message.contains("client-certificate"), "{error}");
    let (certificate, key) = Authority::new("stranger").sign("client");
    let stranger = world
        .client(port, ca, Some((&certificate, key.serialize_pem())))
        .unwrap();
    let kind = failure(&stranger, &uri).await;
    assert!(matches!(kind, HttpErrorKind::TlsAlert(..)), "{kind:?}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn no_redirect_leads_out_of_tls() {
    let world = World::new();
    let acceptor = world.authority.acceptor("open.test", None);
    let server = Server::start_tls("127.0.0.1:0", acceptor).await;
    let port = server.port();
    let client = world
        .client(port, Some(&world.authority.pem), None)
        .unwrap();
    // The rules allow what it leads to.
    let uri = format!("https://open.test:{port}/302?http://open.test/");
    let error = get(&client, &uri).await.unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::Denied);
    assert!(error.message.contains("from https to http"), "{error}");
    let uri = format!("https://open.test:{port}/302?/x");
    assert!(get(&client, &uri).await.is_ok());
}

#[tokio::test]
async fn a_plain_server_on_an_https_port_is_an_error_of_tls() {
    let world = World::new();
    let server = Server::start("127.0.0.1:0").await;
    let client = world.client(server.port(), None, None).unwrap();
    let uri = format!("https://open.test:{}/", server.port());
    assert_eq!(failure(&client, &uri).await, HttpErrorKind::TlsProtocol);
    assert!(server.seen().is_empty());
}

#[test]
fn files_that_cannot_be_used_are_named_and_keys_are_not_quoted() {
    let world = World::new();
    let (certificate, key) = world.authority.sign("client");
    let (_, other_key) = world.authority.sign("client");
    let pem = key.serialize_pem();
    let broken = pem.replace("PRIVATE", "PRIVVATE");
    let configuration = |result: Result<Client, HttpError>, expected: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.kind, HttpErrorKind::Configuration);
        assert!(error.message.contains(expected), "{error}");
        for line in pem.lines().filter(|line| line.len() > 20) {
            assert!(!error.message.contains(line), "{error}");
        }
    };
    configuration(
        world.client(443, Some("nothing"), None),
        "ca.pem has no certificate",
    );
    configuration(
        world.client(
            443,
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            None,
        ),
        "ca.pem has a bad certificate",
    );
    configuration(
        world.client(443, None, Some((&certificate, broken))),
        "the secret key is no private key in PEM",
    );
    configuration(
        world.client(443, None, Some((&certificate, other_key.serialize_pem()))),
        "client.pem does not go with the key in the secret key",
    );
    let mut allowed = grant("allow = [\"GET https://x.test\"]");
    allowed.ca = Some("/nowhere/ca.pem".into());
    let names = Names::new(&[]);
    configuration(
        Client::new(allowed.clone(), keeper(&[]), Arc::clone(&names) as _),
        "/nowhere/ca.pem cannot be read",
    );
    allowed.ca = None;
    allowed.client_key = Some("key".to_owned());
    configuration(
        Client::new(allowed, keeper(&[]), names),
        "client-certificate",
    );
}
