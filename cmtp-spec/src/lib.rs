//! CMTP's numbers and words, as Rust constants.
//!
//! The protocol itself is the text beside this crate: chapters in `spec/`, numbers in `registry/*.toml`, test vectors
//! in `vectors/`. This crate only repeats the registry; it parses nothing, allocates nothing and depends on nothing.
//!
//! Start from [`FrameType`], [`Step`] and [`Opcode`]; lengths and counts are in [`limits`].
#![no_std]

mod generated;

pub use generated::*;

use core::fmt;

/// A registry of numbers that a peer may send: known values are constants, unknown ones live.
macro_rules! registry {
    ($(#[$doc:meta])* $type:ident: $repr:ident { $($constant:ident = $number:expr, $name:expr, $note:expr;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub $repr);

        impl $type {
            $(#[doc = $note] pub const $constant: Self = Self($number);)*

            /// Every registered value, in the registry's order.
            pub const ALL: &[Self] = &[$(Self::$constant),*];

            /// The registered name, or `None` for a number that is not registered.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$constant => Some($name),)*
                    _ => None,
                }
            }

            /// The value that is registered under `name`.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$constant),)*
                    _ => None,
                }
            }
        }

        impl core::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{:#x}", self.0),
                }
            }
        }

        impl core::fmt::Debug for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{}({self})", stringify!($type))
            }
        }
    };
}
pub(crate) use registry;

/// An entry of the static field table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its number on the wire.
    pub index: FieldIndex,
    /// Its name, which is what is hashed.
    pub name: &'static str,
    /// What its value must be.
    pub kind: FieldKind,
    /// Whether it stands among the public or the private fields.
    pub class: FieldClass,
}

impl Field {
    /// Whether this is one of CMTP's own fields, whose kind, class and uniqueness bind (`spec/03-layers.md`).
    pub const fn is_own(&self) -> bool {
        self.index.0 >= FieldIndex::MESSAGE_ID.0
    }
}

impl FieldIndex {
    /// The entry of the static table, or `None` for a number that it does not have.
    pub const fn field(self) -> Option<Field> {
        if self.0 < BY_INDEX.len() as u64 { BY_INDEX[self.0 as usize] } else { None }
    }
}

const BY_INDEX: [Option<Field>; 64] = {
    let mut table = [None; 64];
    let mut at = 0;
    while at < FIELDS.len() {
        table[FIELDS[at].index.0 as usize] = Some(FIELDS[at]);
        at += 1;
    }
    table
};

/// What a field's value must be: `spec/03-layers.md`. Closed, because the field table is frozen for version 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Any bytes.
    Bytes,
    /// UTF-8.
    Text,
    /// A JSON array (RFC 8259).
    Json,
    /// Nothing: the field's presence is the statement.
    Flag,
    /// 8 bytes, big-endian.
    Number,
    /// 8 bytes, big-endian: microseconds since 1970-01-01 00:00 UTC, below 2^62.
    Time,
    /// 16 bytes: a UUIDv7.
    Id,
    /// 32 bytes: an Ed25519 public key.
    Key,
    /// 32 bytes: a SHA-256 value.
    Digest,
    /// 1 byte: a [`JournalMode`].
    Mode,
    /// 1 byte: a [`ConnectionKind`].
    Kind,
    /// 1 byte: a [`BusAuth`].
    Scheme,
}

/// Whether a field is hashed together with others in the clear, or alone so that it can be withheld. Closed: a layer
/// has these two lists and no third.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldClass {
    /// One leaf with all other public fields.
    Public,
    /// A leaf of its own.
    Private,
}

/// Whether a request may be sent again: `spec/08-statuses.md`. Closed: these four cover every case by their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// No.
    Never,
    /// The same origin bytes may be sent again.
    Same,
    /// The same origin bytes may be sent again after `retry-after`.
    Later,
    /// A new request, once the remedy is done.
    New,
}

/// A word that tells a program what to do next: `spec/08-statuses.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Remedy(pub &'static str);

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The grammar of a process: `spec/07-processes.md`. Closed: a matcher must know every form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// A layer of this step.
    Step(Step),
    /// A layer of this step, signed by its actor.
    Signed(Step),
    /// One after the other.
    Seq(&'static [Process]),
    /// One of these.
    Alt(&'static [Process]),
    /// Any number of times.
    Star(&'static Process),
    /// At most once.
    Opt(&'static Process),
    /// The whole of it, or a beginning whose last layer has a status of 400 or more.
    Stop(&'static Process),
}

impl Opcode {
    /// The opcode that a target begins with, up to its first `:` or its end; 0 where that is none of the table: chapter 13.
    pub fn of_target(target: &str) -> Self {
        let first = target.split(':').next().unwrap_or_default();
        Self::from_name(first).unwrap_or(Self(0))
    }
}
