//! `cmtp id revoke`.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use cmtp_client::{Existing, Home, NodeUrl, write_whole};

use crate::caller::Caller;
use crate::exit::{Exit, Failure, Outcome};
use crate::{id, login, terminal};

/// State, signed by its recovery key, that a persona's key is in another's hands: a node that is
/// shown it refuses the persona for good, and that can't be undone.
///
/// The statement is a file of JSON, which anybody may carry to a node; it holds no secret.
///
///   cmtp id revoke work --file work.revocation
///   cmtp id revoke work --at cmtp://node.example --at cmtp://127.0.0.1
///
/// A node takes it where the persona said, at its first login there, which recovery key is its own.
/// Each --at is tried, whatever became of those before it.
///
/// Exit codes: 0; 1 where a node refuses; 2 where there is no such persona, its root is on another
/// device, or the file can't be written; 3 where there is no node. Of several nodes the highest.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Revoke {
    /// Which persona.
    name: String,
    /// The file to write; one that is there is replaced.
    #[arg(long, value_name = "FILE", required_unless_present = "at")]
    file: Option<PathBuf>,
    /// Show it to this node, for good; may be repeated.
    #[arg(long, value_name = "URL", value_parser = NodeUrl::of_node)]
    at: Vec<NodeUrl>,
}

impl Revoke {
    pub(crate) fn run(self, home: &Home) -> Outcome {
        self.file.as_deref().map_or(Ok(()), |file| terminal::check_folder("--file", file))?;
        let keyring = id::load(home)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")?;
        let now = u64::try_from(now.as_micros()).context("the clock")?;
        let statement = keyring.revoke(&self.name, now).map_err(Failure::usage)?;
        if let Some(file) = &self.file {
            let text = format!("{}\n", statement.to_json());
            write_whole(file, text.as_bytes(), Existing::Replace)
                .with_context(|| format!("--file {}", file.display()))?;
            eprintln!("show {} to each node that knows {}", file.display(), statement.persona);
        }
        // Who shows it is nobody's business.
        let caller = Caller::nobody(home)?;
        let mut worst = Exit::Success;
        for url in &self.at {
            let place = || url.authority();
            let shown = login::at_node(&caller, url, None, async |channel| {
                let connection = channel.connect().await.map_err(Failure::no_node)?;
                let taken = connection.revoke(&statement).await;
                taken.map_err(|error| login::failed(error).about(place()))?;
                let node = connection.node();
                eprintln!("{node} at {} refuses {} for good", place(), statement.persona);
                Ok(Exit::Success)
            });
            // Whoever has the key goes to the other nodes, too.
            let exit = shown.unwrap_or_else(|failure| {
                failure.say();
                failure.exit()
            });
            worst = worst.max(exit);
        }
        Ok(worst)
    }
}
