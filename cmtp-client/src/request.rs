//! What is asked of a node, and the origin that is made of it: `cmtp-spec/spec/03-layers.md`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cmtp_codec::{Chain, DecodeErrorKind, Digest, Field, Fqmn, Layer, PublicKey};
use cmtp_spec::{FieldClass, FieldIndex, JournalMode, Step};
use uuid::Builder;

use crate::clock;
use crate::entropy::{self, NoEntropy};
use crate::identity::Identity;

/// What is asked of a node.
///
/// ```
/// use cmtp_client::Request;
/// use cmtp_codec::{Field, Fqmn};
///
/// let target = Fqmn::from_sugar("helloworld.mcom:hello")?.with_words(["Dexter"])?;
/// let request = Request::new(target)
///     .field(Field::new("accept", "text/plain")?)
///     .body("how are you?");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Request {
    target: Fqmn,
    fields: Vec<Field>,
    body: Option<Bytes>,
    signed: bool,
    valid_for: Duration,
    journal: Option<JournalMode>,
}

impl Request {
    /// A request to `target`, with its arguments, without fields or body; signed, and good for 30 seconds.
    pub const fn new(target: Fqmn) -> Self {
        Self {
            target,
            fields: Vec::new(),
            body: None,
            signed: true,
            valid_for: VALID_FOR,
            journal: None,
        }
    }

    /// Adds a field: among the public or the private ones, as the registry has it; a literal name is private.
    #[must_use]
    pub fn field(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }

    /// Sets the body. A request without this has none, which differs from an empty one.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Leaves a read unsigned: its origin is then graded *vouched by node*. A write is signed all the same.
    #[must_use]
    pub const fn unsigned(mut self) -> Self {
        self.signed = false;
        self
    }

    /// Sets the time after which the node is not to dispatch the request.
    #[must_use]
    pub const fn valid_for(mut self, span: Duration) -> Self {
        self.valid_for = span;
        self
    }

    pub(crate) const fn span(&self) -> Duration {
        self.valid_for
    }

    /// Asks for at least this journal mode.
    #[must_use]
    pub const fn journal(mut self, mode: JournalMode) -> Self {
        self.journal = Some(mode);
        self
    }

    /// Makes the origin for the node with the root key `audience`, at `now` (microseconds since 1970).
    ///
    /// # Errors
    /// [`PrepareError`] where the fields break a rule, or there is no randomness.
    pub fn prepare(
        self,
        identity: &Identity,
        audience: PublicKey,
        now: u64,
    ) -> Result<PreparedRequest, PrepareError> {
        let mut origin = Layer::new(Step::ORIGIN, identity.did(), now, entropy::salt()?);
        let message_id = message_id(now)?;
        let not_after = now.saturating_add(clock::micros(self.valid_for));
        // [LAY-8] The origin MUST carry each of `message-id`, `audience`, `target` and `not-after`.
        origin.public = vec![
            Field::bytes(FieldIndex::MESSAGE_ID, message_id.to_vec()),
            Field::key(FieldIndex::AUDIENCE, audience),
            // [FQN-8] On the wire `target` MUST be the normal form without arguments; they travel in `args`.
            Field::bytes(FieldIndex::TARGET, self.target.target().to_owned()),
            Field::number(FieldIndex::NOT_AFTER, not_after),
        ];
        if let Some(mode) = self.journal {
            origin.public.push(Field::octet(FieldIndex::JOURNAL, mode.0));
        }
        if let Some(args) = self.target.args() {
            // [FQN-7] They are carried as they are and MUST NOT be serialised anew.
            let args = Field::bytes(FieldIndex::ARGS, args.to_owned());
            origin = origin.with_private(entropy::salt()?, args);
        }
        for field in self.fields {
            origin = match field.name.default_class() {
                FieldClass::Public => origin.with_public(field),
                FieldClass::Private => origin.with_private(entropy::salt()?, field),
            };
        }
        if let Some(body) = self.body {
            origin = origin.with_body(entropy::salt()?, body);
        }
        let mut chain = Chain::default();
        // Chapter 7: the processes of writes begin with `origin(signed)`.
        if self.signed || self.target.is_write() {
            chain.append_signed(&mut origin, identity.key())?;
        } else {
            chain.append(&origin)?;
        }
        let origin = Arc::new(origin);
        Ok(PreparedRequest { origin, chain, message_id, not_after, audience, sent_before: false })
    }
}

/// A request whose bytes stand: id, time, salts, signature.
///
/// Sending it again, on whatever connection to the same node, sends the same bytes (`[IDM-6]`), so that a write is not
/// executed twice.
#[derive(Clone, Debug)]
pub struct PreparedRequest {
    pub(crate) origin: Arc<Layer>,
    /// Of the origin alone.
    pub(crate) chain: Chain,
    pub(crate) message_id: [u8; 16],
    pub(crate) not_after: u64,
    pub(crate) audience: PublicKey,
    pub(crate) sent_before: bool,
}

impl PreparedRequest {
    /// The origin as it travels.
    pub fn origin(&self) -> &Layer {
        &self.origin
    }

    /// L_0, the hash of the origin.
    pub const fn head(&self) -> Digest {
        self.chain.head()
    }

    /// The request's id, a UUIDv7.
    pub const fn message_id(&self) -> [u8; 16] {
        self.message_id
    }

    /// The time after which the node is not to dispatch it, microseconds since 1970.
    pub const fn not_after(&self) -> u64 {
        self.not_after
    }

    /// Whether that time has come: it is not sent any more.
    pub fn is_over(&self) -> bool {
        clock::now() >= self.not_after
    }

    /// The root key of the node that it is for.
    pub const fn audience(&self) -> PublicKey {
        self.audience
    }

    /// The target, without arguments, as it travels.
    pub fn target(&self) -> &str {
        self.origin.text(FieldIndex::TARGET).unwrap_or_default()
    }

    /// The arguments, as they travel.
    pub fn args(&self) -> Option<&str> {
        self.origin.text(FieldIndex::ARGS)
    }

    /// Whether it comes from bytes that were kept, so that it may have been sent by whoever kept them.
    pub const fn may_have_been_sent(&self) -> bool {
        self.sent_before
    }
}

/// Why no origin can be made of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// A field or a count that no node would take.
    #[error("the request can't be sent: {0}")]
    Layer(#[from] DecodeErrorKind),
    /// There is nothing to make salts of.
    #[error(transparent)]
    Randomness(#[from] NoEntropy),
}

impl PrepareError {
    /// Whether the same may work later: never, the request itself is at fault or the system is.
    pub const fn is_retryable(&self) -> bool {
        false
    }
}

fn message_id(now: u64) -> Result<[u8; 16], NoEntropy> {
    let mut random = [0; 10];
    entropy::fill(&mut random)?;
    Ok(Builder::from_unix_timestamp_millis(now / 1_000, &random).into_uuid().into_bytes())
}

/// As long as a node gives a service by default, so that the two deadlines agree.
const VALID_FOR: Duration = Duration::from_secs(cmtp_spec::limits::SERVICE_DEADLINE);

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use cmtp_codec::{Assembler, Frame, FrameReader, Part, Private, Source};
    use cmtp_spec::LayerFlags;

    use super::*;

    const NOW: u64 = 1_790_000_000_123_456;

    fn prepare(request: Request) -> PreparedRequest {
        request.prepare(&Identity::from_seed(&[1; 32]).unwrap(), PublicKey([9; 32]), NOW).unwrap()
    }

    #[test]
    fn an_origin_carries_what_it_must() {
        // [LAY-8] [FQN-8]
        let target = Fqmn::parse("0xS:0x001:a:[ 1 ]").unwrap();
        let field = |name, value: &'static str| Field::new(name, value).unwrap();
        let request = Request::new(target)
            .field(field("X-Mine", "1"))
            .field(field("Accept", "a"))
            .journal(JournalMode::WAL)
            .valid_for(Duration::from_secs(5))
            .body("");
        let prepared = prepare(request);
        let origin = prepared.origin();
        assert_eq!(origin.time, NOW);
        assert_eq!(origin.text(FieldIndex::TARGET), Some("0xS:0x001:a"));
        assert_eq!(origin.text(FieldIndex::ARGS), Some("[ 1 ]"));
        assert_eq!(origin.key(FieldIndex::AUDIENCE), Some(PublicKey([9; 32])));
        assert_eq!(origin.number(FieldIndex::NOT_AFTER), Some(NOW + 5_000_000));
        assert_eq!(origin.octet(FieldIndex::JOURNAL), Some(2));
        assert_eq!(origin.data().map(|body| body.len()), Some(0));
        let id = prepared.message_id();
        assert_eq!(
            u64::from_be_bytes([0, 0, id[0], id[1], id[2], id[3], id[4], id[5]]),
            NOW / 1_000
        );
        let public: Vec<_> = origin.public.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(public, ["message-id", "audience", "target", "not-after", "journal", "accept"]);
        let private: Vec<_> = origin.private.iter().filter_map(Private::field).collect();
        assert_eq!(private[1].name.as_str(), "x-mine");
    }

    #[test]
    fn a_node_can_read_the_origin_and_finds_it_signed() {
        let prepared = prepare(Request::new(Fqmn::parse("0xSW:a").unwrap()).body("x").unsigned());
        let mut bytes = bytes::BytesMut::new();
        prepared.origin().encode(&mut bytes);
        let mut reader = FrameReader::new(0);
        reader.push_bytes(bytes.freeze());
        let mut node = Assembler::new(Source::Request, 1_000);
        let mut chain = Chain::default();
        while let Some(frame) = reader.next_frame().unwrap() {
            assert!(!matches!(frame, Frame::Auth(_)));
            if let Some(Part::Link(link)) = node.take(frame).unwrap() {
                assert!(link.is_signed());
                chain.push(&link).unwrap();
            }
        }
        assert_eq!(node.finish(), Ok(()));
        assert_eq!(chain.head(), prepared.head());
    }

    #[test]
    fn reads_may_be_unsigned_and_salts_and_ids_are_fresh() {
        // [HSH-6]
        let request = || Request::new(Fqmn::parse("0xS:a:[1]").unwrap()).unsigned();
        let (one, other) = (prepare(request()), prepare(request()));
        assert!(!one.origin().has(LayerFlags::SIGNED));
        assert_ne!(one.message_id(), other.message_id());
        assert_ne!(one.origin().public_salt, other.origin().public_salt);
        assert_ne!(one.origin().private, other.origin().private);
    }

    #[test]
    fn what_no_node_would_take_is_refused_here() {
        let identity = Identity::from_seed(&[1; 32]).unwrap();
        let request = Request::new(Fqmn::parse("0xS:a").unwrap())
            .field(Field::bytes(FieldIndex::TARGET, "0xS:b"));
        let error = request.prepare(&identity, PublicKey([9; 32]), NOW).unwrap_err();
        assert_eq!(error, PrepareError::Layer(DecodeErrorKind::RepeatedField));
    }
}
