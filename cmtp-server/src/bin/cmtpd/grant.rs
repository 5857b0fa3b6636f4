//! `cmtpd grant`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use cmtp_codec::{Pattern, PublicKey, Scope};
use cmtp_spec::limits;

use crate::data::Data;

/// Print a token that lets an identity call targets of this node.
///
/// The token is useless without the identity's key. It is signed with the node's key, so this runs where
/// the node's data directory is; the node may run meanwhile. Patterns are targets in which a whole element
/// may be * (one element) or, at the end, ** (the rest). A name is covered by an 0xR pattern, what it
/// stands for by its own.
///
///   cmtpd grant --to did:key:z6Mk… --scope 0xS:echo --scope '0xR:**'
///   cmtpd grant --to did:key:z6Mk… --scope '0xS:**' --write '0xS:0x001:*' --ttl 5m
///   export CMTP_TOKEN=$(cmtpd grant --to "$(cmtp id show)" --scope '0xS:**')
///
/// At least one of --scope and --write is needed. Exit codes: 0, 1, or 2 for usage.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Grant {
    /// DID of the identity: what `cmtp id show` prints.
    #[arg(long, value_name = "DID")]
    to: PublicKey,
    /// Pattern of targets that may be read; may be repeated.
    #[arg(long, value_name = "PATTERN", required_unless_present = "write")]
    scope: Vec<String>,
    /// Pattern of targets that may be written; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    write: Vec<String>,
    /// How long the token lives, 1s to 15m: a number of seconds, or with s or m.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = lifetime)]
    ttl: Duration,
    #[command(flatten)]
    data: Data,
}

impl Grant {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let grant = cmtp_server::Grant {
            to: self.to,
            scope: Scope::new(
                patterns("--scope", &self.scope)?,
                patterns("--write", &self.write)?,
            )?,
            lifetime: self.ttl,
        };
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        // Last, so that a mistake makes no key.
        println!("{}", grant.mint(&self.data.keys()?, now.as_secs())?);
        Ok(())
    }
}

fn patterns(flag: &str, texts: &[String]) -> anyhow::Result<Vec<Pattern>> {
    let parse = |text: &String| {
        // `--write 0xSW:x` says the same as `--write 0xS:x`; tokens hold the read spelling.
        let spelled = match text.split_once(':') {
            Some((opcode, rest)) if flag == "--write" => {
                format!("{}:{rest}", opcode.strip_suffix('W').unwrap_or(opcode))
            }
            _ => text.clone(),
        };
        Pattern::parse(&spelled)
            .with_context(|| format!("{flag} {text} is no pattern, such as 0xS:echo or '0xS:**'"))
    };
    texts.iter().map(parse).collect()
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm']) {
        Some(number) if text.ends_with('m') => (number, 60),
        Some(number) => (number, 1),
        None => (text, 1),
    };
    let number: u64 =
        number.parse().map_err(|_| format!("{text}: expected such as 300s or 15m, the most"))?;
    let seconds = number.saturating_mul(unit);
    // [ADM-4] exp − iat MUST be at most `token-lifetime-max`.
    if !(1..=limits::TOKEN_LIFETIME_MAX).contains(&seconds) {
        return Err(format!("{text}: a token lives 1s to {}m", limits::TOKEN_LIFETIME_MAX / 60));
    }
    Ok(Duration::from_secs(seconds))
}
