//! `cmtpd hangup`.

use std::time::Duration;

use clap::Args;
use cmtp_codec::session::GrantName;
use cmtp_codec::{Fqmn, PublicKey};
use cmtp_spec::binding;

use crate::data::Data;
use crate::operator;
use crate::root::Root;

/// End sessions: tokens are refused at once, on every connection, and streams are cut.
///
/// A session is named by the `jti` of any of its tokens, as `cmtp sessions` shows it; a token of
/// `cmtpd grant` by its own, which begins with op. A DID names all sessions of a persona, and the
/// tokens that `cmtpd grant` made for it so far. What is named is refused from now on, after
/// restarts, too; a name that no token has is taken like any other. The persona may open another
/// session; what it may do there is for policies to say (cmtpd policy --help).
///
///   cmtpd hangup 3q2-7wAAAAAAAAAAAAAAAA
///   cmtpd hangup did:key:z6Mk…
///
/// The node has to run; one that does not run serves no session. Exit codes: 0; 1 where there is no
/// such node, or it could not note it; 2 for usage, and for what is neither a `jti` nor a DID.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Hangup {
    /// What ends.
    #[arg(value_name = "JTI|DID", value_parser = named)]
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
        match self.what.parse::<PublicKey>() {
            Ok(did) => println!("what {did} was granted until now is refused from now on"),
            Err(_jti) => println!("{} is refused from now on", self.what),
        }
        Ok(())
    }
}

/// The node takes any word for the `jti` of some token; here a slip of the finger is to be noticed.
fn named(text: &str) -> Result<String, String> {
    let is_named = text.parse::<PublicKey>().is_ok()
        || GrantName::of_jti(text).is_some()
        || text.strip_prefix(binding::OPERATOR_TOKEN).is_some_and(|id| !id.is_empty());
    let expected = "expected a session's name, 22 characters as `cmtp sessions` shows them; the `jti` of a token of \
                    `cmtpd grant`, op.…; or a persona's DID, did:key:z6Mk…";
    is_named.then(|| text.to_owned()).ok_or_else(|| expected.to_owned())
}

/// For one entry to be durable.
const PATIENCE: Duration = Duration::from_secs(30);
