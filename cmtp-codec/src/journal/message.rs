//! A message as it is read back from its pieces.

use bytes::{Bytes, BytesMut};
use cmtp_spec::{EntryType, limits};

use crate::assemble::{Assembler, Part, Source};
use crate::chain::{Chain, Link, LinkError};
use crate::core::RedactedLayer;
use crate::error::{DecodeError, DecodeErrorKind};
use crate::frame::{Frame, FrameReader};
use crate::journal::piece::Piece;
use crate::key::PublicKey;
use crate::message::Message;
use crate::receipt::Receipt;
use crate::seal::Seal;

/// Puts a message together again, piece by piece, and checks that it is what was sealed.
#[derive(Debug)]
pub struct MessageReader {
    sealers: Vec<PublicKey>,
    chain: Chain,
    links: Vec<Link>,
    interims: Vec<(u32, Seal)>,
    seal: Option<Seal>,
    /// A piece has neither content nor cores: the chain can't be followed beyond it.
    lost: bool,
}

impl MessageReader {
    /// A message of which no piece was read; `sealers` are the keys that may have sealed it.
    pub const fn new(sealers: Vec<PublicKey>) -> Self {
        let chain = Chain::EMPTY;
        Self { sealers, chain, links: Vec::new(), interims: Vec::new(), seal: None, lost: false }
    }

    /// Takes the next piece of the message.
    ///
    /// # Errors
    /// [`PieceError`] where it was erased, or is not what its entry says.
    pub fn push(&mut self, piece: &Piece, receipt: Receipt) -> Result<(), PieceError> {
        let keys = &piece.hidden.keys;
        if !keys.has_content() || !keys.has_cores() {
            return Err(PieceError::Erased);
        }
        self.push_left(piece, receipt)
    }

    /// Takes the next piece of a message that may be erased, and checks what is left of it: without its content the cores,
    /// without both nothing more of the message.
    ///
    /// # Errors
    /// [`PieceError`] where what is left is not what its entry says.
    pub fn push_left(&mut self, piece: &Piece, receipt: Receipt) -> Result<(), PieceError> {
        let (entry, keys) = (&piece.entry, &piece.hidden.keys);
        let (content, cores) = (piece.hidden.content(&entry.seal), piece.hidden.cores(&entry.seal));
        if content.is_some() != keys.has_content() || cores.is_some() != keys.has_cores() {
            return Err(PieceError::OtherKey);
        }
        let Some(frames) = content.or_else(|| cores.clone()).filter(|_| !self.lost) else {
            self.lost = true;
            return Ok(());
        };
        let (before, mut expected_cores) = (self.links.len(), BytesMut::new());
        for link in read_links(frames, self.chain.length())? {
            self.chain.push(&link)?;
            redacted(&self.chain, &link).encode(&mut expected_cores);
            self.links.push(link);
        }
        let length = self.chain.length();
        let is_sealer = |key: &&PublicKey| match entry.entry_type {
            EntryType::SEGMENT => self.chain.interim_seal(key) == entry.seal,
            _ => self.chain.seal(key) == entry.seal,
        };
        let is_intent = entry.entry_type == EntryType::INTENT;
        let sealer = if is_intent { None } else { self.sealers.iter().find(is_sealer).copied() };
        let is_sealed = sealer.is_some() || is_intent && self.chain.head() == entry.seal;
        let has_other_cores = cores.is_some_and(|cores| cores != expected_cores);
        let is_whole = self.links.len() > before && !has_other_cores;
        if !is_sealed || length != entry.layers || !is_whole {
            return Err(PieceError::OtherSeal);
        }
        let Some(sealer) = sealer else { return Ok(()) };
        let seal = Seal { receipt: Some(receipt), ..Seal::new(sealer, entry.seal) };
        match entry.entry_type {
            EntryType::SEGMENT => self.interims.push((length, seal)),
            _ => self.seal = Some(seal),
        }
        Ok(())
    }

    /// Other keys may have sealed what comes next.
    pub fn sealed_by(&mut self, sealers: Vec<PublicKey>) {
        self.sealers = sealers;
    }

    /// The chain so far.
    pub const fn chain(&self) -> Chain {
        self.chain
    }

    /// The layers so far.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The frames of the recorded answer, up to its SEAL, which says that it is recorded.
    pub fn answer_frames(mut self) -> Option<Bytes> {
        let mut seal = self.seal.take()?;
        seal.recorded = true;
        let mut out = BytesMut::new();
        let mut interims = self.interims.into_iter().peekable();
        for (number, link) in (1..).zip(&self.links) {
            if number > 1 {
                link.encode(&mut out);
            }
            while let Some((_, seal)) = interims.next_if(|(covered, _)| *covered == number) {
                Frame::Interim(Box::new(seal)).encode(&mut out);
            }
        }
        Frame::Seal(Box::new(seal)).encode(&mut out);
        Some(out.freeze())
    }

    /// The whole message, where its seal was reached.
    pub fn into_message(self) -> Option<Message> {
        Some(Message { links: self.links, interims: self.interims, seal: self.seal? })
    }
}

/// What a link leaves behind when it is redacted; the chain has just taken it.
pub fn redacted(chain: &Chain, link: &Link) -> Link {
    match (link, chain.core()) {
        (Link::Layer(layer), Some(core)) => {
            Link::Core(RedactedLayer { core: *core, signature: layer.signature })
        }
        _ => link.clone(),
    }
}

/// The links whose frames these are, after `number` others.
///
/// # Errors
/// [`PieceError`] where a frame is malformed or in a wrong place.
pub fn read_links(frames: Bytes, number: u32) -> Result<Vec<Link>, PieceError> {
    let mut assembler = Assembler::new(Source::Stored, limits::STORED_MAX).after(number);
    let mut reader = FrameReader::new(0);
    reader.push_bytes(frames);
    let mut links = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        if let Some(Part::Link(link)) = assembler.take(frame)? {
            links.push(*link);
        }
    }
    Ok(links)
}

/// Why a message can't be read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PieceError {
    /// A key is destroyed.
    #[error("the content was erased")]
    Erased,
    /// A key that is there, or what it hides, was changed.
    #[error("a key does not fit what it hides")]
    OtherKey,
    /// A frame.
    #[error("the recorded frames: {0}")]
    Frame(#[from] DecodeError),
    /// The place of a frame.
    #[error("the recorded frames: {0}")]
    Place(#[from] DecodeErrorKind),
    /// A layer.
    #[error("the recorded layers: {0}")]
    Link(#[from] LinkError),
    /// Layers, cores or their number.
    #[error("the recorded layers are not those that were sealed")]
    OtherSeal,
}
