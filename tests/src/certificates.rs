//! Certificates for tests, as files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

/// Somebody who signs.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key, which only its owner can read.
    pub key: PathBuf,
}

impl Authority {
    /// A new one. The name is for people.
    ///
    /// # Errors
    /// The certificate cannot be made.
    pub fn new(name: &str) -> Result<Authority> {
        let mut params = CertificateParams::new(Vec::new())?;
        // Two authorities of one name would be told apart by their signatures alone.
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Authority {
            pem,
            issuer: Issuer::new(params, key),
        })
    }

    /// Writes its certificate into a file.
    ///
    /// # Errors
    /// The file system says no.
    pub fn write(&self, file: &Path) -> Result<()> {
        let partial = file.with_extension("new");
        fs::write(&partial, &self.pem)?;
        Ok(fs::rename(partial, file)?)
    }

    /// Writes a certificate for names and addresses into `DIRECTORY/STEM.pem` and its key into `DIRECTORY/STEM.key`.
    ///
    /// # Errors
    /// The certificate cannot be made, or the file system says no.
    pub fn issue(&self, directory: &Path, stem: &str, names: &[&str]) -> Result<Pair> {
        let mut params = CertificateParams::new(
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>(),
        )?;
        params.distinguished_name.push(DnType::CommonName, stem);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate()?;
        let pem = params.signed_by(&key, &self.issuer)?.pem();
        let pair = Pair {
            certificate: directory.join(format!("{stem}.pem")),
            key: directory.join(format!("{stem}.key")),
        };
        for (file, text) in [(&pair.key, key.serialize_pem()), (&pair.certificate, pem)] {
            let partial = file.with_extension("new");
            fs::write(&partial, text)?;
            fs::set_permissions(&partial, fs::Permissions::from_mode(0o600))?;
            fs::rename(partial, file)?;
        }
        Ok(pair)
    }
}
