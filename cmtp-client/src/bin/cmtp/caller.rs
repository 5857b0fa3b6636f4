//! Who calls, what is shown, and which node is meant: what every command that calls a node has.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use clap::Args;
use cmtp_client::session::{Login, Sessions};
use cmtp_client::{Client, ClientConfig, Home, Identity, Keyring, KnownLogs, Token};
use cmtp_codec::PublicKey;
use cmtp_spec::limits;

use crate::exit::{Failure, Outcome};
use crate::{passphrase, terminal};

/// Which persona.
#[derive(Args)]
pub(crate) struct PersonaArgs {
    /// Which of your personas to be; without it the default (cmtp id list).
    #[arg(long = "as", value_name = "NAME", env = "CMTP_PERSONA")]
    persona: Option<String>,
}

impl PersonaArgs {
    /// The persona that is kept; `None` where nothing is kept and none was named.
    pub(crate) fn kept(&self, home: &Home) -> anyhow::Result<Option<Identity>> {
        // `CMTP_PERSONA= cmtp call …` is how a shell calls as the default.
        let name = self.persona.as_deref().filter(|name| !name.is_empty());
        match Keyring::load(home, passphrase::of_file)? {
            Some(keyring) => Ok(Some(keyring.identity(name)?)),
            None if name.is_some() => bail!("no identity yet; make one: cmtp id new"),
            None => Ok(None),
        }
    }
}

/// Who calls whom.
#[derive(Args)]
pub(crate) struct CallerArgs {
    #[command(flatten)]
    persona: PersonaArgs,
    /// The token that `cmtpd grant` printed, or @file to read it from; an empty one is none.
    #[arg(long, env = "CMTP_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The DID that the node must have: did:key:z6Mk…
    #[arg(long, value_name = "DID")]
    pub(crate) pin: Option<PublicKey>,
    /// Open a session where the node asks for one, without being asked, and call again.
    #[arg(long)]
    login: bool,
}

impl CallerArgs {
    /// The identity that is kept, and the token; without an identity one that is made for this time.
    pub(crate) fn caller(&self) -> anyhow::Result<Caller> {
        let home = Home::from_env().ok();
        let kept = home.as_ref().map(|home| self.persona.kept(home)).transpose()?.flatten();
        // `CMTP_TOKEN= cmtp call …` is how a shell calls without the token that it exported.
        let token = self.token.as_deref().filter(|token| !token.is_empty());
        let token = token.map(read_token).transpose()?;
        match kept {
            Some(identity) => {
                let identity = Arc::new(identity);
                let logs = |home| Arc::new(KnownLogs::in_home(home, Arc::clone(&identity)));
                let sessions = |home| Arc::new(Sessions::in_home(home, Arc::clone(&identity)));
                let recovery = identity.recovery();
                Ok(Caller {
                    logs: home.as_ref().map(logs).unwrap_or_default(),
                    sessions: home.as_ref().map(sessions).unwrap_or_default(),
                    login: self.login.then(|| Login { recovery, ..Login::default() }),
                    home,
                    identity,
                    token,
                    is_kept: true,
                })
            }
            None => {
                let identity = Arc::new(Identity::ephemeral()?);
                if token.is_some() {
                    eprintln!(
                        "cmtp: no identity, so the token can't be used; make one: cmtp id new"
                    );
                }
                // Nobody could take up its session again.
                let (logs, sessions) = Default::default();
                let login = self.login.then(Login::default);
                let (token, is_kept) = (None, false);
                Ok(Caller { logs, sessions, login, home, identity, token, is_kept })
            }
        }
    }
}

/// Who calls, and what is shown.
pub(crate) struct Caller {
    pub(crate) home: Option<Home>,
    pub(crate) identity: Arc<Identity>,
    /// What the logs of nodes were when this persona last saw them.
    logs: Arc<KnownLogs>,
    pub(crate) sessions: Arc<Sessions>,
    login: Option<Login>,
    token: Option<String>,
    /// Whether the identity is there the next time, too.
    pub(crate) is_kept: bool,
}

impl Caller {
    /// Somebody made for this time, who knows what nodes `home` knows.
    pub(crate) fn nobody(home: &Home) -> anyhow::Result<Self> {
        Ok(Self {
            home: Some(home.clone()),
            identity: Arc::new(Identity::ephemeral()?),
            logs: Arc::default(),
            sessions: Arc::default(),
            login: None,
            token: None,
            is_kept: false,
        })
    }

    /// A client that notices a node which went away without a word after `idle_timeout`.
    pub(crate) fn client(&self, idle_timeout: Option<Duration>) -> Outcome<Client> {
        let config = ClientConfig {
            token: self.token.clone(),
            logs: Arc::clone(&self.logs),
            sessions: Arc::clone(&self.sessions),
            login: self.login.clone(),
            ..ClientConfig::new(Arc::clone(&self.identity))
        };
        let config = match idle_timeout {
            Some(idle_timeout) => ClientConfig { idle_timeout, ..config },
            None => config,
        };
        Client::new(config).map_err(Failure::usage)
    }

    /// Whether an earlier checkpoint of `node`'s log is kept.
    pub(crate) fn knows_log(&self, node: Option<PublicKey>) -> bool {
        // A file that can't be read is told of when it is to be compared.
        node.is_some_and(|node| self.logs.last(&node).is_ok_and(|known| known.is_some()))
    }

    /// Whether there is a token to show.
    pub(crate) const fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Why `node` may have refused the token; only a hint, because nothing of a token can be verified here.
    pub(crate) fn token_fault(&self, node: Option<PublicKey>) -> Option<String> {
        let token = Token::new(self.token.as_deref()?).ok()?;
        let Some(subject) = token.unverified_subject() else {
            return Some(
                "what was shown (--token or CMTP_TOKEN) is no token: take what `cmtpd grant` printed"
                    .to_owned(),
            );
        };
        let did = self.identity.did().to_string();
        if subject != did {
            let subject = terminal::printable(&subject);
            return Some(format!(
                "the token was granted to {subject}, and you are {did}: ask for one for that DID, or call as the persona \
                 that has it (--as)"
            ));
        }
        let node = node.map(|node| node.to_string())?;
        let issuer = token.unverified_issuer()?;
        if issuer != node {
            let issuer = terminal::printable(&issuer);
            return Some(format!(
                "the token is from the node {issuer}, and you called {node}: `cmtpd grant` has to run with that node's \
                 data directory (--data or --config)"
            ));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        let ago = now.checked_sub(token.unverified_expiry()?)?;
        Some(format!("the token expired {ago} s ago"))
    }
}

fn read_token(token: &str) -> anyhow::Result<String> {
    match token.strip_prefix('@') {
        Some(path) => {
            let bytes = terminal::read_file(path, TOKEN_FILE_MAX).context("the token")?;
            String::from_utf8(bytes).with_context(|| format!("{path} is no token"))
        }
        None => Ok(token.to_owned()),
    }
}

/// For who sends again: a node that was killed says nothing, and a third of the patience of a retry is a long wait. Four PINGs
/// fit.
pub(crate) const NOTICE_LOSS: Duration = Duration::from_secs(5);
/// The longest token and white space around it.
const TOKEN_FILE_MAX: u64 = 2 * limits::TOKEN_MAX;
