//! Raw quinn with the evidence of an exchange: what every implementation does at least, and so about the most that one can reach.

use std::net::SocketAddr;

use anyhow::ensure;
use bytes::Bytes;
use quinn::SendStream;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::evidence::{self, COMMIT_MAX, Journal, body_of};
use crate::keys::Keys;
use crate::load::Call;
use crate::nats::SUBJECT;
use crate::quic;

/// Answers the streams of all connections; with the body itself, or with what the echo service on NATS makes of it.
pub(crate) async fn serve(keys: &Keys, nats: Option<&str>) -> anyhow::Result<()> {
    let nats = match nats {
        Some(url) => Some(async_nats::connect(url).await?),
        None => None,
    };
    let endpoint = quic::server(keys, quic::ALPN)?;
    while let Some(incoming) = endpoint.accept().await {
        let nats = nats.clone();
        let (ready, batches) = mpsc::unbounded_channel();
        tokio::spawn(commit(batches));
        tokio::spawn(async move {
            let connection = incoming.await?;
            loop {
                let (send, mut receive) = connection.accept_bi().await?;
                let request = Bytes::from(receive.read_to_end(REQUEST_MAX).await?);
                let body = body_of(&request);
                match &nats {
                    // Whoever waits for it is gone if this fails.
                    None => ready.send((send, (request, body)))?,
                    Some(nats) => {
                        let (nats, ready) = (nats.clone(), ready.clone());
                        tokio::spawn(async move {
                            let reply = nats.request(SUBJECT, body).await?.payload;
                            ready.send((send, (request, reply)))?;
                            anyhow::Ok(())
                        });
                    }
                }
            }
            #[expect(unreachable_code, reason = "names the type of the task's errors")]
            anyhow::Ok(())
        });
    }
    Ok(())
}

/// A request that waits for its answer to be sealed, and the body that answers it.
type Served = (SendStream, (Bytes, Bytes));

/// Commits what is ready, as much at a time as there is.
async fn commit(mut ready: UnboundedReceiver<Served>) -> anyhow::Result<()> {
    let mut journal = Journal::make()?;
    let mut batch = Vec::with_capacity(COMMIT_MAX);
    while ready.recv_many(&mut batch, COMMIT_MAX).await > 0 {
        let (sends, exchanges): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        for (mut send, answer) in sends.into_iter().zip(journal.answer(&exchanges)?) {
            send.write_chunk(answer).await?;
            send.finish()?;
        }
        // The answers leave before the log is written, as mode `async` allows.
        tokio::task::yield_now().await;
        journal.write()?;
    }
    Ok(())
}

/// A stream for each call.
#[derive(Clone)]
pub(crate) struct Exchange(quic::Stream);

impl Exchange {
    pub(crate) async fn connect(address: SocketAddr, keys: &Keys) -> anyhow::Result<Self> {
        Ok(Self(quic::Stream::connect(address, keys).await?))
    }
}

impl Call for Exchange {
    async fn call(&mut self, body: Bytes) -> anyhow::Result<usize> {
        let length = body.len();
        let answer = self.0.call(evidence::request(&body)).await?;
        ensure!(evidence::answers(answer, length), "an answer of {answer} bytes");
        Ok(length)
    }
}

const REQUEST_MAX: usize = 1 << 20;
