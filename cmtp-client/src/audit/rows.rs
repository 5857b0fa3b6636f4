//! Entries of a journal as people look for them.

use std::collections::BTreeMap;

use cmtp_codec::journal::{Piece, read_links};
use cmtp_codec::{Body, Entry, Layer, Link};
use cmtp_spec::{EntryType, FieldIndex, Opcode};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use crate::audit::error::AuditError;
use crate::audit::journal::{Journal, Next};
use crate::value;

/// Which entries are looked for; what is not set does not matter.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Filter {
    /// First time, microseconds since 1970.
    pub since: Option<u64>,
    /// First time that is too late.
    pub until: Option<u64>,
    /// Lowest and highest status.
    pub status: Option<(u16, u16)>,
    /// Opcode.
    pub opcode: Option<Opcode>,
    /// Type of the entry.
    pub entry_type: Option<EntryType>,
    /// What the target contains, where it can be read.
    pub target: Option<String>,
    /// What a field or body contains, where they can be read.
    pub text: Option<String>,
}

/// An entry, and what can be read of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Row {
    /// Its index.
    pub index: u64,
    /// The entry.
    pub entry: Entry,
    /// Index of the entry with which its message began.
    pub begin: u64,
    /// The target of its message, where it can be read.
    pub target: Option<String>,
}

/// Shows the entries of a journal that `filter` looks for, in their order.
///
/// # Errors
/// [`AuditError`]; [`AuditError::Broken`] where the journal can't be read to its end.
pub fn rows(
    mut journal: Journal,
    filter: &Filter,
    mut show: impl FnMut(Row) -> Result<(), AuditError>,
) -> Result<(), AuditError> {
    let mut targets: BTreeMap<u64, Option<String>> = BTreeMap::new();
    loop {
        let commit = match journal.read()? {
            Next::Commit(commit) => commit,
            Next::Entries(_) | Next::FileEnd => continue,
            Next::Broken { index, what, .. } => {
                return Err(AuditError::Broken {
                    folder: journal.folder().to_owned(),
                    index,
                    what,
                });
            }
            Next::End => return Ok(()),
        };
        for (index, piece) in (commit.first..).zip(&commit.pieces) {
            let (entry, begin) = (piece.entry, piece.begin);
            let goes_on = matches!(entry.entry_type, EntryType::INTENT | EntryType::SEGMENT);
            let is_wanted = filter.takes(&entry);
            let is_later = begin != index;
            if !is_wanted && !goes_on && !is_later {
                continue;
            }
            let links = if is_wanted || !is_later { links(piece, index) } else { Vec::new() };
            let target = match targets.remove(&begin) {
                Some(target) => target,
                None => target(&links),
            };
            if goes_on {
                targets.insert(begin, target.clone());
            }
            if is_wanted && filter.takes_content(target.as_deref(), &links) {
                show(Row { index, entry, begin, target })?;
            }
        }
    }
}

impl Filter {
    fn takes(&self, entry: &Entry) -> bool {
        self.since.is_none_or(|since| entry.time >= since)
            && self.until.is_none_or(|until| entry.time < until)
            && self.status.is_none_or(|(low, high)| (low..=high).contains(&entry.status.0))
            && self.opcode.is_none_or(|opcode| entry.opcode == opcode)
            && self.entry_type.is_none_or(|entry_type| entry.entry_type == entry_type)
    }

    fn takes_content(&self, target: Option<&str>, links: &[Link]) -> bool {
        let has = |text: &String| target.is_some_and(|target| target.contains(text.as_str()));
        self.target.as_ref().is_none_or(has)
            && self
                .text
                .as_ref()
                .is_none_or(|text| links.iter().filter_map(Link::layer).any(|it| holds(it, text)))
    }
}

impl Row {
    /// A line for people.
    pub fn line(&self) -> String {
        let Entry { entry_type, opcode, status, message_id, time, .. } = self.entry;
        let status = if status.0 == 0 { "-".to_owned() } else { status.0.to_string() };
        let target = self.target.as_deref().map(value::printable).unwrap_or_default();
        let (time, id) = (value::time(time), value::message_id(message_id));
        format!("{:8}  {time}  {entry_type:9} {status:>3} {opcode:4} {id} {target}", self.index)
            .trim_end()
            .to_owned()
    }

    /// An object for programs.
    pub fn json(&self) -> Value {
        let Entry { entry_type, opcode, flags, status, layers, time, message_id, seal } =
            self.entry;
        json!({
            "index": self.index,
            "begin": self.begin,
            "time": value::time(time),
            "type": entry_type.to_string(),
            "opcode": opcode.to_string(),
            "flags": flags.0,
            "status": status.0,
            "layers": layers,
            "message_id": value::message_id(message_id),
            "seal": HEXLOWER.encode(&seal.0),
            "target": self.target,
        })
    }
}

/// The layers of a piece, as far as they can be read.
fn links(piece: &Piece, index: u64) -> Vec<Link> {
    let content = piece.hidden.content(&piece.entry.seal);
    let number = u32::from(piece.begin != index);
    content.and_then(|content| read_links(content, number).ok()).unwrap_or_default()
}

fn target(links: &[Link]) -> Option<String> {
    links.first()?.layer()?.text(FieldIndex::TARGET).map(str::to_owned)
}

fn holds(layer: &Layer, text: &str) -> bool {
    let is_in = |bytes: &[u8]| bytes.windows(text.len().max(1)).any(|it| it == text.as_bytes());
    layer.fields().any(|field| is_in(&field.value))
        || matches!(&layer.body, Body::Present { data, .. } if is_in(data))
}
