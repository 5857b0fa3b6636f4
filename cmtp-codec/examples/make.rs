//! A whole exchange made by hand: the caller's origin, the node's layers, the seal and its receipt. Good to read beside
//! chapters 3 to 5 of the specification, and to make files that a peer of yours has to take.
//!
//!     cargo run -p cmtp-codec --example make -- made.cmtp
//!
//! Keys, salts, id and times are fixed here, so that each run makes the same bytes; a peer takes salts and ids at random.

use std::{env, fs};

use cmtp_codec::{
    Chain, Digest, Entry, Field, KeyList, Layer, Link, Message, Receipt, Salt, Seal, SigningKey,
    Statement,
};
use cmtp_spec::{
    ConnectionKind, EntryFlags, EntryType, FieldIndex, JournalMode, Opcode, Status, Step,
};

/// Microseconds since 1970.
const NOW: u64 = 1_790_000_000_000_000;
const MESSAGE_ID: [u8; 16] = *b"\x01\xa0\xc4\x35\xf0\x00\x70\x00\x80\x00\x00\x00\x00\x00\x00\x01";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = env::args().nth(1).ok_or("argument: FILE")?;
    let (caller, node) = (SigningKey::from_seed(&[1; 32])?, SigningKey::from_seed(&[2; 32])?);
    let mut chain = Chain::default();

    // What the caller signs binds id, node, target and deadline; arguments and body have salts of their own.
    let mut origin = Layer::new(Step::ORIGIN, caller.public(), NOW, Salt([1; 16]))
        .with_public(Field::bytes(FieldIndex::MESSAGE_ID, MESSAGE_ID.to_vec()))
        .with_public(Field::key(FieldIndex::AUDIENCE, node.public()))
        .with_public(Field::bytes(FieldIndex::TARGET, "0xS:echo"))
        .with_public(Field::number(FieldIndex::NOT_AFTER, NOW + 30_000_000))
        .with_private(Salt([2; 16]), Field::new("accept", "text/plain")?)
        .with_body(Salt([3; 16]), "hello");
    let mut heads = vec![chain.append_signed(&mut origin, &caller)?];

    // The node binds the connection on which it came. Each layer goes on from the hash before.
    let admit = Layer::new(Step::ADMIT, node.public(), NOW + 1, Salt([4; 16]))
        .with_public(Field::octet(FieldIndex::CONNECTION_KIND, ConnectionKind::DIRECT.0))
        .with_public(Field::digest(FieldIndex::EXPORTER_DIGEST, Digest::of(b"TLS exporter value")))
        .with_public(Field::digest(FieldIndex::TOKEN_DIGEST, Digest::of(b"token")))
        .with_public(Field::digest(FieldIndex::POLICY_DIGEST, Digest::of(b"")))
        .with_public(Field::bytes(FieldIndex::POLICIES, "0xS:**"));
    heads.push(chain.append(&admit)?);
    let serve = Layer::new(Step::SERVE, node.public(), NOW + 2, Salt([5; 16]))
        .with_status(Status::OK)
        .with_public(Field::bytes(FieldIndex::CONTENT_TYPE, "text/plain"))
        .with_body(Salt([6; 16]), "hello");
    heads.push(chain.append(&serve)?);

    let mut seal = Seal::new(node.public(), chain.seal(&node.public()));
    heads.iter().enumerate().for_each(|(number, head)| println!("L{number} {head}"));
    println!("F  {}", seal.hash);
    seal.receipt = Some(receipt(&node, chain.length(), seal.hash));
    // Who has only the file can tell which layer was changed.
    seal.heads = Some(heads);
    // Ties the seal's key to the node's DID, for whoever has only the file.
    seal.keys = Some(KeyList::sign_single(&node));

    let links = vec![Link::Layer(origin), Link::Layer(admit), Link::Layer(serve)];
    let message = Message { links, interims: Vec::new(), seal };
    fs::write(&file, message.to_stored())?;
    println!("in {file}, of the node {}", node.public());
    Ok(())
}

/// R0, the promise: a commit of one entry. A journal signs once for many, and each receipt then has a path to the root.
fn receipt(node: &SigningKey, layers: u32, seal: Digest) -> Receipt {
    let entry = Entry {
        entry_type: EntryType::EXCHANGE,
        opcode: Opcode::S,
        flags: EntryFlags(0),
        status: Status::OK,
        layers,
        time: NOW + 3,
        message_id: MESSAGE_ID,
        seal,
    };
    let statement = Statement {
        log_origin: "example/log".to_owned(),
        first_index: Some(0),
        count: 1,
        root: entry.leaf(),
        mode: JournalMode::WAL,
        time: entry.time,
        merge_delay: 0,
    };
    Receipt {
        signature: statement.sign(node),
        statement,
        entry_type: entry.entry_type,
        opcode: entry.opcode,
        entry_flags: entry.flags,
        message_id: entry.message_id,
        offset: 0,
        path: Vec::new(),
    }
}
