//! What an auditor finds.

use std::fmt;

use crate::hash::Digest;
use crate::journal::PieceError;
use crate::key::SignatureError;
use crate::log::Tile;
use crate::message::{Deviation, Fault, Place};

/// Something that does not hold, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Index of the first entry that it concerns; `None` where it concerns the log as a whole.
    pub index: Option<u64>,
    /// The layer of the entry's message, where one is to blame.
    pub layer: Option<u32>,
    /// What it is.
    pub what: What,
}

impl Finding {
    /// What concerns an entry.
    pub const fn at(index: u64, what: What) -> Self {
        Self { index: Some(index), layer: None, what }
    }

    /// What concerns the log as a whole.
    pub const fn of_log(what: What) -> Self {
        Self { index: None, layer: None, what }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.index, self.layer) {
            (Some(index), Some(layer)) => write!(f, "entry {index}, layer {layer}: {}", self.what),
            (Some(index), None) => write!(f, "entry {index}: {}", self.what),
            (None, _) => write!(f, "log: {}", self.what),
        }
    }
}

/// What does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum What {
    /// The files of the journal.
    #[error("the journal's files: {0}")]
    Files(&'static str),
    /// An entry whose bytes are none.
    #[error("its bytes are no entry")]
    NoEntry,
    /// Its time.
    #[error("its time is before that of the entry before it")]
    TimeWentBack,
    /// Its time and the commit's.
    #[error("its time is not that of its commit")]
    OtherTime,
    /// Its flag `async` and the commit's mode.
    #[error("its flag `async` and the mode of its commit disagree")]
    OtherMode,
    /// The entry and the log's tile.
    #[error("it is not the leaf that the log holds there")]
    OtherLeaf,
    /// The log has more entries than the journal.
    #[error("the log goes on to {size} entries, and the journal ends before this one")]
    Missing {
        /// Entries under the checkpoint.
        size: u64,
    },
    /// A tile that is not there, or is none.
    #[error("the log's tile {0} is missing or not of its size")]
    NoTile(TileName),
    /// A tile above the leaves.
    #[error("the log's tile {0} is not what the tiles below it make")]
    OtherTile(TileName),
    /// The root.
    #[error("the tree of {size} entries has another root than the {by}")]
    OtherRoot {
        /// Entries in the tree.
        size: u64,
        /// Who says otherwise.
        by: RootOf,
    },
    /// The tiles, where the entries have the signed root.
    #[error(
        "the checkpoint is over the entries as the journal has them: a tile was changed, no entry"
    )]
    TileAtFault,
    /// The log is shorter than it was.
    #[error("the log has {size} entries and had {kept} when this auditor looked last")]
    Shrunk {
        /// Entries now.
        size: u64,
        /// Entries then.
        kept: u64,
    },
    /// The signature over a commit.
    #[error("R0 of its commit: {0}")]
    Statement(SignatureError),
    /// The key of a commit.
    #[error("R0 of its commit is by none of the node's layer keys at its time")]
    ForeignKey,
    /// A commit that lost its end.
    #[error(
        "its commit was signed with more entries, of which the first that is missing is this one"
    )]
    CutCommit,
    /// The first entry, or a later one that opens a log.
    #[error(
        "no entry `opened` that begins this log, or one without a higher number than the log before it"
    )]
    NotOpened,
    /// A note whose content is not what F says.
    #[error("its content is not what its F is the digest of")]
    OtherNote,
    /// A key list in a note.
    #[error("the key list that it notes is not one of this node")]
    BadKeyList,
    /// The key list that the auditor was given.
    #[error("the node's latest key list, noted here, is not the one that was given")]
    OtherKeyList,
    /// A record that can't be read with its keys.
    #[error("its record is not what its keys hide")]
    OtherRecord,
    /// A record.
    #[error("{0}")]
    Record(PieceError),
    /// A core that is not that of its layer.
    #[error("the layer and its core differ")]
    OtherCore,
    /// A message.
    #[error("{0}: {1}")]
    Message(Place, Fault),
    /// The process.
    #[error("the process: {0}")]
    Process(Deviation),
    /// A node layer's time.
    #[error("the node's layer is {seconds} seconds away from its entry")]
    Skew {
        /// How far.
        seconds: u64,
    },
    /// A piece of no message.
    #[error("its message does not begin where it says")]
    NoBeginning,
    /// A piece of another message.
    #[error("its message began with another id or opcode")]
    OtherBeginning,
    /// An intent that nothing closes.
    #[error("an intent without an outcome, and the log goes on")]
    NoOutcome,
    /// An outcome of a message whose beginning is no intent, or an intent that ends as something else.
    #[error("its message began with an intent and does not end with an outcome, or the reverse")]
    NoIntent,
    /// Content that is gone.
    #[error("its content was erased, and no entry says so")]
    ErasedSilently,
    /// Cores that are gone.
    #[error("its cores were erased, and no entry says so")]
    ForgottenSilently,
    /// An entry that says that a message was erased that was not.
    #[error("it says that a message was erased, and none with this F was")]
    NotErased,
    /// An entry that says that a message was erased and names it wrongly.
    #[error("the message that it says was erased has another id or opcode")]
    OtherErased,
    /// Somebody was promised another entry at this index.
    #[error(
        "{receipt}: the node promised another entry at this index: the log and this receipt prove that it told two stories"
    )]
    OtherPromised {
        /// Whose promise.
        receipt: String,
    },
    /// Somebody was promised an entry that is not there.
    #[error(
        "{receipt}: the node promised this entry, its time is past, and it is not there: an omission, which this receipt proves"
    )]
    Omitted {
        /// Whose promise.
        receipt: String,
    },
    /// Two promises at one index.
    #[error(
        "{first} and {second} are promises of different entries at this index: together they prove that the node told two stories"
    )]
    Equivocation {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A receipt that is not of this log.
    #[error("{receipt}: it is a receipt of the log {origin}")]
    OtherLog {
        /// The receipt.
        receipt: String,
        /// Its log.
        origin: String,
    },
    /// Policies that decide otherwise than the node did.
    #[error("the node says {recorded:?} of who asked, and its policies say {judged:?}")]
    OtherDecision {
        /// What the node recorded.
        recorded: String,
        /// What its policies say.
        judged: String,
    },
    /// A name that policies deny what it stands for.
    #[error("the node let a name stand for {target}, and its policies say {judged:?} of it")]
    DeniedName {
        /// What the name stands for.
        target: String,
        /// What the policies say.
        judged: String,
    },
    /// Policies that nobody has.
    #[error(
        "it was decided by policies that neither the journal notes nor the auditor was given: {0}"
    )]
    UnknownPolicies(Digest),
    /// No policies, where there are some.
    #[error("the node says that the scope alone decided, and the journal notes policies before it")]
    NoPolicies,
    /// The checkpoint.
    #[error("the checkpoint: {0}")]
    Checkpoint(String),
}

impl What {
    /// A word for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Files(_) => "files",
            Self::NoEntry => "no-entry",
            Self::TimeWentBack => "time-went-back",
            Self::OtherTime => "other-time",
            Self::OtherMode => "other-mode",
            Self::OtherLeaf => "other-leaf",
            Self::Missing { .. } => "missing",
            Self::NoTile(_) => "no-tile",
            Self::OtherTile(_) => "other-tile",
            Self::OtherRoot { .. } => "other-root",
            Self::TileAtFault => "tile-at-fault",
            Self::Shrunk { .. } => "shrunk",
            Self::Statement(_) => "statement",
            Self::ForeignKey => "foreign-key",
            Self::CutCommit => "cut-commit",
            Self::NotOpened => "not-opened",
            Self::OtherNote => "other-note",
            Self::BadKeyList => "bad-key-list",
            Self::OtherKeyList => "other-key-list",
            Self::OtherRecord => "other-record",
            Self::Record(_) => "record",
            Self::OtherCore => "other-core",
            Self::Message(..) => "message",
            Self::Process(_) => "process",
            Self::Skew { .. } => "skew",
            Self::NoBeginning => "no-beginning",
            Self::OtherBeginning => "other-beginning",
            Self::NoOutcome => "no-outcome",
            Self::NoIntent => "no-intent",
            Self::ErasedSilently => "erased-silently",
            Self::ForgottenSilently => "forgotten-silently",
            Self::NotErased => "not-erased",
            Self::OtherErased => "other-erased",
            Self::OtherPromised { .. } => "other-promised",
            Self::Omitted { .. } => "omitted",
            Self::Equivocation { .. } => "equivocation",
            Self::OtherLog { .. } => "other-log",
            Self::OtherDecision { .. } => "other-decision",
            Self::DeniedName { .. } => "denied-name",
            Self::UnknownPolicies(_) => "unknown-policies",
            Self::NoPolicies => "no-policies",
            Self::Checkpoint(_) => "checkpoint",
        }
    }
}

/// A tile as findings name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileName(pub Tile);

impl fmt::Display for TileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tile { level, number, width } = self.0;
        write!(f, "{level}/{number}")?;
        if width < Tile::FULL { write!(f, ".p/{width}") } else { Ok(()) }
    }
}

/// Who names a root. Closed: an auditor knows these two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootOf {
    /// The log's checkpoint.
    Checkpoint,
    /// The checkpoint that this auditor kept.
    Kept,
}

impl fmt::Display for RootOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checkpoint => "checkpoint",
            Self::Kept => "checkpoint that this auditor kept",
        })
    }
}
