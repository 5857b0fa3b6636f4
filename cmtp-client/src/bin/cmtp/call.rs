//! `cmtp call`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::RangedU64ValueParser;
use clap::{Args, ColorChoice};
use cmtp_client::{
    Answer, Channel, Existing, NodeUrl, Pending, PreparedRequest, Request, Streaming, Style,
    write_whole,
};
use cmtp_codec::log::Policy;
use cmtp_codec::{Field, Fqmn};
use cmtp_spec::limits;

use crate::caller::{Caller, CallerArgs, NOTICE_LOSS};
use crate::connect;
use crate::exit::{Exit, Failure, Outcome};
use crate::refusal::{Refusal, failed};
use crate::standing::Wanted;
use crate::{header, standing, terminal};

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
///   cmtp call cmtp://node.example/0xSW:orders --data @order --pending order.pending --retry 300
///
/// A streamed answer is printed as the node seals its parts; Ctrl-C cancels it.
///
/// A node is trusted, in this order: by the DID in the URL; by --pin; because it is known (file
/// known_nodes in CMTP_HOME); because certificate authorities vouch for it. An unknown node on this
/// machine is pinned on first use; elsewhere you are asked, or get the exact --pin to use. A node whose
/// DID changed is refused.
///
/// The call is signed with your identity (cmtp id new). Without one it is signed with a key made for
/// this call, and no token is shown.
#[derive(Args)]
#[command(verbatim_doc_comment, after_long_help = AFTER)]
pub(crate) struct Call {
    /// Where and what to call: cmtp://host:port/target
    url: NodeUrl,
    /// Words that become the arguments.
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    words: Vec<String>,
    #[command(flatten)]
    caller: CallerArgs,
    /// The request's body: text, @file, or @- for standard input.
    #[arg(long, value_name = "TEXT")]
    data: Option<String>,
    /// A field of the request, such as 'accept: text/plain' or 'if-state-version: 7'; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header::field)]
    fields: Vec<Field>,
    /// Keep request and answer in a file that `cmtp verify` judges offline.
    #[arg(long, value_name = "FILE.cmtp")]
    save: Option<PathBuf>,
    /// The receipt to wait for, and to keep with --save; without it the call ends with 4.
    #[arg(long, value_enum, default_value_t = Wanted::Promise)]
    receipt: Wanted,
    /// Whose word is asked for with --receipt witnessed: a C2SP tlog-policy file.
    #[arg(long, value_name = "FILE", required_if_eq("receipt", "witnessed"))]
    policy: Option<PathBuf>,
    /// Print the whole answer as JSON.
    #[arg(long)]
    json: bool,
    /// Print the tree of layers to stderr.
    #[arg(short, long)]
    verbose: bool,
    /// Seconds for which the request is good, 1 to 3600; without an answer by then the call ends with 3.
    #[arg(long, value_name = "SECONDS", default_value_t = limits::SERVICE_DEADLINE, value_parser = seconds())]
    timeout: u64,
    /// Send the same request again where that is safe, for so many seconds, 1 to 3600, for which it is then good.
    #[arg(long, value_name = "SECONDS", conflicts_with = "timeout", value_parser = seconds())]
    retry: Option<u64>,
    /// Keep the request in a file until it has its final answer; if the file is there, send what is in it, and nothing new.
    #[arg(long, value_name = "FILE")]
    pending: Option<PathBuf>,
}

impl Call {
    pub(crate) fn run(self, color: ColorChoice) -> Outcome {
        let target = self.target().map_err(Failure::usage)?;
        for (option, path) in [("--save", &self.save), ("--pending", &self.pending)] {
            path.as_deref().map_or(Ok(()), |path| terminal::check_folder(option, path))?;
        }
        let called = target.clone();
        let caller = self.caller.caller().map_err(Failure::usage)?;
        let pending = self.load_pending(&target, &caller).map_err(Failure::usage)?;
        let policy = self.policy.as_deref().map(standing::read_policy).transpose()?;
        let request = self.request(target).map_err(Failure::usage)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime")?;
        runtime.block_on(async {
            let client = caller.client(self.retry.map(|_| NOTICE_LOSS))?;
            let patience = self.retry.map(Duration::from_secs);
            let (pin, home) = (self.caller.pin, caller.home.as_ref());
            let connecting = connect::connect(client, &self.url, pin, home, patience);
            let Some(channel) = until_interrupted(connecting).await else {
                return Ok(Exit::Interrupted);
            };
            let channel = channel.inspect_err(|_| {
                if pending.is_some() {
                    self.say_kept();
                }
            })?;
            let style = terminal::style(&io::stderr(), color);
            let knows_log = caller.knows_log(channel.node().await);
            let exchange = self.exchange(&channel, request, pending, (style, policy.as_ref()));
            // What is dropped is cancelled, and closing waits until the node was told.
            let outcome = until_interrupted(exchange).await;
            let node = channel.node().await;
            let checked = match &outcome {
                // Whoever broke the connection off did it, perhaps, because of what the node showed.
                Some(Err(_)) => standing::check_log(&channel, false).await,
                Some(Ok(Some(refusal))) if refusal.is_to_a_stranger() => Ok(()),
                Some(Ok(_)) => standing::check_log(&channel, knows_log).await,
                None => Ok(()),
            };
            channel.close().await;
            checked?;
            match outcome {
                Some(Ok(None)) => Ok(Exit::Success),
                Some(Ok(Some(refusal))) => {
                    refusal.show(&caller, &called, node);
                    Ok(Exit::Refused)
                }
                Some(Err(failure)) => Err(failure),
                None => Ok(Exit::Interrupted),
            }
        })
    }

    fn target(&self) -> anyhow::Result<Fqmn> {
        let target = Fqmn::from_sugar(&self.url.path).with_context(|| self.url.path.clone())?;
        if self.words.is_empty() {
            return Ok(target);
        }
        if target.args().is_some() {
            bail!("the URL has arguments already; give them there or as words, not both");
        }
        Ok(target.with_words(self.words.iter().map(String::as_str))?)
    }

    fn request(&self, target: Fqmn) -> anyhow::Result<Request> {
        let good_for = Duration::from_secs(self.retry.unwrap_or(self.timeout));
        let mut request = Request::new(target).valid_for(good_for);
        if let Some(data) = &self.data {
            request = request.body(match data.strip_prefix('@') {
                Some("-") => terminal::read_in(BODY_MAX)?,
                Some(path) => terminal::read_file(path, BODY_MAX)?,
                None => data.clone().into_bytes(),
            });
        }
        Ok(self.fields.iter().cloned().fold(request, Request::field))
    }

    /// The request that was kept, which has to be for what the command line names.
    fn load_pending(&self, target: &Fqmn, caller: &Caller) -> anyhow::Result<Option<Pending>> {
        let Some(path) = &self.pending else { return Ok(None) };
        if !caller.is_kept {
            bail!("a request that is kept needs an identity that is kept; make one: cmtp id new");
        }
        let named = || path.display().to_string();
        let pending = Pending::load(path, &caller.identity).with_context(named)?;
        let Some(pending) = pending else { return Ok(None) };
        let kept = pending.request();
        if kept.is_over() {
            bail!(
                "the request that {} holds is too old to be sent, and whether it had its effect is not known: look, \
                 then remove the file",
                named()
            );
        }
        if (kept.target(), kept.args()) != (target.target(), target.args()) {
            let args = kept.args().map(|args| format!(":{args}")).unwrap_or_default();
            bail!("{} holds a request to another target: {}{args}", named(), kept.target());
        }
        eprintln!("cmtp: sending the request that {} holds", named());
        Ok(Some(pending))
    }

    async fn exchange(
        &self,
        channel: &Channel,
        request: Request,
        pending: Option<Pending>,
        (style, policy): (Style, Option<&Arc<Policy>>),
    ) -> Outcome<Option<Refusal>> {
        let pending = match (pending, &self.pending) {
            (Some(pending), _) => Some(pending),
            (None, Some(path)) => {
                let prepared = channel.prepare(request.clone()).await.map_err(failed)?;
                let kept = Pending::keep(path, prepared);
                Some(kept.with_context(|| path.display().to_string())?)
            }
            (None, None) => None,
        };
        if let Some(pending) = pending {
            let answer = self.send(channel, pending.request()).await;
            let answer = answer.inspect_err(|_| self.say_kept())?;
            let refusal = self.show(channel, &answer, (style, policy)).await?;
            let path = self.pending.as_deref().unwrap_or(Path::new("")).display().to_string();
            if !pending.settle(&answer).with_context(|| path)? {
                self.say_kept();
            }
            return Ok(refusal);
        }
        if self.retry.is_some() {
            let prepared = channel.prepare(request).await.map_err(failed)?;
            let answer = self.send(channel, &prepared).await?;
            return self.show(channel, &answer, (style, policy)).await;
        }
        let streaming = channel.open(request).await.map_err(failed)?;
        self.stream(channel, streaming, (style, policy)).await
    }

    /// Sends a request whose bytes stand: once, or as often as `--retry` lets.
    async fn send(&self, channel: &Channel, request: &PreparedRequest) -> Outcome<Answer> {
        if self.retry.is_some() {
            return channel.send(request).await.map_err(failed);
        }
        channel.send_once(request).await.map_err(failed)
    }

    /// Reads an answer while it comes, prints what is sealed of it, and gives back what refused it.
    async fn stream(
        &self,
        channel: &Channel,
        streaming: Streaming,
        (style, policy): (Style, Option<&Arc<Policy>>),
    ) -> Outcome<Option<Refusal>> {
        let proved = self.receipt != Wanted::Promise;
        let whole = self.json || self.verbose || self.save.is_some() || proved;
        let mut streaming = if whole { streaming.keeping() } else { streaming };
        let mut ends_line = true;
        while let Some(piece) = streaming.next().await.map_err(|error| failed(error.into()))? {
            if piece.is_sealed() && !self.json {
                terminal::write_out(&piece.data)?;
                ends_line = piece.data.ends_with(b"\n");
            }
        }
        if io::stdout().is_terminal() && !ends_line {
            terminal::write_out(b"\n")?;
        }
        let ending = streaming.finish().await.map_err(|error| failed(error.into()))?;
        let refusal = Refusal::of_ending(&ending);
        if let Some(answer) = ending.into_answer() {
            self.keep(channel, &answer, (style, policy)).await?;
        }
        Ok(refusal)
    }

    /// Prints a whole answer, and gives back what refused it.
    async fn show(
        &self,
        channel: &Channel,
        answer: &Answer,
        (style, policy): (Style, Option<&Arc<Policy>>),
    ) -> Outcome<Option<Refusal>> {
        if let Some(body) = answer.body().filter(|_| !self.json) {
            terminal::write_out(&body)?;
            if io::stdout().is_terminal() && !body.ends_with(b"\n") {
                terminal::write_out(b"\n")?;
            }
        }
        self.keep(channel, answer, (style, policy)).await?;
        Ok(Refusal::of(answer))
    }

    /// The tree, the file and the JSON, as far as they are asked for.
    async fn keep(
        &self,
        channel: &Channel,
        answer: &Answer,
        (style, policy): (Style, Option<&Arc<Policy>>),
    ) -> Outcome<()> {
        let patience = Duration::from_secs(self.retry.unwrap_or(self.timeout));
        let receipted =
            standing::with_receipt(channel, answer, self.receipt, policy, patience).await?;
        if self.verbose {
            eprint!("{}", cmtp_client::tree(&receipted, style));
        }
        if let Some(path) = &self.save {
            let file = receipted.to_saved().to_stored();
            write_whole(path, &file, Existing::Replace)
                .with_context(|| path.display().to_string())?;
        }
        if self.json {
            terminal::write_line(&format!("{:#}", cmtp_client::json(&receipted)))?;
        }
        Ok(())
    }

    fn say_kept(&self) {
        if let Some(path) = &self.pending {
            let path = path.display();
            eprintln!("cmtp: the request is kept in {path}; the same command sends it again");
        }
    }
}

/// Nodes take nothing that is good for longer.
fn seconds() -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(1..=limits::NOT_AFTER_MAX)
}

/// `None` where Ctrl-C came first, and what was waited for is dropped.
async fn until_interrupted<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        // Where the signal can't be waited for it ends the process as it always did.
        Ok(()) = tokio::signal::ctrl_c() => None,
    }
}

const AFTER: &str = "\
The body goes to standard output, everything else to standard error.

Environment:
  CMTP_TOKEN   the token, if --token does not give it
  CMTP_HOME    directory of identity and known nodes [default: ~/.config/cmtp]

Exit codes:
  0  an answer with a status below 400, verified
  1  a verified answer with a status of 400 or more; what to do about it stands on stderr
  2  the command line, or a file that it names
  3  no connection, or not the node that was meant
  4  the answer does not verify, the receipt that is wanted can't be had, or the node's log is not what it was
  130  stopped by Ctrl-C";

/// A node says by itself what it takes; this is what is read into memory.
const BODY_MAX: u64 = 16 * limits::BODY_MAX;
