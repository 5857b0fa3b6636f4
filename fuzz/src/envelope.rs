//! Bus envelopes: what is accepted, and what a change of it does.

use bytes::Bytes;

use cmtp_codec::{
    Ask, BusAnswer, BusRequest, Chain, Digest, Envelope, KeyId, MacKey, Proof, SealedKeys,
};
use cmtp_spec::{BusAuth, BusKind, Status, limits};

use crate::node::NODE;

/// Reads bytes as an envelope; the first two say where, and by which bit, it is changed.
///
/// - `[CNV-5]` What is accepted is written as it was read.
/// - A request, an answer, an ask and keys end in a value or a reason; what is accepted has the shape that its rules say.
/// - Tagged here it verifies; with any one bit changed it never does.
pub fn envelope(data: &[u8]) {
    let Some((change, data)) = data.split_first_chunk::<2>() else { return };
    let data = Bytes::copy_from_slice(data);
    let envelope = match Envelope::decode(data.clone(), BODY_MAX) {
        Ok(envelope) => envelope,
        Err(error) => return assert!(error.offset <= data.len() as u64, "{error}"),
    };
    assert_eq!(envelope.untrusted().to_bytes(), data);
    assert_eq!(envelope.untrusted().hash(), Digest::of(&data));
    let head = read(&envelope.clone().into_untrusted());
    for made in made(envelope.into_untrusted(), head) {
        tag(&made, head, *change);
    }
}

/// Reads the payload by its kind; the head that a tag of it is for.
fn read(envelope: &Envelope) -> Digest {
    let unverified =
        || Envelope::decode(envelope.to_bytes(), BODY_MAX).expect("a codec reads what it wrote");
    match envelope.kind {
        BusKind::REQUEST => {
            let Ok(request) = BusRequest::decode(unverified(), BODY_MAX) else {
                return Digest::ZERO;
            };
            let request = request.untrusted();
            assert!(request.layers().len() > 2);
            assert!(request.layers()[1..].iter().all(|layer| layer.actor == envelope.sender));
            let payload = BusRequest::payload(request.layers());
            let again = Envelope::open(BusKind::REQUEST, envelope.sender, payload);
            if envelope.scheme() == BusAuth::NONE {
                let again = Envelope::decode(again.to_bytes(), BODY_MAX).expect("as it came");
                let again = BusRequest::decode(again, BODY_MAX).expect("as it came");
                assert_eq!(again.untrusted().head(), request.head());
            }
            request.head()
        }
        BusKind::ANSWER => {
            if let Ok(answer) = BusAnswer::decode(unverified(), BODY_MAX) {
                let layer = answer.untrusted().layer();
                assert_eq!(layer.actor, envelope.sender);
                assert!(layer.status >= Status::OK);
                // Nobody has made an answer that continues an empty chain.
                assert!(
                    answer.clone().verify(Chain::EMPTY, Proof::Mac(&MacKey::new([1; 32]))).is_err()
                );
            }
            Digest::ZERO
        }
        BusKind::CANCEL => envelope.cancelled().unwrap_or(Digest::ZERO),
        BusKind::ASK => {
            if let Ok(asked) = Ask::verify(unverified(), NODE.root, 0) {
                assert_eq!((asked.ask.node, asked.actor), (NODE.root, envelope.sender));
            }
            Digest::ZERO
        }
        _ => {
            let ask = ask();
            if let Ok(keys) = SealedKeys::verify(unverified(), &ask, NODE.root, 0) {
                assert_eq!((keys.list.root, keys.sender), (NODE.root, envelope.sender));
            }
            ask.hash()
        }
    }
}

/// The same payload, with the tags that the kind can have.
fn made(envelope: Envelope, head: Digest) -> Vec<Envelope> {
    let Envelope { kind, key_id, sender, payload, .. } = envelope;
    let signed_id = if kind == BusKind::ANSWER { KeyId::ZERO } else { key_id };
    let mut made = vec![Envelope::sign(kind, signed_id, head, payload.clone(), &NODE.signer)];
    if kind != BusKind::ASK && kind != BusKind::KEYS {
        made.push(Envelope::mac(kind, key_id, sender, head, payload, &MacKey::new(KEY)));
    }
    made
}

fn tag(envelope: &Envelope, head: Digest, [place, bit]: [u8; 2]) {
    let key = MacKey::new(KEY);
    let proof = || match envelope.scheme() {
        BusAuth::MAC => Proof::Mac(&key),
        _ => Proof::Signature,
    };
    let bytes = envelope.to_bytes();
    let came = Envelope::decode(bytes.clone(), BODY_MAX).expect("a codec reads what it wrote");
    let verified = came.clone().verify(head, proof()).expect("it was tagged here");
    assert_eq!(*verified, *envelope);
    let other = MacKey::new([0; 32]);
    assert!(came.clone().verify(head, Proof::Mac(&other)).is_err());
    assert!(came.clone().verify(head, Proof::NoneWanted).is_err());
    assert!(came.verify(Digest::of(&bytes), proof()).is_err());
    let mut changed = bytes.to_vec();
    // The first 256 bytes hold header and tag, and all of most payloads.
    let at = usize::from(place) % changed.len();
    changed[at] ^= 1 << (bit % 8);
    if let Ok(changed) = Envelope::decode(changed, BODY_MAX) {
        assert!(changed.verify(head, proof()).is_err());
    }
}

/// An ask that is always the same.
fn ask() -> Envelope {
    let ask = Ask { node: NODE.root, instance: KeyId([1; 16]), sealing_key: [9; 32], time: 0 };
    ask.sign(KeyId([2; 16]), &NODE.signer)
}

const BODY_MAX: u64 = limits::BODY_MAX;
const KEY: [u8; 32] = [7; 32];
