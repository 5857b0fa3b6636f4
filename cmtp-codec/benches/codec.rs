//! What the codec costs, each beside a yardstick in the same group: read ratios, not times.
//!
//! `cargo bench -p cmtp-codec --profile dist --bench codec`
//!
//! - `decode` and `encode`: a LAYER of twelve fields. The yardsticks are httparse on a request head with the same names and
//!   values, alone (slices of the input, nothing kept) and with a handle on each value so that it outlives the input, as
//!   the codec's do; and writing that head.
//! - `verify`: the hashes of a chain of five layers and its seal; the yardsticks are SHA-256 over the same pre-images, one
//!   by one, and over as many bytes in one piece.
#![expect(clippy::unwrap_used, reason = "a benchmark that panics has failed")]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sha2::{Digest as _, Sha256};

use cmtp_codec::{Body, Chain, Field, Frame, FrameReader, Layer, Link, Private, PublicKey, Salt};
use cmtp_spec::{FieldClass, FieldIndex, Status, Step, tags};

fn decode(criterion: &mut Criterion) {
    let wire = layer_frame();
    let head = http_head();
    assert_eq!(parse_http(&head), FIELDS.len());
    let mut group = criterion.benchmark_group("decode");
    group.bench_function("httparse", |bencher| bencher.iter(|| parse_http(black_box(&head))));
    group.bench_function("httparse-kept", |bencher| bencher.iter(|| keep_http(black_box(&head))));
    group.bench_function("cmtp", |bencher| bencher.iter(|| read_layer(black_box(&wire))));
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let frame = read_layer(&layer_frame());
    let mut out = BytesMut::with_capacity(4_096);
    let mut group = criterion.benchmark_group("encode");
    group.bench_function("http", |bencher| {
        bencher.iter(|| {
            out.clear();
            write_http(black_box(&FIELDS), &mut out);
        });
    });
    group.bench_function("cmtp", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&frame).encode(&mut out);
        });
    });
    // What a node does with a layer of its own: it checks it before it writes it.
    let layer = layer();
    group.bench_function("cmtp-checked", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&layer).check(1).unwrap();
            layer.encode(&mut out);
        });
    });
    group.finish();
}

fn verify(criterion: &mut Criterion) {
    let links = five_layers();
    let key = PublicKey([4; 32]);
    let images = pre_images(&links, &key);
    let long = images.concat();
    // The yardstick measures what the chain hashes, and nothing else.
    assert_eq!(Sha256::digest(images.last().unwrap())[..], seal(&links, &key).0);
    let mut group = criterion.benchmark_group("verify");
    group.throughput(Throughput::Bytes(long.len() as u64));
    group.bench_function("sha256-pieces", |bencher| {
        bencher.iter(|| {
            for image in black_box(&images) {
                black_box(Sha256::digest(image));
            }
        });
    });
    group.bench_function("sha256-long", |bencher| {
        bencher.iter(|| Sha256::digest(black_box(&long)));
    });
    group.bench_function("cmtp", |bencher| {
        bencher.iter(|| seal(black_box(&links), black_box(&key)))
    });
    group.finish();
}

fn read_layer(wire: &[u8]) -> Frame {
    let mut reader = FrameReader::new(0);
    reader.push(wire);
    reader.next_frame().unwrap().unwrap()
}

fn parse_http(head: &[u8]) -> usize {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut headers);
    assert!(request.parse(head).unwrap().is_complete());
    black_box(&request).headers.len()
}

fn keep_http(head: &[u8]) -> Vec<Bytes> {
    let head = Bytes::copy_from_slice(head);
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut headers);
    assert!(request.parse(&head).unwrap().is_complete());
    request.headers.iter().map(|header| head.slice_ref(header.value)).collect()
}

fn layer() -> Layer {
    let mut layer = Layer::new(Step::SERVE, PublicKey([3; 32]), TIME, Salt([1; 16]));
    for (name, value) in FIELDS {
        let field = Field::new(name, value).unwrap();
        layer = match field.name.default_class() {
            FieldClass::Public => layer.with_public(field),
            FieldClass::Private => layer.with_private(Salt([2; 16]), field),
        };
    }
    layer.check(1).unwrap();
    layer
}

fn layer_frame() -> Bytes {
    let mut out = BytesMut::new();
    layer().encode(&mut out);
    out.freeze()
}

fn http_head() -> BytesMut {
    let mut out = BytesMut::new();
    write_http(&FIELDS, &mut out);
    out
}

fn write_http(fields: &[(&str, &str)], out: &mut BytesMut) {
    out.extend_from_slice(b"GET /0x001/hello_world HTTP/1.1\r\n");
    for (name, value) in fields {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// A read over NATS as it comes to a client: nothing is signed, 256 bytes each way.
fn five_layers() -> Vec<Link> {
    let new =
        |step, actor| Layer::new(step, PublicKey([actor; 32]), TIME, Salt([step.0 as u8; 16]));
    let digest = |index| Field::bytes(index, vec![9; 32]);
    let mut id = vec![5; 16];
    (id[6], id[8]) = (0x75, 0x85);
    let layers = [
        new(Step::ORIGIN, 3)
            .with_public(Field::bytes(FieldIndex::MESSAGE_ID, id))
            .with_public(Field::key(FieldIndex::AUDIENCE, PublicKey([5; 32])))
            .with_public(Field::bytes(FieldIndex::TARGET, "0xS:0x001:hello_world"))
            .with_public(Field::number(FieldIndex::NOT_AFTER, TIME + 10_000_000))
            .with_private(Salt([6; 16]), Field::bytes(FieldIndex::ARGS, r#"["Dexter"]"#))
            .with_private(Salt([7; 16]), Field::bytes(FieldIndex::USER_AGENT, "cmtp/0.1"))
            .with_body(Salt([8; 16]), vec![1; 256]),
        new(Step::ADMIT, 4)
            .with_public(Field::octet(FieldIndex::CONNECTION_KIND, 1))
            .with_public(digest(FieldIndex::EXPORTER_DIGEST))
            .with_public(digest(FieldIndex::TOKEN_DIGEST))
            .with_public(digest(FieldIndex::POLICY_DIGEST))
            .with_public(Field::bytes(FieldIndex::POLICIES, "0xS:0x001:*")),
        new(Step::RESOLVE, 4)
            .with_public(Field::bytes(FieldIndex::RESOLVED, "0xS:0x001:hello_world")),
        new(Step::DISPATCH, 4)
            .with_public(Field::bytes(FieldIndex::SUBJECT, "cmtp.s.0x001.hello_world"))
            .with_public(Field::number(FieldIndex::DEADLINE, TIME + 5_000_000))
            .with_public(digest(FieldIndex::HEAD))
            .with_public(Field::octet(FieldIndex::BUS_AUTH, 1)),
        new(Step::SERVE, 4)
            .with_status(Status::OK)
            .with_public(Field::bytes(FieldIndex::CONTENT_TYPE, "application/json"))
            .with_public(Field::bytes(FieldIndex::DATE, "Tue, 22 Sep 2026 09:46:40 GMT"))
            .with_body(Salt([10; 16]), vec![2; 256]),
    ];
    layers.map(Link::Layer).into()
}

fn seal(links: &[Link], key: &PublicKey) -> cmtp_codec::Digest {
    let mut chain = Chain::default();
    for link in links {
        chain.push(link).unwrap();
    }
    chain.seal(key)
}

/// Everything that a verifier hashes, in the order of `cmtp-spec/spec/04-hashing.md`.
fn pre_images(links: &[Link], key: &PublicKey) -> Vec<Vec<u8>> {
    let mut images: Vec<Vec<u8>> = Vec::new();
    let mut hash = |parts: &[&[u8]]| {
        images.push(parts.concat());
        <[u8; 32]>::from(Sha256::digest(parts.concat()))
    };
    let pairs = |field: &Field| {
        let name = field.name.as_str();
        let length = (name.len() as u16).to_be_bytes();
        [&length, name.as_bytes(), &(field.value.len() as u32).to_be_bytes(), &field.value].concat()
    };
    let mut head = [0; 32];
    for (number, layer) in (0_u32..).zip(links.iter().filter_map(Link::layer)) {
        let fields: Vec<u8> = layer.public.iter().flat_map(pairs).collect();
        let count = (layer.public.len() as u16).to_be_bytes();
        let public = hash(&[&tags::PUBLIC_LEAF, &layer.public_salt.0, &count, &fields]);
        let mut leaves = public.to_vec();
        for private in &layer.private {
            let Private::Disclosed { salt, field } = private else { continue };
            leaves.extend(hash(&[&tags::PRIVATE_LEAF, &salt.0, &pairs(field)]));
        }
        let n = (layer.private.len() as u32 + 1).to_be_bytes();
        let root = hash(&[&tags::FIELDS_ROOT, &n, &leaves]);
        let body = match &layer.body {
            Body::Present { salt, data } => {
                let inner = hash(&[data]);
                hash(&[&tags::BODY, &salt.0, &(data.len() as u64).to_be_bytes(), &inner])
            }
            _ => [0; 32],
        };
        let mut core = layer.core(number, cmtp_codec::Digest(head));
        core.fields_root.0 = root;
        core.body.0 = body;
        head = hash(&[&tags::LAYER, &core.to_bytes()]);
    }
    hash(&[&tags::FINAL_SEAL, &key.0, &(links.len() as u32).to_be_bytes(), &head]);
    images
}

const TIME: u64 = 1_790_000_000_000_000;

/// Ten names of the static table and two others.
const FIELDS: [(&str, &str); 12] = [
    ("accept", "application/json, text/plain;q=0.9, */*;q=0.8"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
    ("host", "node.example.org:4433"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("referrer", "https://www.example.org/orders/4711?tab=items"),
    ("cache-control", "no-cache, max-age=0"),
    ("content-type", "application/json; charset=utf-8"),
    ("date", "Tue, 22 Sep 2026 09:46:40 GMT"),
    ("etag", "\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
    ("x-request-class", "interactive"),
    ("x-tenant", "z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"),
];

criterion_group!(benches, decode, encode, verify);
criterion_main!(benches);
