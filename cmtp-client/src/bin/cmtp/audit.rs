//! `cmtp audit`.

mod entries;
mod export;
mod replay;
mod verify;

use clap::{ColorChoice, Subcommand};

use crate::exit::Outcome;

/// Check what a node promised and did: its log, its journal, its callers' receipts.
///
/// An auditor needs neither the node nor its good will: a copy of its data folder, an archive of it, or the
/// log that it serves is enough. Nothing of what is audited is changed, and the node may run meanwhile.
///
///   cmtp audit verify ~/.local/share/cmtpd --pin did:key:z6Mk…
#[derive(Subcommand)]
#[command(verbatim_doc_comment)]
pub(crate) enum Audit {
    Verify(Box<verify::Verify>),
    Export(export::Export),
    Tail(Box<entries::Tail>),
    Grep(Box<entries::Grep>),
    Replay(replay::Replay),
}

impl Audit {
    pub(crate) fn run(self, color: ColorChoice) -> Outcome {
        match self {
            Self::Verify(verify) => verify.run(color),
            Self::Export(export) => export.run(),
            Self::Tail(tail) => tail.run(),
            Self::Grep(grep) => grep.run(),
            Self::Replay(replay) => replay.run(color),
        }
    }
}
