//! NATS alone: async-nats, request and reply.

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use futures::StreamExt;

use crate::load::Call;

/// Serve the subject that all cells over NATS use: sends back what it gets. Prints a line once it is there.
#[derive(Args)]
pub(crate) struct NatsEcho {
    url: String,
}

impl NatsEcho {
    #[tokio::main(worker_threads = 2)]
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let client = async_nats::connect(&self.url).await?;
        let mut requests = client.subscribe(SUBJECT).await?;
        client.flush().await?;
        println!("ready");
        while let Some(request) = requests.next().await {
            let inbox = request.reply.context("a request has a reply subject")?;
            client.publish(inbox, request.payload).await?;
        }
        Ok(())
    }
}

/// A request for each call.
#[derive(Clone)]
pub(crate) struct Request(async_nats::Client);

impl Request {
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        Ok(Self(async_nats::connect(url).await?))
    }
}

impl Call for Request {
    async fn call(&mut self, body: Bytes) -> anyhow::Result<usize> {
        Ok(self.0.request(SUBJECT, body).await?.payload.len())
    }
}

pub(crate) const SUBJECT: &str = "bench.echo";
