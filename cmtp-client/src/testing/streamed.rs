//! A streamed answer, sent as a test says.

use cmtp_codec::{Chain, Digest, Field, Frame, Layer, Link, Salt, Seal, SigningKey};
use cmtp_spec::{EntryType, FieldIndex, LayerFlags, Status, Step};
use quinn::SendStream;

use super::{FakeConnection, FakeRequest, NODE, NOW, admit, receipt, send, signing_key};

/// A streamed answer on its way.
pub(crate) struct Streamed {
    origin: Layer,
    chain: Chain,
    pub(crate) send: SendStream,
}

impl Streamed {
    /// Admits the request and begins to serve it, on the connection that it says; nothing is sealed.
    pub(crate) async fn begin(request: FakeRequest, admitted_on: &FakeConnection) -> Self {
        let FakeRequest { origin, send, .. } = request;
        let mut chain = Chain::default();
        chain.push(&Link::Layer(origin.clone())).unwrap();
        let node = signing_key(NODE);
        let admit = admit(&node, Digest::of(&admitted_on.exporter), Digest::ZERO)
            .with_public(Field::bytes(FieldIndex::POLICIES, "0xS:**"));
        let serve =
            Layer::new(Step::SERVE, node.public(), NOW + 2, Salt([4; 16])).with_status(Status::OK);
        let mut streamed = Self { origin, chain, send };
        streamed.layer(admit).await;
        streamed.layer(serve).await;
        streamed
    }

    /// A segment, the last one with flag `complete`.
    pub(crate) async fn segment(&mut self, data: &'static str, last: bool) {
        let node = signing_key(NODE).public();
        let segment = Layer::new(Step::SEGMENT, node, NOW + 2, Salt([6; 16]))
            .with_body(Salt([7; 16]), data.as_bytes());
        let flagged = segment.clone().with_flag(LayerFlags::COMPLETE);
        self.layer(if last { flagged } else { segment }).await;
    }

    /// An interim seal over all so far, which `change` may forge.
    pub(crate) async fn interim(&mut self, change: impl FnOnce(&mut Seal)) {
        self.interim_by(&signing_key(NODE), change).await;
    }

    /// An interim seal by whoever has that key.
    pub(crate) async fn interim_by(&mut self, node: &SigningKey, change: impl FnOnce(&mut Seal)) {
        let mut seal = Seal::new(node.public(), self.chain.interim_seal(&node.public()));
        let kind = (EntryType::SEGMENT, Status::OK);
        let layers = self.chain.length();
        seal.receipt = Some(receipt(node, &self.origin, kind, layers, seal.hash));
        change(&mut seal);
        send(&mut self.send, &[Frame::Interim(Box::new(seal))]).await;
    }

    /// The final seal, which `change` may forge, and the end of the stream.
    pub(crate) async fn seal(mut self, change: impl FnOnce(&mut Seal)) {
        let node = signing_key(NODE);
        let mut seal = Seal::new(node.public(), self.chain.seal(&node.public()));
        let kind = (EntryType::EXCHANGE, Status::OK);
        let layers = self.chain.length();
        seal.receipt = Some(receipt(&node, &self.origin, kind, layers, seal.hash));
        change(&mut seal);
        send(&mut self.send, &[Frame::Seal(Box::new(seal))]).await;
        self.send.finish().unwrap();
    }

    async fn layer(&mut self, layer: Layer) {
        self.chain.append(&layer).unwrap();
        let mut bytes = bytes::BytesMut::new();
        layer.encode(&mut bytes);
        self.send.write_all(&bytes).await.unwrap();
    }
}
