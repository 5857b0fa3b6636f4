//! What a journal's files hold, as bytes and as types: `cmtp-spec/spec/17-journal.md`.
//!
//! A node writes it, its auditors read it. Nothing here opens a file.

mod commit;
mod erasure;
mod message;
mod piece;
mod scan;
mod sealers;

pub(crate) use crate::journal::commit::receipt;
pub use crate::journal::commit::{ALIGN, Commit, PREFIX, body_length, framed};
pub use crate::journal::erasure::{Degree, Erasure};
pub use crate::journal::message::{MessageReader, PieceError, read_links, redacted};
pub use crate::journal::piece::{Hidden, Piece, PieceKeys};
pub use crate::journal::scan::{Broken, Damage, HEADER, Scanned, header, scan};
pub use crate::journal::sealers::Sealers;
pub(crate) use crate::journal::sealers::noted_list;
