//! `cmtp login`, `cmtp logout` and `cmtp sessions`.

use anyhow::{Context, anyhow};
use clap::Args;
use cmtp_client::session::{Again, Login as Wanted, LoginError, Offer, ScopeTexts, Session};
use cmtp_client::{Answer, Channel, Connection, KnownNodes, NodeUrl};
use cmtp_codec::PublicKey;
use cmtp_spec::{Status, limits};
use jiff::Timestamp;
use serde_json::json;

use crate::caller::{Caller, CallerArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::{connect, terminal};

/// Open a session at a node.
///
/// The node says what it asks for and what it offers; you agree, or don't. What you agree to is a grant: it lasts for
/// weeks, and calls renew its short tokens by themselves. Nothing but your identity is needed, and nobody is asked.
/// A session that you had at this node from here is ended.
///
///   cmtp login cmtp://127.0.0.1
///   cmtp login cmtp://node.example --yes
///   cmtp login cmtp://node.example --read '0xS:**' --always
///
/// Calls show the session from then on, unless a token is given (--token or CMTP_TOKEN). Exit codes: 0; 1 where the node
/// refuses, or you did not agree; 2 for usage; 3 where there is no node.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Login {
    /// The node: cmtp://host:port; a target behind it is not looked at.
    #[arg(value_parser = NodeUrl::of_node)]
    url: NodeUrl,
    #[command(flatten)]
    caller: CallerArgs,
    /// Targets that are read, at most, as a pattern (* one element, ** the rest); may be repeated. Without this and
    /// --write all that the node offers.
    #[arg(long, value_name = "PATTERN")]
    read: Vec<String>,
    /// Targets that are written, at most; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    write: Vec<String>,
    /// A file with the token of an outside issuer that the node asks for; may be repeated.
    #[arg(long, value_name = "FILE")]
    outside: Vec<String>,
    /// Agree to what the node offers, without being asked.
    #[arg(long)]
    yes: bool,
    /// Open another session here, without being asked, when this one is over.
    #[arg(long)]
    always: bool,
    /// Print the session as JSON.
    #[arg(long)]
    json: bool,
}

/// End a session at a node: its tokens are refused at once, wherever they are.
///
///   cmtp logout cmtp://node.example
///   cmtp logout cmtp://node.example --all     # every session of this identity there, on other machines, too
///
/// Exit codes: 0; 1 where the node refuses; 2 for usage; 3 where there is no node (the session is forgotten here all the
/// same).
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Logout {
    /// The node: cmtp://host:port
    #[arg(value_parser = NodeUrl::of_node)]
    url: NodeUrl,
    #[command(flatten)]
    caller: CallerArgs,
    /// End all sessions of this identity at the node.
    #[arg(long)]
    all: bool,
}

/// List the sessions of your identity.
///
///   cmtp sessions
///   cmtp sessions --json
///   cmtp sessions cmtp://node.example     # what that node knows, opened on other machines, too
///
/// Exit codes: 0; 1 where the node refuses; 2 for usage; 3 where there is no node.
#[derive(Args)]
#[command(verbatim_doc_comment, name = "sessions")]
pub(crate) struct List {
    /// Ask this node, in place of what is kept here.
    #[arg(value_parser = NodeUrl::of_node)]
    url: Option<NodeUrl>,
    #[command(flatten)]
    caller: CallerArgs,
    /// Print them as JSON, an object a line.
    #[arg(long)]
    json: bool,
}

impl Login {
    pub(crate) fn run(self) -> Outcome {
        let caller = self.caller.caller().map_err(Failure::usage)?;
        if !caller.is_kept {
            return Err(Failure::usage(anyhow!("no identity yet; make one: cmtp id new")));
        }
        let wanted = self.wanted(&caller)?;
        at_node(&caller, &self.url, self.caller.pin, async |channel| {
            let connection = channel.connect().await.map_err(Failure::no_node)?;
            let offered = connection.begin_login(&wanted).await.map_err(failed)?;
            if !self.yes {
                match ask(offered.offer()).await {
                    Some(true) => {}
                    Some(false) => {
                        eprintln!("cmtp: no session was opened");
                        return Ok(Exit::Refused);
                    }
                    None => {
                        return Err(Failure::usage(anyhow!(
                            "nobody can be asked here whether to agree; if so, say it with --yes"
                        )));
                    }
                }
            }
            let offer = offered.offer().clone();
            let session = offered.consent().await.map_err(failed)?;
            let again = self.always.then(|| Again { scope: wanted.scope.clone() });
            let session = Session { again, ..session };
            let node = connection.node();
            let before = caller.sessions.find(&node).ok().flatten();
            caller.sessions.keep(&node, session.clone()).map_err(Failure::usage)?;
            if let Some(before) = before.filter(|before| before.grant != session.grant) {
                replace(&connection, &before, &session).await;
            }
            self.say(&offer, &session)?;
            Ok(Exit::Success)
        })
    }

    fn wanted(&self, caller: &Caller) -> Outcome<Wanted> {
        let scope = (!self.read.is_empty() || !self.write.is_empty())
            .then(|| ScopeTexts { read: self.read.clone(), write: self.write.clone() });
        if let Some(scope) = &scope {
            scope.parse().context("--read or --write").map_err(Failure::usage)?;
        }
        let read = |path: &String| -> anyhow::Result<String> {
            let bytes = terminal::read_file(path, OUTSIDE_MAX).context("--outside")?;
            let text = String::from_utf8(bytes).with_context(|| format!("{path} is no token"))?;
            Ok(text.trim().to_owned())
        };
        let outside = self.outside.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Wanted { scope, recovery: caller.identity.recovery(), outside })
    }

    fn say(&self, offer: &Offer, session: &Session) -> Outcome<()> {
        if self.json {
            let value = json!({
                "node": offer.node.to_string(), "persona": offer.persona.to_string(),
                "grant": session.grant, "ends": session.ends, "scope": offer.scope,
                "groups": offer.groups, "attributes": offer.attributes,
            });
            return Ok(terminal::write_line(&value.to_string())?);
        }
        eprintln!("cmtp: a session at {}, until {}", offer.node, date(session.ends));
        Ok(())
    }
}

impl Logout {
    pub(crate) fn run(self) -> Outcome {
        let caller = self.caller.caller().map_err(Failure::usage)?;
        let ended = at_node(&caller, &self.url, self.caller.pin, async |channel| {
            let connection = channel.connect().await.map_err(Failure::no_node)?;
            let (persona, node) = (caller.identity.did(), connection.node());
            let found = caller.sessions.find(&node).map_err(Failure::usage)?;
            let Some(session) = found else {
                return Err(Failure::usage(anyhow!(
                    "there is no session at {node}; to end those from elsewhere: cmtp login {0}, then cmtp logout {0} --all",
                    self.url
                )));
            };
            let (did, grant) = (persona.to_string(), session.grant.to_string());
            let what = if self.all { &did } else { &grant };
            let ended = connection.hang_up(Some(what)).await;
            // Whatever the node says: nothing here is to show it again.
            caller.sessions.forget(&node).map_err(Failure::usage)?;
            let ended = ended.map_err(Failure::no_node)?;
            if ended.is_success() {
                let what = if self.all { "all sessions" } else { "the session" };
                eprintln!("cmtp: {what} at {node} ended");
                return Ok(Exit::Success);
            }
            Ok(refused(&ended))
        });
        if ended.as_ref().is_err_and(|failure| failure.exit() == Exit::NoNode) {
            self.forget(&caller)?;
        }
        ended
    }

    /// Forgets the session at the node that was last seen at the URL, which can't be asked which it is.
    fn forget(&self, caller: &Caller) -> Outcome<()> {
        let known = caller.home.as_ref().map(KnownNodes::load).transpose();
        let known = known.map_err(Failure::no_node)?;
        let pinned = known.and_then(|known| known.lookup(&self.url.host, self.url.port));
        let node = self.url.did.or(self.caller.pin).or(pinned.map(|pinned| pinned.root));
        let Some(node) = node else { return Ok(()) };
        let Some(session) = caller.sessions.find(&node).map_err(Failure::usage)? else {
            return Ok(());
        };
        caller.sessions.forget(&node).map_err(Failure::usage)?;
        let ends = date(session.ends);
        eprintln!(
            "cmtp: the session at {node} is forgotten here; the node was not told, and has it until {ends}"
        );
        Ok(())
    }
}

impl List {
    pub(crate) fn run(self) -> Outcome {
        let caller = self.caller.caller().map_err(Failure::usage)?;
        let Some(url) = &self.url else { return self.kept(&caller) };
        at_node(&caller, url, self.caller.pin, async |channel| {
            let connection = channel.connect().await.map_err(Failure::no_node)?;
            self.known(&connection).await
        })
    }

    fn kept(&self, caller: &Caller) -> Outcome {
        let kept = caller.sessions.all().map_err(Failure::usage)?;
        for (node, session) in kept {
            let line = if self.json {
                json!({
                    "node": node.to_string(), "grant": session.grant, "ends": session.ends,
                    "over": session.is_over(),
                })
                .to_string()
            } else {
                let over = if session.is_over() { ", over" } else { "" };
                format!("{node}  {}  until {}{over}", session.grant, date(session.ends))
            };
            terminal::write_line(&line)?;
        }
        Ok(Exit::Success)
    }

    async fn known(&self, connection: &Connection) -> Outcome {
        let answer = connection.sessions().await.map_err(Failure::no_node)?;
        if !answer.is_success() {
            return Ok(refused(&answer));
        }
        let body = answer.body().unwrap_or_default();
        let list: serde_json::Value =
            serde_json::from_slice(&body).context("what the node lists can't be read")?;
        for grant in list["grants"].as_array().into_iter().flatten() {
            let line = if self.json {
                grant.to_string()
            } else {
                let name = terminal::printable(grant["grant"].as_str().unwrap_or_default());
                let time = |key: &str| date(grant[key].as_u64().unwrap_or_default());
                format!("{name}  from {} until {}", time("begun"), time("ends"))
            };
            terminal::write_line(&line)?;
        }
        Ok(Exit::Success)
    }
}

fn refused(answer: &Answer) -> Exit {
    let (status, detail) = (answer.status(), answer.detail().unwrap_or_default());
    eprintln!("{} {status}: {}", status.0, terminal::printable(detail));
    Exit::Refused
}

/// Ends the session that another one takes the place of: nothing here would show it again.
async fn replace(connection: &Connection, before: &Session, session: &Session) {
    connection.show(&session.token);
    let ended = connection.hang_up(Some(&before.grant.to_string())).await;
    // One that is over already is nobody's to end.
    let is_over = ended.is_ok_and(|it| it.is_success() || it.status() == Status::FORBIDDEN);
    if !is_over {
        eprintln!("cmtp: the session before this one, {}, may still be open", before.grant);
    }
}

/// Does something at the node of `url`.
pub(crate) fn at_node(
    caller: &Caller,
    url: &NodeUrl,
    pin: Option<PublicKey>,
    act: impl AsyncFnOnce(&Channel) -> Outcome,
) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("no runtime")?.block_on(async {
        let client = caller.client(None)?;
        let channel = connect::connect(client, url, pin, caller.home.as_ref(), None).await?;
        let outcome = act(&channel).await;
        channel.close().await;
        outcome
    })
}

/// What a person says to the offer; the connection is kept alive meanwhile.
async fn ask(offer: &Offer) -> Option<bool> {
    let question = shown(offer);
    tokio::task::spawn_blocking(move || terminal::ask(&question)).await.ok()?
}

fn shown(offer: &Offer) -> String {
    let printable = |texts: &[String]| match texts {
        [] => "nothing".to_owned(),
        texts => texts.iter().map(|it| terminal::printable(it)).collect::<Vec<_>>().join(", "),
    };
    let asked: Vec<_> = offer.asked.iter().map(|(what, _)| what.clone()).collect();
    let attributes = offer.attributes.iter().map(|(name, value)| format!("{name} = {value}"));
    let days = offer.grant_seconds.div_ceil(DAY);
    format!(
        "The node {}\nasks for   {}\noffers to  {}\n  read     {}\n  write    {}\n  groups   {}\n  known    {}\n\
         as far as its policies allow, for {days} days, with tokens of {} s that are renewed by themselves.\nOpen a session?",
        offer.node,
        printable(&asked),
        offer.persona,
        printable(&offer.scope.read),
        printable(&offer.scope.write),
        printable(&offer.groups),
        printable(&attributes.collect::<Vec<_>>()),
        offer.token_seconds,
    )
}

pub(crate) fn failed(error: LoginError) -> Failure {
    let exit = match &error {
        LoginError::Refused { .. } | LoginError::Required { .. } => Exit::Refused,
        LoginError::Signature | LoginError::Foreign | LoginError::Malformed(_) => Exit::Invalid,
        _ => Exit::NoNode,
    };
    Failure::new(exit, error)
}

fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|it| Timestamp::from_second(it).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.to_string())
}

const DAY: u64 = 86_400;
/// The longest message of the handshake, which has to hold it.
const OUTSIDE_MAX: u64 = limits::SESSION_MESSAGE_MAX;
