//! `cmtpd witness`.

use std::fs;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::Args;
use cmtp_codec::log::Policy;
use cmtp_server::{WitnessHttp, WitnessKey};
use tokio::signal::unix::{SignalKind, signal};

/// Run a witness: it cosigns what logs say of themselves, and never two stories of one.
///
/// A process with a key and a disk of its own, best in other hands than the logs it watches (C2SP
/// tlog-witness over HTTP). Prints one line once it listens: URL and key, which is what a node has in
/// [[log.witness]] and an auditor in a policy. The key is made in the data directory on first start;
/// what was cosigned stands there, too: who restores an older copy of it lets logs take back what came
/// since. The logs are those of the policy file:
///
///   log cmtp/z6Mk…/0+1b2c3d4e+AQ…     a line from: cmtpd did --log 0
///   quorum none
///
///   cmtpd witness --policy logs.policy --listen 127.0.0.1:7380 --data /var/lib/witness
///   cmtpd witness --vkey --data /var/lib/witness
///
/// Exit codes: 0 after a signal; 1 where it can't start; 2 for usage.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Witness {
    /// Directory for the witness's key and memory; made where it is not there.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// TCP address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7380")]
    listen: SocketAddr,
    /// Name of the key, without blanks and plus signs [default: cmtp-witness/ and the key]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// File with a line `log KEY` for each log to witness, as C2SP tlog-policy has it.
    #[arg(long, value_name = "FILE", required_unless_present = "vkey")]
    policy: Option<PathBuf>,
    /// Print the witness's verifier key, and end.
    #[arg(long)]
    vkey: bool,
}

impl Witness {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let signer = WitnessKey::load_or_create(&self.data, self.name.as_deref())?.into_signer();
        if self.vkey {
            println!("{}", signer.public());
            return Ok(());
        }
        let policy = self.policy.context("--policy FILE names the logs to witness")?;
        let named = || policy.display().to_string();
        let text = fs::read_to_string(&policy).with_context(named)?;
        let policy: Policy = text.parse().with_context(named)?;
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .init();
        let witness = cmtp_server::Witness::open(&self.data, signer, &policy)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(serve(Arc::new(witness), self.listen))
    }
}

async fn serve(witness: Arc<cmtp_server::Witness>, listen: SocketAddr) -> anyhow::Result<()> {
    // Before it says that it listens, so that no signal is missed.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let key = witness.public().clone();
    let http = WitnessHttp::bind(witness, listen).await;
    let http =
        http.with_context(|| format!("can't listen on {listen}; choose another: --listen"))?;
    println!("cmtpd witness listens on http://{} as {key}", http.address()?);
    tokio::select! {
        ended = http.run() => Err(anyhow!("it ended: {ended:?}")),
        // What is half done was answered to nobody.
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
