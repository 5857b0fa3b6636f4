//! What a connection does for its session by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cmtp_codec::Digest;
use cmtp_spec::Status;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Mutex;

use crate::clock;
use crate::connection::Connection;
use crate::ending::Ending;
use crate::session::{Again, Login, LoginError, Session, Sessions, SessionsError};

/// What a connection needs to open and renew its session.
#[derive(Debug)]
pub(crate) struct Opener {
    sessions: Arc<Sessions>,
    login: Option<Login>,
    /// Whether a token was given from outside, which nothing here replaces.
    has_token: bool,
    /// Microseconds since 1970; `u64::MAX` where there is nothing to renew.
    renew_at: AtomicU64,
    /// Held by whoever opens or renews, so that the others wait for it.
    turn: Mutex<()>,
}

impl Opener {
    pub(crate) fn new(sessions: &Arc<Sessions>, login: Option<Login>, has_token: bool) -> Self {
        let renew_at = AtomicU64::new(u64::MAX);
        Self { sessions: Arc::clone(sessions), login, has_token, renew_at, turn: Mutex::default() }
    }

    fn is_due(&self) -> bool {
        let renew_at = self.renew_at.load(Ordering::Relaxed);
        renew_at != u64::MAX && clock::now() >= renew_at
    }
}

impl Connection {
    /// Shows the session that this identity has at this node, if it has one, renewed where that is due.
    pub(crate) async fn take_up_session(&self) {
        let opener = self.opener();
        if opener.has_token {
            return;
        }
        let found = opener.sessions.find(&self.node());
        let found = found.inspect_err(|error| tracing::warn!(%error, "no session is shown"));
        let Ok(Some(session)) = found else { return };
        if !session.is_over() {
            self.take_up(&session);
            self.renew_in_time().await;
        }
    }

    /// Renews the session that is shown, once half of its token's time is over.
    pub(crate) async fn renew_in_time(&self) {
        let opener = self.opener();
        if !opener.is_due() {
            return;
        }
        let _turn = opener.turn.lock().await;
        if opener.is_due()
            && let Err(error) = self.renew_session(false).await
        {
            tracing::debug!(%error, "the session is not renewed");
            // The token may have some time left; who is asked in vain is not asked at each call.
            let later = clock::now().saturating_add(RENEW_AGAIN);
            opener.renew_at.store(later, Ordering::Relaxed);
        }
    }

    /// Whether there is another session now, opened or renewed because the node refused what was shown.
    ///
    /// Boxed: the handshake is made of calls, which come here, too.
    pub(crate) fn opens_for(&self, ending: &Ending, before: Digest) -> BoxFuture<'static, bool> {
        let is_refused = ending.status() == Status::TOKEN_INVALID;
        let connection = self.clone();
        async move { connection.opens_another(is_refused, before).await }.boxed()
    }

    async fn opens_another(&self, is_refused: bool, before: Digest) -> bool {
        let opener = self.opener();
        if opener.has_token {
            return false;
        }
        let _turn = opener.turn.lock().await;
        if self.shown().token() != before {
            // Another call of this connection opened one meanwhile.
            return true;
        }
        // A grant may outlast the token, or the clocks differ.
        let is_renewed = is_refused && matches!(self.renew_session(true).await, Ok(true));
        is_renewed || self.open_session().await
    }

    /// Whether there is another token now.
    async fn renew_session(&self, is_refused: bool) -> Result<bool, LoginError> {
        let opener = self.opener();
        let node = self.node();
        let session = opener.sessions.find(&node).ok().flatten();
        let Some(session) = session else { return Ok(false) };
        // Another process may have renewed it.
        let is_it = session.token.digest() == self.shown().token();
        if !session.is_due() && (!is_refused || !is_it) {
            self.take_up(&session);
            return Ok(true);
        }
        let renewed = self.renew(&session).await?;
        self.take_up(&renewed);
        warn_unless(opener.sessions.keep_renewed(&node, renewed));
        Ok(true)
    }

    /// [SES-19] Opens a session where the user allowed it.
    async fn open_session(&self) -> bool {
        let opener = self.opener();
        let node = self.node();
        let again = || opener.sessions.find(&node).ok().flatten()?.again;
        let login = match (&opener.login, again()) {
            (Some(login), _) => login.clone(),
            // For no more than what the user agreed to.
            (None, Some(Again { scope })) => {
                Login { scope, recovery: self.identity().recovery(), outside: Vec::new() }
            }
            (None, None) => return false,
        };
        let opened = match self.begin_login(&login).await {
            Ok(offered) => offered.consent().await,
            Err(error) => Err(error),
        };
        match opened {
            Ok(session) => {
                self.take_up(&session);
                let kept = opener.sessions.keep(&node, Session { again: again(), ..session });
                warn_unless(kept);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "no session could be opened");
                false
            }
        }
    }

    fn take_up(&self, session: &Session) {
        self.show(&session.token);
        self.opener().renew_at.store(session.renew_at, Ordering::Relaxed);
    }
}

fn warn_unless(kept: Result<(), SessionsError>) {
    if let Err(error) = kept {
        tracing::warn!(%error, "the session is not kept");
    }
}

/// Microseconds until a renewal is tried again that failed.
const RENEW_AGAIN: u64 = 10_000_000;
