//! The witnesses of a log, as its node asks them: C2SP tlog-witness. `cmtp-spec/spec/18-log.md`.

use std::thread;
use std::time::{Duration, Instant};

use cmtp_client::system_tls;
use cmtp_codec::Digest;
use cmtp_codec::log::{Growth, SignedCheckpoint, VerifierKey};
use cmtp_spec::limits;
use ureq::Agent;
use ureq::http::StatusCode;

use crate::config::WitnessSettings;
use crate::log::LogError;
use crate::witness::log_name;

/// All witnesses of a node.
#[derive(Debug, Default)]
pub(crate) struct Cosigners {
    all: Vec<Cosigner>,
}

/// One witness, and what is known of it.
#[derive(Debug)]
struct Cosigner {
    key: VerifierKey,
    url: String,
    agent: Agent,
    /// Leaves of the tree that it knows; a guess, which it corrects.
    known: u64,
    /// Leaves of the tree that it cosigned last for us.
    signed: u64,
    trouble: Option<String>,
}

/// What a witness has of a log.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) witness: String,
    pub(crate) checkpoint: SignedCheckpoint,
}

/// Proves a tree from an earlier size.
pub(crate) type Prove<'a> = &'a (dyn Fn(u64) -> Result<Vec<Digest>, LogError> + Sync);

impl Cosigners {
    pub(crate) fn new(witnesses: &[WitnessSettings]) -> Self {
        let is_secret = witnesses.iter().any(|it| it.url.starts_with("https:"));
        let agent = agent(is_secret);
        let cosigner = |it: &WitnessSettings| Cosigner {
            key: it.key.clone(),
            url: it.url.clone(),
            agent: agent.clone(),
            known: 0,
            signed: 0,
            trouble: None,
        };
        Self { all: witnesses.iter().map(cosigner).collect() }
    }

    /// Whether there is a witness that has not cosigned the tree of this size.
    pub(crate) fn lacks(&self, size: u64) -> bool {
        self.all.iter().any(|it| it.signed != size)
    }

    /// Asks all who have not cosigned `tree` yet, at once, and gives the lines of those who do in time.
    ///
    /// `tree` has to be one that is never taken back: its node has it on the disk.
    pub(crate) fn ask(&mut self, tree: &SignedCheckpoint, prove: Prove<'_>) -> String {
        let (size, until) = (tree.untrusted().size, Instant::now() + PATIENCE);
        let asked = self.all.iter_mut().filter(|it| it.signed != size);
        thread::scope(|scope| {
            let asking = |it| scope.spawn(move || Cosigner::ask(it, tree, prove, until));
            let asking: Vec<_> = asked.map(asking).collect();
            // A thread that panicked said so.
            asking.into_iter().filter_map(|it| it.join().ok().flatten()).collect()
        })
    }

    /// The last checkpoint that each has of the log, where it is one that `log` signed.
    pub(crate) fn seen(&mut self, log: &VerifierKey) -> Vec<Seen> {
        let until = Instant::now() + PATIENCE;
        thread::scope(|scope| {
            let asking = |it| scope.spawn(move || Cosigner::seen(it, log, until));
            let asking: Vec<_> = self.all.iter_mut().map(asking).collect();
            asking.into_iter().filter_map(|it| it.join().ok().flatten()).collect()
        })
    }
}

impl Cosigner {
    fn ask(&mut self, tree: &SignedCheckpoint, prove: Prove<'_>, until: Instant) -> Option<String> {
        let cosigned = self.cosign(tree, prove, until);
        self.report(cosigned.as_ref().err());
        cosigned.ok()
    }

    fn cosign(
        &mut self,
        tree: &SignedCheckpoint,
        prove: Prove<'_>,
        until: Instant,
    ) -> Result<String, CosignError> {
        let size = tree.untrusted().size;
        // [LOG-25] Where a witness knows another size, it is asked again from there, once.
        for _ in 0..2 {
            let old = self.known;
            if old > size {
                // It may be wrong, or this node is the copy of one that went on: what it knows is looked up at the start.
                self.known = 0;
                return Err(CosignError::KnowsMore { known: old });
            }
            let path = prove(old).map_err(CosignError::Proof)?;
            let body = Growth { old, path, checkpoint: tree.clone() }.to_string();
            let url = format!("{}/add-checkpoint", self.url);
            let request = self.agent.post(&url).config().timeout_global(Some(left(until))).build();
            let (status, answer) = read(request.send(body)?)?;
            match status {
                StatusCode::OK => {
                    let line = self.own_line(tree, &answer).ok_or(CosignError::NotItsOwn)?;
                    (self.known, self.signed) = (size, size);
                    return Ok(line);
                }
                StatusCode::CONFLICT => {
                    let known = answer.trim_end().parse().map_err(|_size| CosignError::NoSize)?;
                    if known == old {
                        return Err(CosignError::OtherTree { size: known });
                    }
                    self.known = known;
                }
                StatusCode::UNPROCESSABLE_ENTITY => {
                    return Err(CosignError::OtherTree { size: old });
                }
                other => return Err(CosignError::Status { status: other.as_u16() }),
            }
        }
        Err(CosignError::NoSize)
    }

    /// The witness's own signature line of an answer, if it is good.
    fn own_line(&self, tree: &SignedCheckpoint, answer: &str) -> Option<String> {
        answer.lines().map(|line| format!("{line}\n")).find(|line| {
            let signed = tree.with_signatures(line);
            signed.is_ok_and(|signed| matches!(signed.signed_by(&self.key), Ok(Some(_))))
        })
    }

    fn seen(&mut self, log: &VerifierKey, until: Instant) -> Option<Seen> {
        let seen = self.look(log, until);
        self.report(seen.as_ref().err());
        let checkpoint = seen.ok().flatten()?;
        self.known = checkpoint.untrusted().size;
        Some(Seen { witness: self.key.name().to_owned(), checkpoint })
    }

    fn look(
        &self,
        log: &VerifierKey,
        until: Instant,
    ) -> Result<Option<SignedCheckpoint>, CosignError> {
        let url = format!("{}/{}/checkpoint", self.url, log_name(log.name()));
        let request = self.agent.get(&url).config().timeout_global(Some(left(until))).build();
        match read(request.call()?)? {
            (StatusCode::OK, note) => {
                let note = SignedCheckpoint::parse(&note).map_err(|_note| CosignError::NotOurs)?;
                // What this node did not sign it need not answer for.
                note.verify(log).map_err(|_signature| CosignError::NotOurs)?;
                Ok(Some(note))
            }
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (other, _) => Err(CosignError::Status { status: other.as_u16() }),
        }
    }

    /// Says what a witness has come to, once.
    fn report(&mut self, error: Option<&CosignError>) {
        let witness = self.key.name();
        let trouble = error.map(ToString::to_string);
        match (&trouble, error) {
            (Some(text), _) if self.trouble.as_ref() == Some(text) => {}
            (_, Some(error @ (CosignError::KnowsMore { .. } | CosignError::OtherTree { .. }))) => {
                tracing::error!(witness, %error, "a witness does not cosign");
            }
            (_, Some(error)) => tracing::warn!(witness, %error, "a witness does not cosign"),
            (None, _) if self.trouble.is_some() => {
                tracing::info!(witness, "the witness answers again");
            }
            _ => {}
        }
        self.trouble = trouble;
    }
}

/// What asks for all: nothing of the environment tells it where to go, and nobody sends it elsewhere.
fn agent(is_secret: bool) -> Agent {
    let config = Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("cmtpd/", env!("CARGO_PKG_VERSION")));
    if !is_secret {
        return config.build().into();
    }
    config.tls_config(system_tls()).build().into()
}

fn read(
    mut response: ureq::http::Response<ureq::Body>,
) -> Result<(StatusCode, String), ureq::Error> {
    let status = response.status();
    let body = response.body_mut().with_config().limit(limits::CHECKPOINT_MAX);
    Ok((status, body.read_to_string()?))
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// Why a witness did not cosign, or did not say what it knows.
#[derive(Debug, thiserror::Error)]
enum CosignError {
    #[error("{0}")]
    Http(#[from] ureq::Error),
    #[error("it answers with HTTP status {status}{}", hint(*status))]
    Status { status: u16 },
    #[error("{0}")]
    Proof(LogError),
    #[error("its answer has no good signature by the key that the configuration names")]
    NotItsOwn,
    #[error("it says that it knows another size, and names none")]
    NoSize,
    #[error("its checkpoint is not one that this node signed")]
    NotOurs,
    #[error(
        "it knows {known} entries of this log, which are more than there are: the node may be the copy of one that went on; \
         the next start looks into it"
    )]
    KnowsMore { known: u64 },
    #[error(
        "it has another tree at {size} entries: the node may be the copy of one that went on; the next start looks into it"
    )]
    OtherTree { size: u64 },
}

const fn hint(status: u16) -> &'static str {
    match status {
        403 => ": its policy has another key for this log",
        404 => ": its policy does not have this log; the line is that of: cmtpd did --log NUMBER",
        _ => "",
    }
}

/// For all witnesses together: a checkpoint waits for them no longer.
const PATIENCE: Duration = Duration::from_secs(2);
