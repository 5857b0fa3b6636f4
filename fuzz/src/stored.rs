//! Files: what is accepted, judged and redacted.

use bytes::Bytes;

use cmtp_codec::{
    Body, Chain, Digest, Field, Link, LinkError, Message, Unverified, Verdict, Verified, Withheld,
};
use cmtp_spec::{FieldIndex, LayerFlags, Step, uses};

use crate::chain::is_withheld;
use crate::node::{Commit, NODE};

/// Reads bytes as a stored message.
///
/// - `[CNV-5]` What is accepted is written as it was read.
/// - Judging ends in a verdict or a reason, with or without a pin; the heads are those of the layers.
/// - `[STO-8]` Withholding never changes heads or verdict.
/// - What was accepted and does not hold does hold once the node seals it.
pub fn stored(data: &[u8]) {
    let file = Bytes::copy_from_slice(data);
    let message = match Unverified::from_stored(file.clone()) {
        Ok(message) => message,
        Err(error) => {
            assert!(error.error.offset <= data.len() as u64, "{error}");
            return;
        }
    };
    assert_eq!(message.untrusted().to_stored(), file);
    let keys = message.untrusted().seal.keys.as_ref();
    for pin in [Some(NODE.root), keys.map(|keys| keys.root)].into_iter().flatten() {
        if let Ok(replay) = message.clone().verify(Some(&pin)) {
            // [RCP-7] Nor one with `unlogged`.
            assert_eq!(replay.verdict == Verdict::Authentic, !replay.message.seal.unlogged);
        }
    }
    match message.clone().verify(None) {
        Ok(replay) => {
            assert_eq!(replay.verdict, Verdict::Consistent);
            withhold(&replay);
        }
        Err(invalid) => assert!(!invalid.to_string().is_empty()),
    }
    let Some(sealed) = reseal(message.into_untrusted()) else { return };
    let replay = Unverified::new(sealed).verify(Some(&NODE.root)).expect("the node sealed it");
    assert_eq!(replay.verdict, Verdict::Authentic);
    withhold(&replay);
}

/// Withholds each part by itself, and all of them.
fn withhold(replay: &Verified<cmtp_codec::Replay>) {
    assert_eq!(replay.heads.len(), replay.message.links.len());
    let mut parts = Vec::new();
    for (layer, link) in replay.message.links.iter().enumerate().take(LINKS) {
        let fields = link.layer().map_or(0, |layer| layer.private.len());
        parts.extend((0..fields).take(FIELDS).map(|field| Withheld::Field { layer, field }));
        parts.push(Withheld::Body(layer));
        parts.push(Withheld::Layer(layer));
    }
    // The origin's opcode is in R0, too; without R0 a pin would still be the same.
    let pin = (replay.verdict == Verdict::Authentic).then_some(NODE.root);
    for parts in parts.chunks(1).chain([parts.as_slice()]) {
        let redacted = replay.withhold(parts).into_untrusted();
        assert!(parts.iter().all(|part| is_withheld(&redacted, *part)));
        let read =
            Unverified::from_stored(redacted.to_stored()).expect("a codec reads what it wrote");
        assert_eq!(*read.untrusted(), redacted);
        let less = read.verify(pin.as_ref()).expect("redaction breaks nothing");
        assert_eq!((&less.heads, less.verdict), (&replay.heads, replay.verdict));
    }
    let saved = replay.to_saved();
    let read = Unverified::from_stored(saved.to_stored()).expect("a codec reads what it wrote");
    let again = read.verify(pin.as_ref()).expect("its own heads change nothing");
    assert_eq!(again.heads, replay.heads);
}

/// The message with the hashes, signatures and receipts that it would need; `None` where a core breaks a rule by itself.
pub(crate) fn reseal(mut message: Message) -> Option<Message> {
    let commit = Commit::default();
    let mut chain = Chain::default();
    let mut interims = message.interims.into_iter().peekable();
    let mut resealed = Vec::new();
    for number in 0..message.links.len() {
        resign(&mut message.links[number], &chain);
        match chain.push(&message.links[number]) {
            Err(LinkError::Core(_)) => return None,
            pushed => pushed.expect("it was signed for this place"),
        };
        while let Some((covered, _)) = interims.next_if(|(covered, _)| *covered == chain.length()) {
            resealed.push((covered, NODE.interim(&chain, &message.links[..=number], commit)));
        }
    }
    assert_eq!(interims.next(), None);
    let body_unread = message.seal.body_unread;
    message.interims = resealed;
    message.seal = NODE.seal(&chain, &message.links, commit);
    message.seal.body_unread = body_unread;
    Some(message)
}

fn resign(link: &mut Link, chain: &Chain) {
    let hash = match link {
        Link::Layer(layer) => {
            if layer.step == Step::ORIGIN {
                let audience = Field::key(FieldIndex::AUDIENCE, NODE.root);
                let own = layer.public.iter_mut().find(|field| field.name == audience.name);
                *own.expect("[LAY-8]") = audience;
            }
            if layer.has(LayerFlags::SIGNED) {
                layer.actor = NODE.signer.public();
            }
            assert_eq!(layer.has(LayerFlags::BODY), layer.body != Body::Absent);
            layer.core(chain.length(), chain.head()).hash()
        }
        Link::Core(redacted) => {
            redacted.core.number = chain.length();
            redacted.core.prev = chain.head();
            if redacted.core.flags.0 & LayerFlags::SIGNED.0 != 0 {
                redacted.core.actor = NODE.signer.public();
            }
            if redacted.core.flags.0 & LayerFlags::BODY.0 == 0 {
                // [HSH-4]
                redacted.core.body = Digest::ZERO;
            }
            redacted.core.hash()
        }
    };
    let is_signed = link.is_signed();
    let signature = is_signed.then(|| NODE.signer.sign(uses::LAYER, &hash.0));
    match link {
        Link::Layer(layer) => layer.signature = signature,
        Link::Core(redacted) => redacted.signature = signature,
    }
}

/// More would make an input slow and show nothing new.
const LINKS: usize = 4;
const FIELDS: usize = 4;
