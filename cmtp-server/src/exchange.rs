//! One exchange: a request stream from its first frame to the seal. `cmtp-spec/spec/09-quic.md`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cmtp_codec::{Chain, Field, Fqmn, Frame, Layer, Link, Name, Seal};
use cmtp_spec::{CloseCode, FieldClass, FieldIndex, LayerFlags, Opcode, Status, Step};
use quinn::{RecvStream, SendStream, VarInt};

use crate::admit::{Admission, Admitted, Proved, not_covered};
use crate::incoming::{Fault, Incoming, Rest};
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

/// QUIC carries 62-bit codes; ours are registered far below 2^32.
pub(crate) const fn code(code: CloseCode) -> u32 {
    if code.0 > u32::MAX as u64 { u32::MAX } else { code.0 as u32 }
}
