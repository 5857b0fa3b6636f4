//! What is accepted: it is the one encoding of its value.

use bytes::BytesMut;

use cmtp_codec::{
    Assembler, Frame, FrameReader, KeyList, Link, Part, PublicKey, Receipt, Seal, Source,
};

/// Reads bytes as everything that has an encoding of its own.
///
/// - `[CNV-5]` What is accepted encodes to the bytes that it was read from; skipped frames and items excepted.
/// - `[FRM-10]` A body's cuts on a stream are no part of the message: a layer encodes to something that reads the same.
/// - What a reader accepts passes the check of a maker.
pub fn round_trip(data: &[u8]) {
    frames(data);
    for source in [Source::Request, Source::Answer, Source::Stored] {
        parts(source, data);
    }
    if let Ok(receipt) = Receipt::from_bytes(data.to_vec()) {
        assert_eq!(receipt.to_bytes(), data);
    }
    if let Ok(keys) = KeyList::from_bytes(data.to_vec()) {
        assert_eq!(keys.to_bytes(), data);
        // Whether the root signed it is another matter.
        let _verdict = keys.verify();
    }
    if let Ok(text) = str::from_utf8(data)
        && let Ok(key) = text.parse::<PublicKey>()
    {
        // [CNV-3]
        assert_eq!(key.to_string(), text);
    }
}

fn frames(data: &[u8]) {
    let mut reader = FrameReader::new(0);
    reader.push(data);
    let mut skipped = 0;
    let mut start = 0;
    while let Ok(Some(frame)) = reader.next_frame() {
        let mut encoded = BytesMut::new();
        frame.encode(&mut encoded);
        let end = usize::try_from(reader.offset()).expect("the input is in memory");
        match &frame {
            Frame::Seal(seal) | Frame::Interim(seal) if seal.skipped => {
                assert!(encoded.len() < end - start);
                let known = Seal { skipped: false, ..(**seal).clone() };
                let read = match read_one(&encoded) {
                    Frame::Seal(read) | Frame::Interim(read) => *read,
                    other => panic!("{:?} in place of a seal", other.frame_type()),
                };
                assert_eq!(read, known);
            }
            _ => {
                let from = end.checked_sub(encoded.len()).expect("no longer than what was read");
                assert_eq!(encoded, data[from..end]);
                assert!(from == start || reader.skipped() > skipped);
            }
        }
        (start, skipped) = (end, reader.skipped());
    }
}

fn read_one(encoded: &[u8]) -> Frame {
    let mut reader = FrameReader::new(0);
    reader.push(encoded);
    let frame = reader.next_frame().expect("a codec reads what it wrote").expect("as a whole");
    assert!(!reader.is_within_frame());
    frame
}

fn parts(source: Source, data: &[u8]) {
    let (parts, taken) = read_parts(source, data);
    let mut encoded = BytesMut::new();
    for part in &parts {
        match part {
            Part::Auth(auth) => Frame::Auth(auth.clone()).encode(&mut encoded),
            Part::Link(link) => link.encode(&mut encoded),
            Part::Interim(seal) => Frame::Interim(seal.clone()).encode(&mut encoded),
            Part::Seal(seal) => Frame::Seal(seal.clone()).encode(&mut encoded),
            other => panic!("an unknown part: {other:?}"),
        }
    }
    let first = if source == Source::Answer { 1 } else { 0 };
    let links = parts.iter().filter_map(|part| match part {
        Part::Link(link) => Some(link.as_ref()),
        _ => None,
    });
    for (number, link) in (first..).zip(links) {
        if let Link::Layer(layer) = link {
            assert_eq!(layer.check(number), Ok(()));
        }
    }
    let skipping = parts
        .iter()
        .any(|part| matches!(part, Part::Interim(seal) | Part::Seal(seal) if seal.skipped));
    if source == Source::Stored && taken.skipped == 0 {
        // [STO-3] In a file the cuts are given. [STO-2] Skipped items are refused.
        assert!(!skipping);
        assert_eq!(encoded, data[..taken.bytes]);
    }
    if !skipping {
        let (again, taken) = read_parts(source, &encoded);
        assert_eq!(again, parts);
        assert_eq!(taken, Taken { bytes: encoded.len(), skipped: 0 });
    }
}

/// What the parts that were read took of the input.
#[derive(Debug, Default, PartialEq)]
struct Taken {
    bytes: usize,
    skipped: u64,
}

/// Reads as far as the bytes hold.
fn read_parts(source: Source, data: &[u8]) -> (Vec<Part>, Taken) {
    let mut reader = FrameReader::new(0);
    reader.push(data);
    let mut assembler = Assembler::new(source, u64::MAX);
    let (mut parts, mut taken) = (Vec::new(), Taken::default());
    while let Ok(Some(frame)) = reader.next_frame() {
        let Ok(part) = assembler.take(frame) else { break };
        if let Some(part) = part {
            let bytes = usize::try_from(reader.offset()).expect("the input is in memory");
            taken = Taken { bytes, skipped: reader.skipped() };
            parts.push(part);
        }
    }
    (parts, taken)
}
