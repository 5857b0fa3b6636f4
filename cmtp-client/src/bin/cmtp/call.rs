//! `cmtp call`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use cmtp_client::{
    Answer, CallError, Client, ClientConfig, Existing, Home, Identity, NodeUrl, Request, Token,
    write_whole,
};
use cmtp_codec::{Field, Fqmn, PublicKey};
use cmtp_spec::{Remedy, Status, limits, remedies};

use crate::connect;
use crate::exit::{Exit, Failure, Outcome};
use crate::{header, terminal};

/// Call a target of a node, verify the answer, and print its body.
///
/// The URL is cmtp://host:port/target; without a port it is 4433, and the node's DID may stand
/// before the host, as in cmtp://did:key:z6Mk…@host/target. A target is an FQMN such as 0xS:echo, or
/// a name such as helloworld.mcom. Words after the URL become its arguments, a JSON array of strings;
/// other arguments stand at the end of the URL as a JSON array, after a colon.
///
///   cmtp call cmtp://127.0.0.1:4433/helloworld.mcom Dexter
///   cmtp call cmtp://127.0.0.1:4433/0xS:echo --data @- < body.txt
///   cmtp call cmtp://127.0.0.1:4433/0xS:time -v
///   cmtp call cmtp://node.example/0xS:echo --data hi --save answer.cmtp
///   cmtp call cmtp://node.example/0xS:echo --pin did:key:z6Mk… --json
///
/// A node is trusted, in this order: by the DID in the URL; by --pin; because it is known (file
/// known_nodes in CMTP_HOME); because certificate authorities vouch for it. An unknown node on this
/// machine is pinned on first use; elsewhere you are asked, or get the exact --pin to use. A node whose
/// DID changed is refused.
///
/// The call is signed with your identity (cmtp id new). Without one it is signed with a key made for
/// this call, and no token is shown.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Call {
    /// Where and what to call: cmtp://host:port/target
    url: NodeUrl,
    /// Words that become the arguments.
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    words: Vec<String>,
    /// The token, or @file to read it from; an empty one is none.
    #[arg(long, env = "CMTP_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The DID that the node must have: did:key:z6Mk…
    #[arg(long, value_name = "DID")]
    pin: Option<PublicKey>,
    /// The request's body: text, @file, or @- for standard input.
    #[arg(long, value_name = "TEXT")]
    data: Option<String>,
    /// A field of the request; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header::field)]
    fields: Vec<Field>,
    /// Keep request and answer in a file that `cmtp verify` judges offline.
    #[arg(long, value_name = "FILE.cmtp")]
    save: Option<PathBuf>,
    /// Print the whole answer as JSON.
    #[arg(long)]
    json: bool,
    /// Print the tree of layers to stderr.
    #[arg(short, long)]
    verbose: bool,
    /// Seconds for which the request is good.
    #[arg(long, value_name = "SECONDS", default_value_t = limits::SERVICE_DEADLINE)]
    timeout: u64,
}

impl Call {
    pub(crate) fn run(self) -> Outcome {
        let request = self.request().map_err(Failure::usage)?;
        let home = Home::from_env().ok();
        let caller = self.caller(home.as_ref()).map_err(Failure::usage)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime")?;
        let answer = runtime.block_on(self.exchange(request, &caller, home.as_ref()))?;
        self.show(&answer, &caller)
    }

    fn request(&self) -> anyhow::Result<Request> {
        let mut target = Fqmn::from_sugar(&self.url.path).with_context(|| self.url.path.clone())?;
        if !self.words.is_empty() {
            if target.args().is_some() {
                bail!("the URL has arguments already; give them there or as words, not both");
            }
            target = target.with_words(self.words.iter().map(String::as_str))?;
        }
        let mut request = Request::new(target).valid_for(Duration::from_secs(self.timeout));
        if let Some(data) = &self.data {
            request = request.body(match data.strip_prefix('@') {
                Some("-") => terminal::read_in(BODY_MAX)?,
                Some(path) => terminal::read_file(path, BODY_MAX)?,
                None => data.clone().into_bytes(),
            });
        }
        Ok(self.fields.iter().cloned().fold(request, Request::field))
    }

    fn caller(&self, home: Option<&Home>) -> anyhow::Result<Caller> {
        let kept = home.map(Identity::load).transpose()?.flatten();
        // `CMTP_TOKEN= cmtp call …` is how a shell calls without the token that it exported.
        let token = self.token.as_deref().filter(|token| !token.is_empty());
        let token = token.map(read_token).transpose()?;
        match kept {
            Some(identity) => Ok(Caller { identity: Arc::new(identity), token }),
            None => {
                let identity = Arc::new(Identity::ephemeral()?);
                if token.is_some() {
                    eprintln!(
                        "cmtp: no identity, so the token can't be used; make one: cmtp id new"
                    );
                }
                Ok(Caller { identity, token: None })
            }
        }
    }

    async fn exchange(
        &self,
        request: Request,
        caller: &Caller,
        home: Option<&Home>,
    ) -> Outcome<Answer> {
        let Caller { identity, token } = caller;
        let config =
            ClientConfig { token: token.clone(), ..ClientConfig::new(Arc::clone(identity)) };
        let client = Arc::new(Client::new(config).map_err(Failure::usage)?);
        let connection = connect::connect(&client, &self.url, self.pin, home).await?;
        let answer = connection.call(request).await.map_err(failed);
        drop(connection);
        client.close().await;
        answer
    }

    fn show(&self, answer: &Answer, caller: &Caller) -> Outcome {
        if self.verbose {
            let style = terminal::style(&io::stderr());
            eprint!("{}", cmtp_client::tree(answer.replay(), style));
        }
        if let Some(path) = &self.save {
            let file = answer.to_saved().to_stored();
            write_whole(path, &file, Existing::Replace)
                .with_context(|| path.display().to_string())?;
        }
        if self.json {
            terminal::write_line(&format!("{:#}", cmtp_client::json(answer.replay())))?;
        } else if let Some(body) = answer.body() {
            terminal::write_out(&body)?;
            if io::stdout().is_terminal() && !body.ends_with(b"\n") {
                terminal::write_out(b"\n")?;
            }
        }
        if answer.is_success() {
            return Ok(Exit::Success);
        }
        let detail = answer.detail().map(terminal::printable);
        let status = answer.status();
        match &detail {
            Some(detail) => eprintln!("{} {status}: {detail}", status.0),
            None => eprintln!("{} {status}", status.0),
        }
        if let Some(advice) = answer.remedy().map(advice) {
            eprintln!("what to do: {advice}");
        }
        if let Some(seconds) = answer.retry_after() {
            eprintln!("try again after {seconds} s");
        }
        if let (Status::TOKEN_INVALID, Some(hint)) = (status, caller.mismatch()) {
            eprintln!("{hint}");
        }
        Ok(Exit::Refused)
    }
}

/// Who calls, and what is shown.
struct Caller {
    identity: Arc<Identity>,
    token: Option<String>,
}

impl Caller {
    /// Says so where the token was granted to somebody else; only a hint, because nothing of a token can be verified here.
    fn mismatch(&self) -> Option<String> {
        let subject = Token::new(self.token.as_deref()?).ok()?.unverified_subject()?;
        let did = self.identity.did().to_string();
        let subject = terminal::printable(&subject);
        (subject != did).then(|| {
            format!(
                "the token was granted to {subject}, and you are {did}: ask for one for that DID"
            )
        })
    }
}

fn read_token(token: &str) -> anyhow::Result<String> {
    match token.strip_prefix('@') {
        Some(path) => {
            let bytes = terminal::read_file(path, TOKEN_FILE_MAX)?;
            String::from_utf8(bytes).with_context(|| format!("{path} is no token"))
        }
        None => Ok(token.to_owned()),
    }
}

fn failed(error: CallError) -> Failure {
    let exit = match &error {
        CallError::Prepare(_) => Exit::Usage,
        CallError::Bad(_) | CallError::Malformed { .. } => Exit::Invalid,
        _ => Exit::NoNode,
    };
    let unknown = error.is_outcome_unknown() && exit == Exit::NoNode;
    let error = anyhow::Error::from(error);
    let error =
        if unknown { error.context("whether a write had its effect is not known") } else { error };
    Failure::new(exit, error)
}

/// What a person does about a remedy.
fn advice(remedy: &str) -> String {
    let known = ADVICE.iter().find(|(word, _)| word.0 == remedy);
    known.map_or_else(|| terminal::printable(remedy), |(_, advice)| (*advice).to_owned())
}

const ADVICE: [(Remedy, &str); 12] = [
    (remedies::FIX_REQUEST, "the request is at fault; sending it again changes nothing"),
    (
        remedies::CREATE_IDENTITY,
        "make an identity (cmtp id new), ask the node's operator for a token (cmtpd grant), and show it (--token or \
         CMTP_TOKEN)",
    ),
    (remedies::RENEW_TOKEN, "get a new token from the node's operator, then call again"),
    (remedies::RESEND_TOKEN, "call again"),
    (remedies::ASK_ACCESS, "ask the node's operator for a wider grant"),
    (remedies::USE_WRITE_FORM, "call the write form of the opcode, such as 0xSW for 0xS"),
    (remedies::USE_AUDIENCE, "call the node that the request was made for"),
    (remedies::NEW_ID, "check this machine's clock, then call again"),
    (remedies::WAIT, "wait a while, then call again"),
    (remedies::SEND_LESS, "send fewer or smaller parts"),
    (
        remedies::LOOK_BEFORE_RETRY,
        "whether there was an effect is not known; look before you call again",
    ),
    (remedies::ASK_OPERATOR, "the node or its service is at fault; tell its operator"),
];

/// The longest token and white space around it.
const TOKEN_FILE_MAX: u64 = 2 * limits::TOKEN_MAX;
/// A node says by itself what it takes; this is what is read into memory.
const BODY_MAX: u64 = 16 * limits::BODY_MAX;
