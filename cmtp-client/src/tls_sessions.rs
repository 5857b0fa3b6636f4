//! What makes a client's next connection to a node quicker than its first, and is nobody else's:
//! `cmtp-spec/spec/21-identities.md`.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{TokenMemoryCache, TransportConfig};
use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue, WebPkiServerVerifier,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;

use crate::tls::{self, NodeVerifier, TlsError};

/// The TLS sessions and address tokens of one client, so of one persona.
///
/// Sessions are kept apart by [`Judges`] too: one that began where nobody asked authorities is never resumed where their word
/// is wanted.
pub(crate) struct TlsSessions {
    provider: Arc<CryptoProvider>,
    authorities: OnceLock<Option<Arc<WebPkiServerVerifier>>>,
    ways: Mutex<[Option<Arc<Way>>; 3]>,
    address_tokens: Arc<TokenMemoryCache>,
}

/// Who judges a node's certificate while TLS is under way. Closed: authorities are asked or not, and needed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judges {
    /// Nobody: the node's key list does later.
    Nobody,
    /// Authorities, whose no is left to the key list.
    Authorities,
    /// Authorities, whose yes is needed.
    AuthoritiesAlone,
}

/// How connections begin that the same [`Judges`] judge.
pub(crate) struct Way {
    pub(crate) verifier: Arc<NodeVerifier>,
    crypto: Arc<QuicClientConfig>,
    tickets: Arc<Tickets>,
    address_tokens: Arc<TokenMemoryCache>,
}

impl TlsSessions {
    pub(crate) fn new() -> Self {
        Self {
            provider: Arc::new(aws_lc_rs::default_provider()),
            authorities: OnceLock::new(),
            ways: Mutex::default(),
            // [IDY-7] A client MUST NOT show a ticket or an address token of one persona on a connection of another.
            address_tokens: Arc::new(TokenMemoryCache::new(NODES, TOKENS)),
        }
    }

    /// How to begin a connection.
    pub(crate) fn way(&self, judges: Judges) -> Result<Arc<Way>, TlsError> {
        let system = || tls::system_authorities(self.provider.clone());
        // To read them all takes time.
        let authorities = match judges {
            Judges::Nobody => None,
            _ => self.authorities.get_or_init(system).clone(),
        };
        let mut ways = self.ways();
        let slot = &mut ways[judges as usize];
        if let Some(way) = slot {
            return Ok(Arc::clone(way));
        }
        let required = judges == Judges::AuthoritiesAlone;
        let verifier = Arc::new(NodeVerifier::new(&self.provider, authorities, required));
        let tickets = Arc::new(Tickets::new());
        // [IDY-9] It MUST NOT resume a session that began under another way to judge certificates: each has its own tickets.
        let resumption = Resumption::store(Arc::clone(&tickets) as Arc<dyn ClientSessionStore>);
        let crypto = tls::quic_config(self.provider.clone(), verifier.clone(), resumption)?;
        let address_tokens = Arc::clone(&self.address_tokens);
        let way = Way { verifier, crypto: Arc::new(crypto), tickets, address_tokens };
        Ok(Arc::clone(slot.insert(Arc::new(way))))
    }

    /// Forgets the sessions of `way`, and says whether one of them may have been resumed.
    pub(crate) fn forget(&self, way: &Arc<Way>) -> bool {
        for slot in self.ways().iter_mut() {
            if slot.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, way)) {
                *slot = None;
            }
        }
        way.tickets.were_shown()
    }

    fn ways(&self) -> MutexGuard<'_, [Option<Arc<Way>>; 3]> {
        // A way is put in whole or not at all.
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TlsSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsSessions")
    }
}

impl Way {
    /// QUIC as this client speaks it.
    pub(crate) fn config(&self, transport: TransportConfig) -> quinn::ClientConfig {
        let mut config = quinn::ClientConfig::new(self.crypto.clone());
        config.token_store(self.address_tokens.clone());
        config.transport_config(Arc::new(transport));
        config
    }
}

/// TLS sessions, of which it is known whether any was ever shown.
#[derive(Debug)]
struct Tickets {
    kept: ClientSessionMemoryCache,
    shown: AtomicBool,
}

impl Tickets {
    fn new() -> Self {
        Self { kept: ClientSessionMemoryCache::new(SESSIONS), shown: AtomicBool::new(false) }
    }

    fn were_shown(&self) -> bool {
        self.shown.load(Ordering::Relaxed)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, node: ServerName<'static>, group: NamedGroup) {
        self.kept.set_kx_hint(node, group);
    }

    fn kx_hint(&self, node: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept.kx_hint(node)
    }

    // CMTP speaks TLS 1.3 alone.
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, node: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.kept.insert_tls13_ticket(node, ticket);
    }

    fn take_tls13_ticket(&self, node: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let taken = self.kept.take_tls13_ticket(node);
        self.shown.fetch_or(taken.is_some(), Ordering::Relaxed);
        taken
    }
}

/// Nodes, by the name called, of which a client keeps address tokens; the one longest unused goes first.
const NODES: u32 = 32;
/// Address tokens of a node: for two connections side by side.
const TOKENS: usize = 2;
/// Sessions of 32 nodes, 8 each, as the cache counts.
const SESSIONS: usize = 256;
