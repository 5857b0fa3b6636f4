//! TLS as a client of CMTP wants it: `cmtp-spec/spec/09-quic.md`.

use std::sync::Arc;

use cmtp_codec::PublicKey;
use cmtp_spec::binding;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore,
    SignatureScheme,
};

use crate::trust::Certificate;

/// Takes a node's certificate at its own word, or at that of authorities.
///
/// That the key is the node's is decided later, by the key list ([`crate::Trust`]); that the peer holds the key is
/// checked here, or was where the session began that a connection resumes.
#[derive(Debug)]
pub(crate) struct NodeVerifier {
    authorities: Option<Arc<WebPkiServerVerifier>>,
    required: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl NodeVerifier {
    /// Asks `authorities` where there are any; their yes is needed where `required`.
    pub(crate) fn new(
        provider: &CryptoProvider,
        authorities: Option<Arc<WebPkiServerVerifier>>,
        required: bool,
    ) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self { authorities, required, algorithms }
    }

    /// What TLS showed of the node called `host`, once the handshake is over. On a resumed session it is what the first
    /// connection of the session showed, judged now.
    pub(crate) fn certificate(&self, chain: &[CertificateDer<'_>], host: &str) -> Certificate {
        let Some((end_entity, intermediates)) = chain.split_first() else {
            return Certificate { key: None, vouched: false };
        };
        let name = ServerName::try_from(host).ok();
        // [IDY-9] A client MUST judge the node anew, at the time of the new connection.
        let vouched = name.is_some_and(|name| {
            self.ask(end_entity, intermediates, &name, &[], UnixTime::now()).is_ok()
        });
        Certificate { key: ed25519_key(end_entity).ok().flatten(), vouched }
    }

    /// Whether authorities vouch for a certificate.
    fn ask(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        match &self.authorities {
            Some(authorities) => authorities
                .verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
                .map(|_valid| ()),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.ask(end_entity, intermediates, server_name, ocsp_response, now);
        let vouched = judged.is_ok();
        if self.required {
            judged?;
        }
        // [QUI-3] A node's certificate holds one of its TLS keys as an Ed25519 key, or is one that authorities vouch for.
        if !vouched && ed25519_key(end_entity)?.is_none() {
            return Err(CertificateError::UnknownIssuer.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The QUIC side of the TLS configuration of connections that `verifier` judges.
pub(crate) fn quic_config(
    provider: Arc<CryptoProvider>,
    verifier: Arc<NodeVerifier>,
    resumption: Resumption,
) -> Result<QuicClientConfig, TlsError> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // [QUI-1] Both sides MUST negotiate the ALPN `cmtp/0`.
    config.alpn_protocols = vec![binding::ALPN.as_bytes().to_vec()];
    // [QUI-2] 0-RTT data MUST NOT be sent.
    config.enable_early_data = false;
    config.resumption = resumption;
    Ok(QuicClientConfig::try_from(config)?)
}

/// The system's certificate authorities; `None` where it has none that can be read.
pub(crate) fn system_authorities(
    provider: Arc<CryptoProvider>,
) -> Option<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()
}

/// Why TLS can't be configured: our own fault, or the build's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The crypto library lacks TLS 1.3.
    #[error("TLS: {0}")]
    Tls(#[from] Error),
    /// The crypto library lacks what QUIC begins with.
    #[error("QUIC: {0}")]
    Quic(#[from] NoInitialCipherSuite),
}

/// The certificate's key; `None` where it is not an Ed25519 key.
fn ed25519_key(certificate: &CertificateDer<'_>) -> Result<Option<PublicKey>, Error> {
    let info = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    let key = info.strip_prefix(ED25519_KEY_INFO).and_then(|key| key.try_into().ok());
    Ok(key.map(PublicKey))
}

/// DER of a SubjectPublicKeyInfo for Ed25519, up to the 32 bytes of the key: RFC 8410 section 4.
const ED25519_KEY_INFO: &[u8] =
    &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
