//! Streams: however bytes are cut on their way, the same frames, parts and errors come out.

use std::iter;

use bytes::Bytes;

use cmtp_codec::{
    Assembler, Body, Chain, DecodeError, DecodeErrorKind, Frame, FrameReader, Link, Part, Source,
};

/// Reads a stream in one piece, in several, and, where it is short, byte by byte; the first four bytes are sizes of pieces,
/// less one, taken in turn.
///
/// - `[CNV-4]` Frames, the error and where it stands don't depend on the cuts, and *need more* is an answer that
///   stays until more is there.
/// - What an assembler accepts is within its limits and in its places, and can be hashed.
pub fn message(data: &[u8]) {
    let Some((sizes, bytes)) = data.split_first_chunk::<4>() else { return };
    let whole = Reading::of(iter::once(bytes), Push::Owned);
    let pieces = cut(bytes, sizes);
    for push in [Push::Copied, Push::Owned] {
        assert_eq!(Reading::of(pieces.iter().copied(), push), whole);
    }
    if bytes.len() <= SHORT {
        assert_eq!(Reading::of(bytes.chunks(1), Push::Copied), whole);
    }
    assert!(whole.offset <= bytes.len() as u64);
    for source in [Source::Request, Source::Answer, Source::Stored] {
        assemble(source, &whole);
    }
}

fn cut<'a>(mut bytes: &'a [u8], sizes: &[u8]) -> Vec<&'a [u8]> {
    let mut sizes = sizes.iter().cycle();
    let mut pieces = Vec::new();
    while let (false, Some(&size)) = (bytes.is_empty(), sizes.next()) {
        let (piece, rest) = bytes.split_at(bytes.len().min(usize::from(size) + 1));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// How bytes are given to a reader.
#[derive(Clone, Copy)]
enum Push {
    Copied,
    Owned,
}

/// All that a reader says of a stream.
#[derive(Debug, PartialEq)]
struct Reading {
    frames: Vec<Frame>,
    error: Option<DecodeError>,
    offset: u64,
    skipped: u64,
}

impl Reading {
    fn of<'a>(pieces: impl Iterator<Item = &'a [u8]>, push: Push) -> Self {
        let mut reader = FrameReader::new(0);
        let (mut frames, mut error, mut pushed) = (Vec::new(), None, 0);
        for piece in pieces {
            match push {
                Push::Copied => reader.push(piece),
                Push::Owned => reader.push_bytes(Bytes::copy_from_slice(piece)),
            }
            pushed += piece.len() as u64;
            loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(found) => {
                        error = Some(found);
                        break;
                    }
                }
            }
            if let Some(error) = error {
                assert!(error.offset <= pushed, "{error} is beyond the bytes that came");
                break;
            }
            assert_eq!(reader.next_frame(), Ok(None));
            assert_eq!(reader.is_within_frame(), reader.offset() < pushed);
        }
        Self { frames, error, offset: reader.offset(), skipped: reader.skipped() }
    }
}

fn assemble(source: Source, reading: &Reading) {
    let mut assembler = Assembler::new(source, BODY_MAX);
    let mut chain = Chain::default();
    let (mut links, mut sealed) = (0, false);
    for frame in reading.frames.iter().cloned() {
        let was_open = assembler.open_layer().is_some();
        let part = match assembler.take(frame) {
            Ok(part) => part,
            Err(DecodeErrorKind::AfterSeal) => {
                assert!(sealed);
                break;
            }
            Err(_broken) => break,
        };
        assert!(!sealed, "{part:?} after SEAL");
        match part {
            Some(Part::Auth(_)) => assert!(source == Source::Request && links == 0),
            Some(Part::Link(link)) => {
                links += 1;
                assert!(source != Source::Request || links == 1);
                check_link(&link, source);
                // A core names its place and a signature its signer, so that not every link continues the chain.
                if chain.push(&link).is_err() {
                    chain = Chain::default();
                }
            }
            Some(Part::Interim(_)) => assert!(source != Source::Request),
            Some(Part::Seal(seal)) => {
                assert!(source != Source::Request && (seal.receipt.is_some() != seal.unlogged));
                sealed = true;
            }
            Some(other) => panic!("an unknown part: {other:?}"),
            None => assert!(was_open || assembler.open_layer().is_some()),
        }
    }
    if assembler.finish().is_ok() {
        assert!(assembler.open_layer().is_none());
        assert_eq!(sealed, source != Source::Request);
    }
}

fn check_link(link: &Link, source: Source) {
    let Link::Layer(layer) = link else {
        assert_eq!(source, Source::Stored);
        return;
    };
    match &layer.body {
        Body::Present { data, .. } => assert!(data.len() as u64 <= BODY_MAX),
        Body::Withheld(_) => assert_eq!(source, Source::Stored),
        Body::Absent => {}
    }
    if source != Source::Stored {
        assert!(layer.private.iter().all(|private| private.field().is_some()));
    }
}

/// Every cut of a longer stream would make an input slow.
const SHORT: usize = 1_024;

/// Small, so that inputs reach it.
const BODY_MAX: u64 = 300;
