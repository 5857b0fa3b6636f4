//! Answers: what a client makes of the frames that come back to a request of its own.

use bytes::{Bytes, BytesMut};

use cmtp_codec::{
    Assembler, Body, End, Frame, FrameReader, Layer, Link, Message, Part, ProcessVerdict, Replay,
    Salt, Source, Unverified, Verdict, Verified,
};
use cmtp_spec::LayerFlags;

use crate::chain::Change;
use crate::node::NODE;
use crate::stored::reseal;

/// Reads bytes as an exchange: what the client sent, and behind its origin what the node sent; the first six bytes are a
/// change to the latter.
///
/// - `[QUI-20]` Judging ends in a verdict or a reason. What holds goes on from the client's own origin and has no part
///   withheld, it is saved and read back alike, and it holds for no other origin.
/// - `[RCP-7]` Without the node's key list nothing with R0 holds for who trusts the node.
/// - What was accepted and does not hold does hold once the node seals it, and is authentic, however bodies are cut.
/// - `[HSH-5]` Once a byte of that is changed, it is refused, or says the same as before.
pub fn answer(data: &[u8]) {
    let Some((change, bytes)) = data.split_first_chunk::<6>() else { return };
    let Some((origin, answer)) = read_origin(bytes) else { return };
    let Some(message) = read_answer(&origin, answer) else { return };
    assert!(message.links.iter().all(is_whole));
    let has_receipt = message.seal.receipt.is_some();
    assert!(!has_receipt || judge(&message, Pin::RootAlone).is_none());
    for pin in [Pin::Nothing, Pin::RootAlone, Pin::RootAndList] {
        let Some(replay) = judge(&message, pin) else { continue };
        check_accepted(&replay, pin);
        let Some(other) = read_answer(&salted_anew(&origin), answer) else {
            panic!("the salt of an origin is read by nobody");
        };
        assert!(judge(&other, pin).is_none(), "an answer holds for another request");
    }
    check_resealed(&origin, message, change_of(*change), usize::from(change[5]) + 1);
}

/// What the client holds against an answer.
#[derive(Clone, Copy)]
enum Pin {
    Nothing,
    RootAlone,
    RootAndList,
}

/// The first origin of a request stream, and what comes behind it.
fn read_origin(bytes: &[u8]) -> Option<(Layer, &[u8])> {
    let mut assembler = Assembler::new(Source::Request, BODY_MAX);
    let mut reader = FrameReader::new(0);
    reader.push(bytes);
    while let Some(frame) = reader.next_frame().ok()? {
        if let Some(Part::Link(link)) = assembler.take(frame).ok()? {
            let rest = usize::try_from(reader.offset()).expect("an offset in a slice");
            return Some((link.layer()?.clone(), &bytes[rest..]));
        }
    }
    None
}

/// The whole exchange, as the client that sent `origin` puts it together.
fn read_answer(origin: &Layer, bytes: &[u8]) -> Option<Message> {
    let mut assembler = Assembler::new(Source::Answer, BODY_MAX);
    let mut reader = FrameReader::new(0);
    reader.push_bytes(Bytes::copy_from_slice(bytes));
    let (mut links, mut interims, mut sealed) = (Vec::new(), Vec::new(), None);
    while let Some(frame) = reader.next_frame().ok()? {
        match assembler.take(frame).ok()? {
            Some(Part::Link(link)) => links.push(*link),
            Some(Part::Interim(seal)) => interims.push((assembler.number(), *seal)),
            Some(Part::Seal(seal)) => sealed = Some(*seal),
            Some(other) => panic!("{other:?} in an answer"),
            None => {}
        }
    }
    assembler.finish().ok()?;
    if reader.is_within_frame() {
        return None;
    }
    let seal = sealed.expect("an answer that is complete is sealed");
    assert!(seal.keys.is_none() && seal.heads.is_none());
    let mut origin = origin.clone();
    if seal.body_unread {
        // [FRM-17] The item MUST NOT come where the origin had no body.
        origin.data()?;
        origin.close_unread();
    }
    links.insert(0, Link::Layer(origin));
    Some(Message { links, interims, seal })
}

fn is_whole(link: &Link) -> bool {
    let Link::Layer(layer) = link else { return false };
    let has_body = layer.has(LayerFlags::BODY);
    layer.private.iter().all(|private| private.field().is_some())
        && has_body == layer.data().is_some()
}

fn judge(message: &Message, pin: Pin) -> Option<Verified<Replay>> {
    let mut message = message.clone();
    let root = match pin {
        Pin::Nothing => None,
        Pin::RootAlone => Some(&NODE.root),
        Pin::RootAndList => {
            // [STO-5] The node's key list as it was shown on the connection.
            message.seal.keys = Some(NODE.keys.clone());
            Some(&NODE.root)
        }
    };
    match Unverified::new(message).verify(root) {
        Ok(replay) => Some(replay),
        Err(invalid) => {
            assert!(!invalid.to_string().is_empty());
            None
        }
    }
}

fn check_accepted(replay: &Verified<Replay>, pin: Pin) {
    let message = &replay.message;
    assert_eq!(replay.heads.len(), message.links.len());
    let is_authentic = matches!(pin, Pin::RootAndList) && !message.seal.unlogged;
    assert_eq!(replay.verdict == Verdict::Authentic, is_authentic);
    // The origin is there, so that its opcode is known.
    assert_ne!(replay.process, ProcessVerdict::NotChecked);
    if let ProcessVerdict::Breaks(deviation) = &replay.process {
        assert!(!deviation.to_string().is_empty());
    }
    let root = (!matches!(pin, Pin::Nothing)).then_some(&NODE.root);
    let saved = replay.to_saved().to_stored();
    let read = Unverified::from_stored(saved).expect("a codec reads what it wrote");
    let again = read.verify(root).expect("what is saved holds as what came did");
    assert_eq!((&again.heads, again.verdict), (&replay.heads, replay.verdict));
    assert_eq!(again.process, replay.process);
}

/// The origin of another request that asks for the same.
fn salted_anew(origin: &Layer) -> Layer {
    let Salt(mut salt) = origin.public_salt;
    salt[0] ^= 1;
    Layer { public_salt: Salt(salt), ..origin.clone() }
}

/// Has the node seal the exchange, and sends it again: as it is, with bodies cut otherwise, and with a change.
fn check_resealed(origin: &Layer, message: Message, change: Change, piece: usize) {
    let recorded = message.seal.recorded;
    let mut sealed = reseal(message).expect("no core stands in an answer");
    // A proof would be of what was sealed before.
    (sealed.seal.recorded, sealed.seal.proof) = (recorded, None);
    let first = sealed.links[0].layer().expect("the origin is the client's own");
    let known = if sealed.seal.body_unread {
        Layer { public: first.public.clone(), ..origin.clone() }
    } else {
        first.clone()
    };
    let stream = encode_answer(&sealed, BODY_MAX as usize);
    let read = read_answer(&known, &stream).expect("a codec reads what it wrote");
    let replay = judge(&read, Pin::RootAndList).expect("the node sealed it");
    check_accepted(&replay, Pin::RootAndList);

    let cut = read_answer(&known, &encode_answer(&sealed, piece));
    assert_eq!(cut.expect("a body may be cut anywhere"), read);

    let Some(read) = read_answer(&known, &change.apply(&stream)) else { return };
    let Some(other) = judge(&read, Pin::RootAndList) else { return };
    // What says nothing of the exchange may differ: SEAL's items but for R0.
    assert_eq!((&other.heads, other.verdict), (&replay.heads, replay.verdict));
    assert_eq!(other.message.links, replay.message.links);
    assert_eq!(other.process, replay.process);
    let seals = |replay: &Replay| -> Vec<_> {
        let interims = replay.message.interims.iter().map(|(covered, seal)| (*covered, seal));
        let seals = interims.chain([(u32::MAX, &replay.message.seal)]);
        seals.map(|(at, seal)| (at, seal.key, seal.hash, seal.receipt.clone())).collect()
    };
    assert_eq!(seals(&other), seals(&replay));
}

/// What a node sends, all behind the origin, with bodies in pieces of so many bytes.
fn encode_answer(message: &Message, piece: usize) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut interims = message.interims.iter().peekable();
    for (number, link) in (1..).zip(&message.links) {
        if number > 1 {
            encode_link(link, piece, &mut out);
        }
        while let Some((_, seal)) = interims.next_if(|(covered, _)| *covered == number) {
            Frame::Interim(Box::new(seal.clone())).encode(&mut out);
        }
    }
    let mut seal = message.seal.clone();
    // [FRM-16] `keys` MUST NOT stand in a SEAL on a request stream.
    seal.keys = None;
    Frame::Seal(Box::new(seal)).encode(&mut out);
    out.to_vec()
}

fn encode_link(link: &Link, piece: usize, out: &mut BytesMut) {
    let layer = link.layer().expect("nothing is withheld in an answer");
    let Body::Present { salt, data } = &layer.body else { return layer.encode(out) };
    layer.encode_head(out);
    for chunk in data.chunks(piece) {
        Frame::Body(data.slice_ref(chunk)).encode(out);
    }
    let body = Body::Present { salt: *salt, data: Bytes::new() };
    Frame::End(End { body, signature: layer.signature }).encode(out);
}

fn change_of([kind, a, b, c, d, byte]: [u8; 6]) -> Change {
    let at = u32::from_be_bytes([a, b, c, d]);
    match kind % 5 {
        0 => Change::Flip { at, bits: byte },
        1 => Change::Insert { at, byte },
        2 => Change::Remove { at },
        3 => Change::Swap { at, with: at.wrapping_add(u32::from(byte)) },
        _ => Change::Cut { at },
    }
}

/// Small, so that inputs reach it.
const BODY_MAX: u64 = 1_000;
