//! The certificate that servers show, and the key that signs tokens: files of one directory.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use serde::{Deserialize, Serialize};

/// The name in the certificate.
pub(crate) const HOST: &str = "localhost";

/// A directory of keys.
pub(crate) struct Keys {
    folder: PathBuf,
}

/// What a token says.
#[derive(Deserialize, Serialize)]
pub(crate) struct Claims {
    iss: String,
    sub: String,
    aud: String,
    iat: u64,
    exp: u64,
    scope: String,
}

impl Keys {
    /// Makes keys in an empty directory.
    pub(crate) fn make(folder: PathBuf) -> anyhow::Result<Self> {
        let certified = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
        fs::write(folder.join(CERTIFICATE), certified.cert.pem())?;
        fs::write(folder.join(KEY), certified.signing_key.serialize_pem())?;
        let token = KeyPair::generate_for(&PKCS_ED25519)?;
        fs::write(folder.join(TOKEN_KEY), token.serialize_der())?;
        fs::write(folder.join(TOKEN_PUBLIC), token.der_bytes())?;
        Self::load(folder)
    }

    pub(crate) fn load(folder: PathBuf) -> anyhow::Result<Self> {
        anyhow::ensure!(folder.is_dir(), "{} is no directory", folder.display());
        Ok(Self { folder })
    }

    pub(crate) fn folder(&self) -> &PathBuf {
        &self.folder
    }

    /// The certificate and its key, for libraries that read PEM by themselves.
    pub(crate) fn pem(&self) -> anyhow::Result<(String, String)> {
        let read = |name| fs::read_to_string(self.folder.join(name));
        Ok((read(CERTIFICATE)?, read(KEY)?))
    }

    /// TLS 1.3 for a server.
    pub(crate) fn server(&self, alpn: &[u8]) -> anyhow::Result<rustls::ServerConfig> {
        let key = PrivateKeyDer::from_pem_file(self.folder.join(KEY))?;
        let mut config = rustls::ServerConfig::builder_with_protocol_versions(&[&TLS13])
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate()?], key)?;
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(config)
    }

    /// TLS 1.3 for a client that trusts this certificate only.
    pub(crate) fn client(&self, alpn: &[u8]) -> anyhow::Result<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate()?)?;
        let mut config = rustls::ClientConfig::builder_with_protocol_versions(&[&TLS13])
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(config)
    }

    fn certificate(&self) -> anyhow::Result<CertificateDer<'static>> {
        Ok(CertificateDer::from_pem_file(self.folder.join(CERTIFICATE))?)
    }

    /// A token, good for an hour.
    pub(crate) fn token(&self) -> anyhow::Result<String> {
        let iat = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")?.as_secs();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK".to_owned(),
            aud: AUDIENCE.to_owned(),
            iat,
            exp: iat + 3600,
            scope: "echo".to_owned(),
        };
        let key = EncodingKey::from_ed_der(&fs::read(self.folder.join(TOKEN_KEY))?);
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key)?)
    }

    /// What checks tokens.
    pub(crate) fn verifier(&self) -> anyhow::Result<Verifier> {
        let key = DecodingKey::from_ed_der(&fs::read(self.folder.join(TOKEN_PUBLIC))?);
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        Ok(Verifier { key, validation })
    }
}

/// Checks a token's signature, issuer, audience and time.
pub(crate) struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

impl Verifier {
    /// Whether the token grants an echo.
    pub(crate) fn grants(&self, token: &str) -> bool {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation);
        claims.is_ok_and(|token| token.claims.scope == "echo")
    }
}

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
const TOKEN_KEY: &str = "token.der";
const TOKEN_PUBLIC: &str = "token.public";
const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://gateway.example";
