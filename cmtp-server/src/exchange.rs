//! One exchange: a request stream from its first frame to the seal. `cmtp-spec/spec/09-quic.md`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cmtp_codec::{
    Assembler, Auth, Chain, DecodeErrorKind, Field, Fqmn, Frame, FrameReader, Layer, Link,
    LinkError, Name, Part, Seal, Source,
};
use cmtp_spec::{CloseCode, FieldClass, FieldIndex, LayerFlags, Opcode, Status, Step, limits};
use quinn::{RecvStream, SendStream, VarInt};
use tokio::time::{Instant, timeout_at};

use crate::admit::{Admission, Admitted, Proved, not_covered};
use crate::nats;
use crate::node::{self, Node};
use crate::refusal::Refusal;
use crate::routes::Route;
use crate::seal::Sealed;
use crate::service::{Call, Reply};

/// Serves one request stream. Whatever is wrong with it ends here, with an answer or with a code on the stream.
pub(crate) async fn serve(
    node: &Node,
    proved: &Proved,
    mut send: SendStream,
    mut recv: RecvStream,
) {
    let answer = match answer(node, proved, &mut recv).await {
        Ok(answer) => answer,
        Err(fault) => {
            tracing::debug!(%fault, "request stream ended without an answer");
            // [QUI-8] An error on a request stream ends that stream, in both directions.
            // Either half may be closed already, which is what is wanted.
            let code = VarInt::from(fault.code());
            let _closed = send.reset(code);
            let _closed = recv.stop(code);
            return;
        }
    };
    if let Err(error) = send.write_all(&answer).await {
        tracing::debug!(%error, "the caller did not take the answer");
        return;
    }
    // The stream was open a moment ago; if the caller closed it since, there is nobody to tell.
    let _closed = send.finish();
    // After an early refusal the rest of the request is not wanted: [QUI-17].
    let _closed = recv.stop(VarInt::from(code(CloseCode::REFUSED)));
}

/// Why a request stream ends without an answer.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("not a request: {0}")]
    Malformed(DecodeErrorKind),
    #[error("the origin does not verify: {0}")]
    BadChain(LinkError),
    #[error("too slow")]
    Timeout,
    #[error("the caller went away")]
    Gone,
    #[error("the node's own fault")]
    Internal,
}

impl Fault {
    const fn code(&self) -> u32 {
        code(match self {
            Self::Malformed(kind) => kind.close_code(),
            Self::BadChain(_) => CloseCode::BAD_CHAIN,
            Self::Timeout => CloseCode::TIMEOUT,
            Self::Gone => CloseCode::CANCELLED,
            Self::Internal => CloseCode::INTERNAL,
        })
    }
}

impl From<DecodeErrorKind> for Fault {
    fn from(kind: DecodeErrorKind) -> Self {
        Self::Malformed(kind)
    }
}

impl From<aws_lc_rs::error::Unspecified> for Fault {
    fn from(_no_entropy: aws_lc_rs::error::Unspecified) -> Self {
        Self::Internal
    }
}

async fn answer(node: &Node, proved: &Proved, recv: &mut RecvStream) -> Result<Bytes, Fault> {
    let mut request = Incoming::new(recv, node.body_max);
    request.read_head().await?;
    let (auth, head) = request.head()?;
    let mut admission = Admission::judge(node, proved, auth, head, node::now());
    let origin = match request.read_rest(&admission).await? {
        Rest::Whole(origin) => origin,
        // [QUI-17] A node MAY refuse an origin with a body before END came.
        Rest::Unread(origin, refusal) => {
            if let Some(refusal) = refusal {
                admission.refuse(refusal);
            }
            origin
        }
    };
    let mut answering = Answering::begin(node, proved, origin)?;
    answering.run(&admission).await?;
    answering.finish(admission.token_accepted)
}

/// The request as it comes in.
struct Incoming<'a> {
    recv: &'a mut RecvStream,
    reader: FrameReader,
    assembler: Assembler,
    auth: Option<Auth>,
    origin: Option<Layer>,
    body_max: u64,
    body_length: u64,
    begun: Instant,
}

/// How much of a request was read.
enum Rest {
    /// All of it.
    Whole(Layer),
    /// Not its body: a refusal stands already, or this one came up.
    Unread(Layer, Option<Refusal>),
}

impl<'a> Incoming<'a> {
    fn new(recv: &'a mut RecvStream, body_max: u64) -> Self {
        Self {
            recv,
            reader: FrameReader::default(),
            assembler: Assembler::new(Source::Request, body_max),
            auth: None,
            origin: None,
            body_max,
            body_length: 0,
            begun: Instant::now(),
        }
    }

    /// Reads up to the origin's LAYER frame.
    async fn read_head(&mut self) -> Result<(), Fault> {
        // [LIM-3] A node MUST end a request stream that is slower than `header-timeout`.
        let deadline = self.begun + Duration::from_secs(limits::HEADER_TIMEOUT);
        while self.origin.is_none() && self.assembler.open_layer().is_none() {
            match self.next_frame(deadline).await? {
                Some(frame) => self.take(frame)?,
                // [QUI-18] A stream that ends before an origin is malformed.
                None => return Err(Fault::Malformed(DecodeErrorKind::EndsEarly)),
            }
        }
        Ok(())
    }

    /// AUTH, if it came, and the origin, perhaps without its body yet.
    fn head(&self) -> Result<(Option<&Auth>, &Layer), Fault> {
        let origin = self.origin.as_ref().or_else(|| self.assembler.open_layer());
        Ok((self.auth.as_ref(), origin.ok_or(Fault::Internal)?))
    }

    /// Reads the rest of the request, unless it is refused and its body is still to come.
    async fn read_rest(mut self, admission: &Admission) -> Result<Rest, Fault> {
        // [LIM-3] Nor slower than `body-timeout`.
        let deadline = self.begun + Duration::from_secs(limits::BODY_TIMEOUT);
        loop {
            if let Some(open) = self.assembler.open_layer() {
                let too_large = self.body_length > self.body_max;
                if admission.outcome.is_err() || too_large {
                    let mut origin = open.clone();
                    origin.close_unread();
                    // [LIM-2] A body above the node's limit MAY be refused with status 413 instead.
                    let refusal = too_large.then(|| body_too_large(self.body_max));
                    return Ok(Rest::Unread(origin, refusal));
                }
            }
            match self.next_frame(deadline).await? {
                Some(Frame::Body(data))
                    if self.assembler.open_layer().is_some()
                        && self.body_length + data.len() as u64 > self.body_max =>
                {
                    self.body_length += data.len() as u64;
                }
                Some(frame) => self.take(frame)?,
                None => break,
            }
        }
        // [QUI-16] A node MUST NOT act on an origin before all of its layer arrived, and FIN.
        self.assembler.finish()?;
        self.origin.map(Rest::Whole).ok_or(Fault::Internal)
    }

    fn take(&mut self, frame: Frame) -> Result<(), Fault> {
        if let Frame::Body(data) = &frame {
            self.body_length += data.len() as u64;
        }
        match self.assembler.take(frame)? {
            Some(Part::Auth(auth)) => self.auth = Some(auth),
            Some(Part::Link(link)) => match *link {
                Link::Layer(origin) => self.origin = Some(origin),
                Link::Core(_) => return Err(Fault::Malformed(DecodeErrorKind::Unexpected)),
            },
            _ => {}
        }
        Ok(())
    }

    /// The next frame, or `None` at the end of the stream.
    async fn next_frame(&mut self, deadline: Instant) -> Result<Option<Frame>, Fault> {
        loop {
            let frame = self.reader.next_frame().map_err(|error| Fault::Malformed(error.kind))?;
            if frame.is_some() {
                return Ok(frame);
            }
            let chunk = timeout_at(deadline, self.recv.read_chunk(READ_MAX, true))
                .await
                .map_err(|_elapsed| Fault::Timeout)?;
            match chunk {
                Ok(Some(chunk)) => self.reader.push_bytes(chunk.bytes),
                Ok(None) if self.reader.is_within_frame() => {
                    return Err(Fault::Malformed(DecodeErrorKind::EndsEarly));
                }
                Ok(None) => return Ok(None),
                Err(_reset_or_lost) => return Err(Fault::Gone),
            }
        }
    }
}

/// The answer as it grows.
struct Answering<'a> {
    node: &'a Node,
    proved: &'a Proved,
    origin: Layer,
    chain: Chain,
    out: BytesMut,
    time: u64,
    status: Status,
}

impl<'a> Answering<'a> {
    fn begin(node: &'a Node, proved: &'a Proved, origin: Layer) -> Result<Self, Fault> {
        let mut chain = Chain::default();
        // [LAY-9] A broken signature is no refusal: the layer is invalid and the stream ends with `bad-chain`.
        let link = Link::Layer(origin);
        chain.push(&link).map_err(Fault::BadChain)?;
        let Link::Layer(origin) = link else { return Err(Fault::Internal) };
        Ok(Self {
            node,
            proved,
            origin,
            chain,
            out: BytesMut::new(),
            time: 0,
            status: Status::NONE,
        })
    }

    /// Takes the steps of the request's process, up to the first refusal.
    async fn run(&mut self, admission: &Admission) -> Result<(), Fault> {
        let (time, salt) = (self.now(), node::salt()?);
        self.append(admission.layer(self.node, self.proved, time, salt))?;
        let Ok(admitted) = &admission.outcome else { return Ok(()) };
        let Some(target) = self.resolve(admitted)? else { return Ok(()) };
        let Some(route) = self.node.routes.find(&target) else {
            let detail = format!("this node has no route for {}", target.target());
            return self.refuse(Step::DISPATCH, &Refusal::new(Status::NOT_FOUND, detail));
        };
        self.serve(admitted, &target, route).await
    }

    /// Resolves names until there is none; `None` where the request was refused.
    fn resolve(&mut self, admitted: &Admitted) -> Result<Option<Fqmn>, Fault> {
        let mut target = admitted.target.clone();
        let mut seen = Vec::new();
        loop {
            let resolved = match self.node.names.resolve(&target, &mut seen) {
                Ok(None) => return Ok(Some(target)),
                // A name gives no authority: what it stands for is admitted again.
                Ok(Some(resolved)) if admitted.token.covering(&resolved).is_none() => {
                    Err(not_covered(&resolved))
                }
                other => other,
            };
            match resolved {
                Ok(Some(resolved)) => {
                    let field = Field::bytes(FieldIndex::RESOLVED, resolved.target().to_owned());
                    let layer = self.layer(Step::RESOLVE)?.with_public(field);
                    self.append(layer)?;
                    target = resolved;
                }
                Ok(None) => return Ok(Some(target)),
                Err(refusal) => {
                    self.refuse(Step::RESOLVE, &refusal)?;
                    return Ok(None);
                }
            }
        }
    }

    async fn serve(
        &mut self,
        admitted: &Admitted,
        target: &Fqmn,
        route: &Route,
    ) -> Result<(), Fault> {
        let subject = match route.subject(target) {
            Ok(subject) => subject,
            Err(refusal) => return self.refuse(Step::DISPATCH, &refusal),
        };
        let service = route.service.service();
        let now = node::now();
        let not_after = self.origin.number(FieldIndex::NOT_AFTER).unwrap_or_default();
        // [NAT-6] A deadline is the earlier of the route's time and the origin's `not-after`.
        let time_left = route.timeout.min(Duration::from_micros(not_after.saturating_sub(now)));
        let subject = subject.unwrap_or_default();
        if !subject.is_empty() {
            let deadline = now.saturating_add(u64::try_from(time_left.as_micros()).unwrap_or(0));
            // [NAT-1] A dispatch layer with `subject`, `deadline`, `head` and `bus-auth`.
            let layer = self
                .layer(Step::DISPATCH)?
                .with_public(Field::bytes(FieldIndex::SUBJECT, subject.clone()))
                .with_public(Field::number(FieldIndex::DEADLINE, deadline))
                .with_public(Field::digest(FieldIndex::HEAD, self.chain.head()))
                .with_public(Field::octet(FieldIndex::BUS_AUTH, service.bus_auth().0));
            self.append(layer)?;
        }
        let call = Call {
            caller: admitted.caller,
            target,
            origin: &self.origin,
            subject: &subject,
            time_left,
        };
        let reply = tokio::time::timeout(time_left, service.call(&call)).await;
        // [NAT-5] No reply by the deadline is 504.
        match reply.unwrap_or_else(|_elapsed| Err(nats::deadline_exceeded())) {
            Ok(reply) => self.append_reply(reply),
            Err(refusal) => self.refuse(Step::SERVE, &refusal),
        }
    }

    fn append_reply(&mut self, reply: Reply) -> Result<(), Fault> {
        let mut layer = self.layer(Step::SERVE)?.with_status(reply.status);
        for field in reply.fields {
            layer = match Name::default_class(&field.name) {
                FieldClass::Public => layer.with_public(field),
                FieldClass::Private => layer.with_private(node::salt()?, field),
            };
        }
        if let Some(body) = reply.body {
            layer = layer.with_body(node::salt()?, body);
        }
        match self.append(layer) {
            // [NAT-5] An answer that can't be used is 502.
            Err(Fault::Malformed(kind)) => {
                let detail = format!("the service's answer can't be a layer: {kind}");
                let refusal = Refusal::new(Status::BAD_SERVICE_ANSWER, detail);
                self.refuse(Step::SERVE, &refusal)
            }
            other => other,
        }
    }

    fn refuse(&mut self, step: Step, refusal: &Refusal) -> Result<(), Fault> {
        let layer = self.layer(step)?;
        self.append(refusal.mark(layer))
    }

    fn layer(&mut self, step: Step) -> Result<Layer, Fault> {
        let time = self.now();
        Ok(Layer::new(step, self.node.key.layer_key().public(), time, node::salt()?))
    }

    fn append(&mut self, layer: Layer) -> Result<(), Fault> {
        self.chain.append(&layer)?;
        layer.encode(&mut self.out);
        if layer.status != Status::NONE {
            self.status = layer.status;
        }
        Ok(())
    }

    /// [PRC-7] The node's clock, which does not go back within a message.
    fn now(&mut self) -> u64 {
        self.time = self.time.max(node::now());
        self.time
    }

    fn finish(mut self, logged: bool) -> Result<Bytes, Fault> {
        let node = self.node;
        let mut seal: Seal = if logged {
            let target = self.origin.text(FieldIndex::TARGET).unwrap_or_default();
            let first = target.split(':').next().unwrap_or_default();
            let sealed = Sealed {
                opcode: Opcode::from_name(first).unwrap_or(Opcode(0)),
                message_id: self.origin.fixed(FieldIndex::MESSAGE_ID).unwrap_or_default(),
                status: self.status,
            };
            let now = self.now();
            node.sealer.seal(&node.key, &self.chain, &sealed, now)
        } else {
            node.sealer.seal_unlogged(&node.key, &self.chain)
        };
        // [FRM-17] A SEAL MUST carry `body-unread` if layer 0 gets the flag by it.
        seal.body_unread = self.origin.has(LayerFlags::BODY_UNREAD);
        Frame::Seal(Box::new(seal)).encode(&mut self.out);
        Ok(self.out.freeze())
    }
}

fn body_too_large(body_max: u64) -> Refusal {
    let detail = format!("this node takes bodies of up to {body_max} bytes");
    Refusal::new(Status::BODY_TOO_LARGE, detail)
}

/// QUIC carries 62-bit codes; ours are registered far below 2^32.
pub(crate) const fn code(code: CloseCode) -> u32 {
    if code.0 > u32::MAX as u64 { u32::MAX } else { code.0 as u32 }
}

/// Bytes taken from a stream at a time: a few datagrams' worth, so that one stream does not hold up the others.
const READ_MAX: usize = 64 * 1024;
