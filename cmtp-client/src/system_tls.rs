//! TLS for what is asked over HTTP by threads that block: witnesses, served logs, key sets.

use std::sync::Arc;

use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// A TLS configuration with the certificate authorities that the system trusts; `SSL_CERT_FILE` names others.
pub fn system_tls() -> TlsConfig {
    let roots = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build()
}
