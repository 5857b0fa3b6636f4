//! `cmtpd hangup`.

use std::time::Duration;

use clap::Args;
use cmtp_codec::Fqmn;
use cmtp_spec::binding;

use crate::data::Data;
use crate::operator;
use crate::root::Root;

/// End sessions: tokens are refused at once, on every connection, and streams are cut.
///
/// A session is named by the `jti` of any of its tokens, as `cmtp sessions` shows it; a DID names all sessions of a persona,
/// and the tokens that `cmtpd grant` made for it so far. It holds after restarts, too. The persona may open another
/// session; what it may do there is for policies to say (cmtpd policy --help).
///
///   cmtpd hangup 3q2-7wAAAAAAAAAAAAAAAA
///   cmtpd hangup did:key:z6Mk…
///
/// The node has to run; one that does not run serves no session. Exit codes: 0; 1 where nothing was ended; 2 for usage.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Hangup {
    /// What ends.
    #[arg(value_name = "JTI|DID")]
    what: String,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    root: Root,
}

impl Hangup {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let folder = self.data.folder()?;
        let target = Fqmn::parse(binding::SESSION_HANGUP)?.with_words([self.what.as_str()])?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(operator::ask(&folder, &self.root, target, PATIENCE))?;
        println!("{} is over", self.what);
        Ok(())
    }
}

/// For one entry to be durable.
const PATIENCE: Duration = Duration::from_secs(30);
