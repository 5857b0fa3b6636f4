//! Messages, piece by piece, as the log has them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cmtp_spec::{EntryType, Opcode, limits};

use crate::audit::erased::Erased;
use crate::audit::finding::{Finding, What};
use crate::audit::summary::{Grades, Summary};
use crate::chain::Link;
use crate::journal::{Piece, PieceError, PieceKeys, read_links, redacted};
use crate::key::PublicKey;
use crate::keylist::KeyList;
use crate::message::{Deviation, Grade, Invalid, Place, ProcessVerdict};
use crate::receipt::{Entry, KnownStatements, Receipt};
use crate::seal::Seal;
use crate::trust::Verified;
use crate::verify::Verifier;

/// The messages that have begun and not ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Messages {
    open: BTreeMap<u64, Open>,
}

#[derive(Clone, Debug)]
struct Open {
    entry_type: EntryType,
    opcode: Opcode,
    message_id: [u8; 16],
    time: u64,
    content_erased: bool,
    cores_erased: bool,
    /// `None` where nothing more can be said of the message: no keys, or it was found to be wrong.
    reading: Option<Reading>,
}

#[derive(Clone, Debug)]
struct Reading {
    verifier: Verifier,
    grades: Grades,
}

/// Who seals, and what is known of the node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealer<'a> {
    pub(crate) key: PublicKey,
    pub(crate) root: PublicKey,
    pub(crate) keys: Option<&'a Arc<Verified<KeyList>>>,
    pub(crate) known: &'a Arc<KnownStatements>,
    /// Whether the auditor trusts the node's root key.
    pub(crate) is_trusted: bool,
    /// Whether there are records and their keys.
    pub(crate) reads_records: bool,
}

/// A piece, where it stands, and its R0.
pub(crate) struct Placed<'a> {
    pub(crate) index: u64,
    pub(crate) piece: &'a Piece,
    pub(crate) receipt: Receipt,
    /// Whether its entry was found to be another than the log's, so that nothing more is to be said of it.
    pub(crate) is_foreign: bool,
}

impl Messages {
    pub(crate) fn take(
        &mut self,
        placed: &Placed<'_>,
        sealer: Sealer<'_>,
        erased: &mut Erased,
        summary: &mut Summary,
    ) -> Vec<Finding> {
        let (index, entry, begin) = (placed.index, &placed.piece.entry, placed.piece.begin);
        let mut open = match self.open.remove(&begin) {
            Some(open) => open,
            None if begin == index => Open::new(entry, sealer),
            None if placed.is_foreign => return Vec::new(),
            None => return vec![Finding::at(index, What::NoBeginning)],
        };
        let mut findings = open.check_place(placed);
        if placed.is_foreign || !findings.is_empty() {
            open.reading = None;
        } else if sealer.reads_records {
            findings.extend(open.read(placed, sealer));
        }
        if !entry.ends_message() {
            self.open.insert(begin, open);
            return findings;
        }
        let ended = open.end(placed, sealer, erased, summary);
        findings.extend(ended);
        findings
    }

    /// Intents that are older than any write may be, now that the log is at `time`.
    pub(crate) fn overdue(&self, time: u64) -> impl Iterator<Item = Finding> {
        // [AUD-7] An intent that nothing closed within an id window of the log's last entry.
        let is_overdue = move |open: &Open| {
            open.entry_type == EntryType::INTENT
                && open.time.saturating_add(limits::ID_WINDOW * SECOND) < time
        };
        let overdue = self.open.iter().filter(move |(_, open)| is_overdue(open));
        overdue.map(|(begin, _)| Finding::at(*begin, What::NoOutcome))
    }

    pub(crate) fn open(&self) -> u64 {
        self.open.len() as u64
    }
}

impl Open {
    fn new(entry: &Entry, sealer: Sealer<'_>) -> Self {
        let root = sealer.keys.map(|_| sealer.root);
        let verifier = || {
            Verifier::new(root, sealer.keys.cloned())
                .knowing(Arc::clone(sealer.known))
                .sealed_by(sealer.key)
        };
        let reading = || Reading { verifier: verifier(), grades: Grades::default() };
        Self {
            entry_type: entry.entry_type,
            opcode: entry.opcode,
            message_id: entry.message_id,
            time: entry.time,
            content_erased: false,
            cores_erased: false,
            reading: sealer.reads_records.then(reading),
        }
    }

    /// What can be said without the record.
    fn check_place(&self, placed: &Placed<'_>) -> Vec<Finding> {
        let (index, entry) = (placed.index, &placed.piece.entry);
        let is_first = placed.piece.begin == index;
        let mut findings = Vec::new();
        // [AUD-7] The pieces of a message MUST have one id and one opcode …
        if (self.opcode, self.message_id) != (entry.opcode, entry.message_id) {
            findings.push(Finding::at(index, What::OtherBeginning));
        }
        // … and an intent MUST end with an outcome, and only an intent with a later one.
        let is_outcome = entry.entry_type == EntryType::OUTCOME;
        let ends = entry.ends_message() && !is_first;
        if ends && is_outcome != (self.entry_type == EntryType::INTENT) {
            findings.push(Finding::at(index, What::NoIntent));
        }
        findings
    }

    /// Reads the piece's layers, and has them verified.
    fn read(&mut self, placed: &Placed<'_>, sealer: Sealer<'_>) -> Option<Finding> {
        let hidden = &placed.piece.hidden;
        self.content_erased |= hidden.keys.content() == PieceKeys::DESTROYED;
        self.cores_erased |= hidden.keys.cores() == PieceKeys::DESTROYED;
        // What is forgotten can't be gone on with.
        if self.cores_erased && self.content_erased {
            self.reading = None;
        }
        let reading = self.reading.as_mut()?;
        let finding = reading.piece(placed, sealer).err();
        if finding.is_some() {
            self.reading = None;
        }
        finding
    }

    fn end(
        self,
        placed: &Placed<'_>,
        sealer: Sealer<'_>,
        erased: &mut Erased,
        summary: &mut Summary,
    ) -> Option<Finding> {
        let (index, entry) = (placed.index, &placed.piece.entry);
        if self.content_erased || self.cores_erased {
            erased.add(index, entry, self.cores_erased);
        }
        summary.redacted += u64::from(self.content_erased && !self.cores_erased);
        summary.forgotten += u64::from(self.cores_erased);
        let Some(reading) = self.reading else {
            let is_unread = self.cores_erased || !sealer.reads_records;
            summary.not_checked += u64::from(is_unread);
            return None;
        };
        match reading.seal(placed, sealer) {
            Ok(grades) => {
                summary.messages += 1;
                summary.grades.add(grades);
                None
            }
            Err(finding) => Some(finding),
        }
    }
}

impl Reading {
    fn piece(&mut self, placed: &Placed<'_>, sealer: Sealer<'_>) -> Result<(), Finding> {
        let (index, entry) = (placed.index, &placed.piece.entry);
        // A message may go on under another key list than it began with.
        if let Some(keys) = sealer.keys
            && !self.verifier.keys().is_some_and(|known| Arc::ptr_eq(known, keys))
        {
            self.verifier.renew(Arc::clone(keys));
        }
        let before = self.verifier.layers();
        let (links, cores) = links(placed, before)?;
        let more = cores.as_ref().is_some_and(|cores| cores.len() > links.len());
        for (place, link) in links.into_iter().enumerate() {
            let number = self.verifier.layers();
            check_time(placed, sealer, number, &link)?;
            let grade = match (link.is_signed(), number) {
                (true, 0) => Grade::SignedByCaller,
                (true, _) => Grade::SignedByService,
                (false, _) if sealer.is_trusted => Grade::VouchedByNode,
                (false, _) => Grade::Unproved,
            };
            self.verifier.check_link(&link).map_err(|invalid| blame(index, invalid))?;
            self.grades.count(grade);
            // [AUD-5] The cores of a record MUST be those of its layers.
            let is_same = |cores: &Vec<Link>| {
                cores.get(place) == Some(&redacted(self.verifier.chain(), &link))
            };
            if !cores.as_ref().is_none_or(is_same) {
                return Err(other_core(index, number));
            }
        }
        if more {
            return Err(other_core(index, self.verifier.layers()));
        }
        if self.verifier.layers() == before {
            return Err(Finding::at(index, What::Record(PieceError::OtherSeal)));
        }
        let place = |fault| blame(index, Invalid { place: Place::Seal, fault });
        match entry.entry_type {
            EntryType::INTENT => self.verifier.check_intent(entry).map_err(place),
            EntryType::SEGMENT => {
                self.verifier.interim(seal(placed, sealer)).map_err(|invalid| blame(index, invalid))
            }
            _ => Ok(()),
        }
    }

    fn seal(self, placed: &Placed<'_>, sealer: Sealer<'_>) -> Result<Grades, Finding> {
        let index = placed.index;
        let judged =
            self.verifier.seal(seal(placed, sealer)).map_err(|invalid| blame(index, invalid))?;
        // [AUD-6] The process of each message MUST be that of its opcode.
        if let ProcessVerdict::Breaks(deviation) = &judged.process {
            let layer = match deviation {
                Deviation::Time { layer }
                | Deviation::Unresolved { layer }
                | Deviation::BecameWrite { layer } => u32::try_from(*layer).ok(),
                Deviation::Steps(_) => None,
            };
            let what = What::Process(deviation.clone());
            return Err(Finding { index: Some(index), layer, what });
        }
        Ok(self.grades)
    }
}

fn seal(placed: &Placed<'_>, sealer: Sealer<'_>) -> Seal {
    let receipt = Some(placed.receipt.clone());
    Seal { receipt, ..Seal::new(sealer.key, placed.piece.entry.seal) }
}

/// The layers of a piece, from its content where it is there, and the cores that then have to be theirs; else its cores alone.
fn links(placed: &Placed<'_>, number: u32) -> Result<(Vec<Link>, Option<Vec<Link>>), Finding> {
    let (index, piece) = (placed.index, placed.piece);
    let reveal = |key: &[u8], plain: Option<Bytes>| match plain {
        None if key == PieceKeys::DESTROYED => Ok(None),
        // [AUD-5] A record that its keys don't open MUST be reported.
        None => Err(Finding::at(index, What::OtherRecord)),
        Some(frames) => {
            let links = read_links(frames, number);
            links.map(Some).map_err(|error| Finding::at(index, What::Record(error)))
        }
    };
    let hidden = &piece.hidden;
    let content = reveal(hidden.keys.content(), hidden.content(&piece.entry.seal))?;
    let cores = reveal(hidden.keys.cores(), hidden.cores(&piece.entry.seal))?;
    Ok(match content {
        Some(content) => (content, cores),
        // It was checked before that one of both is there.
        None => (cores.unwrap_or_default(), None),
    })
}

const fn other_core(index: u64, layer: u32) -> Finding {
    Finding { index: Some(index), layer: Some(layer), what: What::OtherCore }
}

/// [RCP-15] An auditor MUST report a node layer whose time is more than `clock-skew-max` from that of its first entry.
fn check_time(
    placed: &Placed<'_>,
    sealer: Sealer<'_>,
    number: u32,
    link: &Link,
) -> Result<(), Finding> {
    let seconds = link.time().abs_diff(placed.piece.entry.time) / SECOND;
    if number == 0 || link.actor() != sealer.key || seconds <= limits::CLOCK_SKEW_MAX {
        return Ok(());
    }
    Err(Finding { index: Some(placed.index), layer: Some(number), what: What::Skew { seconds } })
}

fn blame(index: u64, invalid: Invalid) -> Finding {
    let layer = match invalid.place {
        Place::Layer(layer) => Some(layer),
        _ => None,
    };
    Finding { index: Some(index), layer, what: What::Message(invalid.place, invalid.fault) }
}

const SECOND: u64 = 1_000_000;
