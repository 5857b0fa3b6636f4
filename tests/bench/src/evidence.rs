//! The least that a node does for the evidence of an unsigned read in mode `async`: hashes, seals, receipt, log.
//!
//! Digests, ciphertexts and bytes are as many and as long as those of `0xS:echo`, each made from what it is made from there, but with
//! zeros where a node decodes or decides something: 40 blocks of SHA-256 for 256 bytes, with those of the commit's tree. It parses
//! nothing and admits nobody. Left out are the checksum of a commit and the files that a log is moved into.

use std::fs::File;
use std::io::Write;

use anyhow::Context;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use aws_lc_rs::signature::Ed25519KeyPair;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// The sealing key, and the log.
pub(crate) struct Journal {
    key: Ed25519KeyPair,
    file: File,
    /// What was answered and is to be written.
    answered: Vec<Exchange>,
    /// Salts and keys of these.
    random: Vec<u8>,
    /// The bytes of a commit.
    commit: Vec<u8>,
}

struct Exchange {
    request: Bytes,
    answer: Bytes,
    cores: [[u8; CORE]; 3],
    seal: Digest,
}

type Digest = [u8; 32];

impl Journal {
    /// A log in the temporary directory, which ends with this.
    pub(crate) fn make() -> anyhow::Result<Self> {
        Ok(Self {
            key: Ed25519KeyPair::generate()?,
            file: tempfile::tempfile()?,
            answered: Vec::new(),
            random: Vec::new(),
            commit: Vec::new(),
        })
    }

    /// The answers to a batch of requests, each of which comes with the body that answers it, under one signature.
    pub(crate) fn answer(
        &mut self,
        batch: &[(Bytes, Bytes)],
    ) -> anyhow::Result<impl Iterator<Item = Bytes>> {
        self.random.resize(batch.len() * RANDOM, 0);
        rand::fill(&mut self.random)?;
        let salts = self.random.chunks_exact(RANDOM);
        self.answered.extend(batch.iter().zip(salts).map(|((request, reply), random)| {
            let (end, body) = (&request[request.len() - SALT..], &body_of(request));
            let (origin, head) = layer(&request[..SALT], ORIGIN_FIELDS, Some((end, body)), [0; 32]);
            let (admit, head) = layer(&random[..SALT], ADMIT_FIELDS, None, head);
            let salts = random[SALT..3 * SALT].split_at(SALT);
            let (serve, head) = layer(salts.0, 0, Some((salts.1, reply)), head);
            let seal = hash(&[&[0; 8 + 32 + 4], &head]);
            let request = request.clone();
            Exchange { request, answer: Bytes::new(), cores: [origin, admit, serve], seal }
        }));

        let leaves = self.answered.iter().map(|it| hash(&[&[0; 1 + ENTRY - 32], &it.seal]));
        let tree = tree(leaves.collect());
        let mut statement = [0; STATEMENT];
        statement[..32].copy_from_slice(tree.last().and_then(|it| it.first()).context("a root")?);
        let signature = self.key.sign(&statement);

        for (number, (exchange, (_, reply))) in self.answered.iter_mut().zip(batch).enumerate() {
            let mut answer = Vec::with_capacity(EVIDENCE + reply.len() + 32 * tree.len());
            answer.resize(ADMIT + SERVE + BODY, 0);
            answer.extend_from_slice(reply);
            answer.resize(answer.len() + END + SEAL, 0);
            answer.extend_from_slice(&exchange.seal);
            answer.resize(answer.len() + R0, 0);
            answer.extend_from_slice(signature.as_ref());
            answer.resize(EVIDENCE + reply.len(), 0);
            for (level, hashes) in tree.iter().enumerate() {
                answer.extend(hashes.get((number >> level) ^ 1).into_iter().flatten());
            }
            exchange.answer = Bytes::from(answer);
        }
        Ok(self.answered.iter().map(|it| it.answer.clone()))
    }

    /// Encrypts and writes what was answered, as one commit.
    pub(crate) fn write(&mut self) -> anyhow::Result<()> {
        let commit = &mut self.commit;
        commit.clear();
        commit.resize(COMMIT + self.answered.len() * (ENTRY + KEYS + PLACE), 0);
        for (exchange, random) in self.answered.drain(..).zip(self.random.chunks_exact(RANDOM)) {
            let (cores_key, content_key) = random[RANDOM - KEYS..].split_at(KEYS / 2);
            let begin = commit.len();
            for core in &exchange.cores {
                commit.extend_from_slice(&[0; CORE_HEAD]);
                commit.extend_from_slice(core);
            }
            encrypt(cores_key, &exchange.seal, commit, begin)?;
            let begin = commit.len();
            commit.extend_from_slice(&exchange.request[AUTH..]);
            let layers = ADMIT + SERVE + BODY + END + body_of(&exchange.request).len();
            commit.extend_from_slice(&exchange.answer[..layers]);
            encrypt(content_key, &exchange.seal, commit, begin)?;
        }
        self.file.write_all(commit)?;
        Ok(())
    }
}

/// A request with this body: AUTH by digest, LAYER, BODY, END.
pub(crate) fn request(body: &[u8]) -> Bytes {
    let mut request = vec![0; AUTH + ORIGIN + BODY];
    request.extend_from_slice(body);
    request.resize(request.len() + END, 0);
    Bytes::from(request)
}

/// The body in a request.
pub(crate) fn body_of(request: &Bytes) -> Bytes {
    request.slice(AUTH + ORIGIN + BODY..request.len() - END)
}

/// Whether an answer of this length can be one to a body of that: there is evidence of one length, and the receipt's path.
pub(crate) fn answers(answer: usize, body: usize) -> bool {
    let path = answer.checked_sub(EVIDENCE + body);
    path.is_some_and(|it| it.is_multiple_of(32) && it <= 32 * COMMIT_MAX.ilog2() as usize)
}

/// A layer's core and hash: from the salt and the bytes of its public fields, its body with a salt, and the layer before.
fn layer(
    salt: &[u8],
    fields: usize,
    body: Option<(&[u8], &[u8])>,
    prev: Digest,
) -> ([u8; CORE], Digest) {
    let leaf = hash(&[&[0; 8], salt, &[0; 2], &[0; FIELDS_MAX][..fields]]);
    let root = hash(&[&[0; 8 + 4], &leaf]);
    let body = body.map_or([0; 32], |(salt, body)| {
        hash(&[&[0; 8], salt, &[0; 8], &<Digest>::from(Sha256::digest(body))])
    });
    let mut core = [0; CORE];
    for (place, digest) in core[CORE - 96..].chunks_exact_mut(32).zip([root, body, prev]) {
        place.copy_from_slice(&digest);
    }
    (core, hash(&[&[0; 8], &core]))
}

/// SHA-256 over `parts`, which are gathered first: that is faster.
fn hash(parts: &[&[u8]]) -> Digest {
    let mut image = [0; IMAGE_MAX];
    let mut length = 0;
    for part in parts {
        image[length..length + part.len()].copy_from_slice(part);
        length += part.len();
    }
    Sha256::digest(&image[..length]).into()
}

/// The levels of the tree over a commit, from its leaves to its root.
fn tree(leaves: Vec<Digest>) -> Vec<Vec<Digest>> {
    let mut levels = vec![leaves];
    while let Some(below) = levels.last().filter(|it| it.len() > 1) {
        let above = below.chunks(2).map(|pair| match pair {
            [left, right] => hash(&[&[1], left, right]),
            alone => alone[0],
        });
        levels.push(above.collect());
    }
    levels
}

/// Puts the ciphertext and its tag in place of what stands from `begin` on.
fn encrypt(key: &[u8], seal: &Digest, text: &mut Vec<u8>, begin: usize) -> anyhow::Result<()> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key)?);
    let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(seal), &mut text[begin..])?;
    text.extend_from_slice(tag.as_ref());
    Ok(())
}

/// Exchanges of a commit.
pub(crate) const COMMIT_MAX: usize = 64;

// Frames with their heads, in bytes, as `cmtp call --save` has them; BODY without the body.
const AUTH: usize = 35;
const ORIGIN: usize = 136;
const ADMIT: usize = 177;
const SERVE: usize = 64;
const BODY: usize = 3;
const END: usize = 19;
/// SEAL up to F.
const SEAL: usize = 3 + 32;
/// The item's head and the statement.
const R0: usize = 3 + STATEMENT - SIGNED;
/// What stands in an answer beside the body and the receipt's path.
const EVIDENCE: usize = ADMIT + SERVE + BODY + END + SEAL + 32 + R0 + 64 + AFTER_SIGNATURE;
/// R0 between signature and path.
const AFTER_SIGNATURE: usize = 1 + 2 + 2 + 16 + 4 + 1;
/// What is signed of a receipt: its use, and the statement with a log origin of 55 bytes.
const STATEMENT: usize = SIGNED + 1 + 55 + 8 + 4 + 32 + 1 + 8 + 4;
/// `cmtp/0 r0` and a zero.
const SIGNED: usize = 10;
/// Public fields as they are hashed.
const ORIGIN_FIELDS: usize = 121;
const ADMIT_FIELDS: usize = 196;
const FIELDS_MAX: usize = 196;
/// The longest pre-image but a body's: an admit layer's public leaf.
const IMAGE_MAX: usize = 8 + 16 + 2 + FIELDS_MAX;
const SALT: usize = 16;
const CORE: usize = 152;
const CORE_HEAD: usize = 3;
const ENTRY: usize = 68;
/// Two for each exchange.
const KEYS: usize = 64;
const PLACE: usize = 16;
/// A commit's head.
const COMMIT: usize = 112;
/// Three salts and two keys.
const RANDOM: usize = 3 * SALT + KEYS;
