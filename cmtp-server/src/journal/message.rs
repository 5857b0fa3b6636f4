//! A message as it is read back from its pieces.

use std::io;

use bytes::{Bytes, BytesMut};
use cmtp_codec::{
    Assembler, Chain, DecodeError, DecodeErrorKind, Frame, FrameReader, Link, LinkError, Message,
    Part, PublicKey, Receipt, Seal, Source,
};
use cmtp_spec::{EntryType, limits};

use crate::journal::piece::Piece;

/// Puts a message together again, piece by piece, and checks that it is what was sealed.
pub(crate) struct MessageReader {
    node: PublicKey,
    chain: Chain,
    links: Vec<Link>,
    interims: Vec<(u32, Seal)>,
    seal: Option<Seal>,
}

impl MessageReader {
    pub(crate) const fn new(node: PublicKey) -> Self {
        let chain = Chain::EMPTY;
        Self { node, chain, links: Vec::new(), interims: Vec::new(), seal: None }
    }

    /// Takes the next piece of the message.
    ///
    /// # Errors
    /// [`ReadError`] where it was erased, or is not what its entry says.
    pub(crate) fn push(&mut self, piece: &Piece, receipt: Receipt) -> Result<(), ReadError> {
        let entry = &piece.entry;
        let content = piece.hidden.content(&entry.seal).ok_or(ReadError::Erased)?;
        let cores = piece.hidden.cores(&entry.seal).ok_or(ReadError::Erased)?;
        let (before, mut expected_cores) = (self.links.len(), BytesMut::new());
        for link in read_links(content, self.chain.length())? {
            self.chain.push(&link)?;
            redacted(&self.chain, &link).encode(&mut expected_cores);
            self.links.push(link);
        }
        let length = self.chain.length();
        let sealed = match entry.entry_type {
            EntryType::INTENT => self.chain.head(),
            EntryType::SEGMENT => self.chain.interim_seal(&self.node),
            _ => self.chain.seal(&self.node),
        };
        let is_whole = self.links.len() > before && cores == expected_cores;
        if sealed != entry.seal || length != entry.layers || !is_whole {
            return Err(ReadError::OtherSeal);
        }
        let seal = Seal { receipt: Some(receipt), ..Seal::new(self.node, entry.seal) };
        match entry.entry_type {
            EntryType::INTENT => {}
            EntryType::SEGMENT => self.interims.push((length, seal)),
            _ => self.seal = Some(seal),
        }
        Ok(())
    }

    /// The chain so far.
    pub(crate) const fn chain(&self) -> Chain {
        self.chain
    }

    /// The layers so far.
    pub(crate) fn links(&self) -> &[Link] {
        &self.links
    }

    /// The frames of the recorded answer, up to its SEAL, which says that it is recorded.
    pub(crate) fn answer_frames(mut self) -> Option<Bytes> {
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
    pub(crate) fn into_message(self) -> Option<Message> {
        Some(Message { links: self.links, interims: self.interims, seal: self.seal? })
    }
}

/// What a link leaves behind when it is redacted; the chain has just taken it.
pub(crate) fn redacted(chain: &Chain, link: &Link) -> Link {
    match (link, chain.core()) {
        (Link::Layer(layer), Some(core)) => {
            Link::Core(cmtp_codec::RedactedLayer { core: *core, signature: layer.signature })
        }
        _ => link.clone(),
    }
}

/// The links whose frames these are, after `number` others.
pub(crate) fn read_links(frames: Bytes, number: u32) -> Result<Vec<Link>, ReadError> {
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
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the content was erased")]
    Erased,
    #[error("the recorded frames: {0}")]
    Frame(#[from] DecodeError),
    #[error("the recorded frames: {0}")]
    Place(#[from] DecodeErrorKind),
    #[error("the recorded layers: {0}")]
    Link(#[from] LinkError),
    #[error("the recorded layers are not those that were sealed")]
    OtherSeal,
}
