//! `cmtp services`: what answers on a bus.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use async_nats::{Client, StatusCode};
use clap::Args;
use cmtp_client::bus;
use cmtp_spec::binding;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;

/// List the services on a bus: what they are called, what they listen to, and how they do.
///
/// Asks with $SRV.PING, $SRV.INFO and $SRV.STATS, which every NATS micro service answers, layered or
/// plain, one line for each instance. A layered service names its actor: the DID that a route of the
/// node pins with `actors`. Nobody authenticates what is shown; it is what the bus says.
///
/// Health is `ok` where all three were answered, and `partial` where not; calls to such a service may
/// still succeed. The times are the mean time to answer since it started, and that of the ping.
///
///   cmtp services --bus nats=nats://127.0.0.1:4222
///   cmtp services --bus nats=nats://ann:secret@bus.example:4222 --wait 2000
///   cmtp services --bus nats=tls://bus.example:4222 --json | jq '.[] | select(.kind == "layered") | .actor'
///
/// Exit codes: 0 (also where there are none), 2 for a bus that can't be named so, 3 where no bus is.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Services {
    /// The bus, as `cmtpd serve` takes it; the URL may hold user:password@ or token@.
    #[arg(long, value_name = "nats=URL")]
    bus: String,
    /// Print everything as JSON: a list with an object for each instance.
    #[arg(long)]
    json: bool,
    /// Milliseconds to wait for answers; more where services are far away.
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    wait: u64,
}

impl Services {
    pub(crate) fn run(self) -> Outcome {
        let url =
            self.bus.strip_prefix("nats=").filter(|url| !url.is_empty()).ok_or_else(|| {
                Failure::usage(anyhow!(
                    "--bus: expected nats=URL, such as nats=nats://127.0.0.1:4222"
                ))
            })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime")?;
        let found = runtime.block_on(async {
            tokio::select! {
                found = find(url, Duration::from_millis(self.wait)) => found.map(Some),
                _interrupted = tokio::signal::ctrl_c() => Ok(None),
            }
        });
        let Some(found) = found.map_err(Failure::no_node)? else { return Ok(Exit::Interrupted) };
        if self.json {
            let all: Vec<_> = found.iter().map(Found::to_json).collect();
            terminal::write_line(&format!("{:#}", Value::from(all)))?;
        } else if found.is_empty() {
            eprintln!("no service answers on this bus; --wait waits for slower ones");
        } else {
            terminal::write_out(table(&found).as_bytes())?;
        }
        Ok(Exit::Success)
    }
}

/// An instance of a service, as far as it answered.
#[derive(Debug, Default)]
struct Found {
    id: String,
    ping: Option<Value>,
    round_trip: Option<Duration>,
    info: Option<Value>,
    stats: Option<Value>,
}

/// All instances that answer within `wait`, by name and id.
async fn find(url: &str, wait: Duration) -> anyhow::Result<Vec<Found>> {
    let client = bus::connect(url, "cmtp").await;
    let client = client.with_context(|| format!("no bus at {}", bus::without_credentials(url)))?;
    let asked = futures::try_join!(
        ask(&client, "$SRV.PING", wait),
        ask(&client, "$SRV.INFO", wait),
        ask(&client, "$SRV.STATS", wait),
    );
    let (pings, infos, stats) = asked?;
    let mut found = BTreeMap::new();
    let mut put = |answers: Vec<(Value, Duration)>, keep: fn(&mut Found, Value, Duration)| {
        for (answer, after) in answers {
            let (name, id) = (text(&answer, "name"), text(&answer, "id"));
            // Without an id it can't be told from others.
            if !id.is_empty() && found.len() < FOUND_MAX {
                let entry = found.entry((name, id.clone()));
                keep(entry.or_insert_with(|| Found { id, ..Found::default() }), answer, after);
            }
        }
    };
    put(pings, |found, ping, after| {
        found.ping = Some(ping);
        found.round_trip = Some(after);
    });
    put(infos, |found, info, _after| found.info = Some(info));
    put(stats, |found, stats, _after| found.stats = Some(stats));
    Ok(found.into_values().collect())
}

/// What comes back within `wait`, and how long each answer took. Who answers with something else than JSON is passed over.
async fn ask(
    client: &Client,
    subject: &'static str,
    wait: Duration,
) -> anyhow::Result<Vec<(Value, Duration)>> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    let began = Instant::now();
    client.publish_with_reply(subject, inbox, "".into()).await?;
    client.flush().await?;
    let mut found = Vec::new();
    let until = tokio::time::sleep(wait);
    tokio::pin!(until);
    loop {
        let message = tokio::select! {
            message = answers.next() => message,
            () = &mut until => return Ok(found),
        };
        match message {
            // Nobody listens, so that nothing is to be waited for.
            Some(message) if message.status == Some(StatusCode::NO_RESPONDERS) => return Ok(found),
            Some(message) => {
                let answer = serde_json::from_slice(&message.payload);
                found.extend(answer.ok().map(|answer| (answer, began.elapsed())));
            }
            None => return Ok(found),
        }
        if found.len() >= FOUND_MAX {
            return Ok(found);
        }
    }
}

impl Found {
    /// What any of the answers says of this.
    fn says(&self, key: &str) -> &Value {
        let answers = [&self.info, &self.ping, &self.stats].into_iter().flatten();
        answers.map(|answer| &answer[key]).find(|value| !value.is_null()).unwrap_or(&Value::Null)
    }

    fn metadata(&self, key: &str) -> Option<&str> {
        self.says("metadata")[key].as_str()
    }

    fn is_layered(&self) -> bool {
        self.metadata(binding::SERVICE_KIND) == Some(binding::SERVICE_LAYERED)
    }

    fn kind(&self) -> &'static str {
        if self.is_layered() { "layered" } else { "plain" }
    }

    fn health(&self) -> &'static str {
        let complete = self.ping.is_some() && self.info.is_some() && self.stats.is_some();
        if complete { "ok" } else { "partial" }
    }

    /// The endpoints, with their numbers where there are any.
    fn endpoints(&self) -> Vec<Value> {
        let list = |answer: &Option<Value>| {
            let endpoints = answer.as_ref().and_then(|answer| answer["endpoints"].as_array());
            endpoints.cloned().unwrap_or_default()
        };
        let (infos, stats) = (list(&self.info), list(&self.stats));
        let shown = if infos.is_empty() { &stats } else { &infos };
        let one = |endpoint: &Value| {
            let counted = stats.iter().find(|counted| counted["subject"] == endpoint["subject"]);
            let counted = counted.unwrap_or(&Value::Null);
            json!({
                "name": endpoint["name"],
                "subject": endpoint["subject"],
                "queue_group": endpoint["queue_group"],
                "requests": counted["num_requests"],
                "errors": counted["num_errors"],
                "average_ns": counted["average_processing_time"],
                "last_error": counted["last_error"],
            })
        };
        shown.iter().map(one).collect()
    }

    fn to_json(&self) -> Value {
        let schemes = self.metadata(binding::SERVICE_SCHEMES);
        json!({
            "name": self.says("name"),
            "id": self.id,
            "version": self.says("version"),
            "description": self.says("description"),
            "kind": self.kind(),
            "actor": self.metadata(binding::SERVICE_ACTOR),
            "schemes": schemes.map(|schemes| schemes.split(' ').collect::<Vec<_>>()),
            "health": self.health(),
            "round_trip_us": self.round_trip.map(|after| after.as_micros() as u64),
            "started": self.stats.as_ref().map(|stats| &stats["started"]),
            "endpoints": self.endpoints(),
        })
    }
}

fn table(found: &[Found]) -> String {
    let head = [
        "NAME", "VERSION", "KIND", "HEALTH", "PING", "SUBJECT", "GROUP", "REQUESTS", "ERRORS",
        "MEAN",
    ];
    let mut rows = vec![(head.map(str::to_owned).to_vec(), None)];
    for instance in found {
        let own = [
            shown(instance.says("name")),
            shown(instance.says("version")),
            instance.kind().to_owned(),
            instance.health().to_owned(),
            instance.round_trip.map_or_else(|| "-".to_owned(), milliseconds),
        ];
        let mut endpoints = instance.endpoints();
        if endpoints.is_empty() {
            endpoints.push(Value::Null);
        }
        let actor = instance.metadata(binding::SERVICE_ACTOR).map(terminal::printable);
        let last = endpoints.len() - 1;
        for (number, endpoint) in endpoints.iter().enumerate() {
            let mut row = if number == 0 { own.to_vec() } else { vec![String::new(); own.len()] };
            row.extend(
                ["subject", "queue_group", "requests", "errors"].map(|key| shown(&endpoint[key])),
            );
            let mean = endpoint["average_ns"].as_u64().map(Duration::from_nanos);
            row.push(mean.map_or_else(|| "-".to_owned(), milliseconds));
            let shows_actor = number == last && instance.is_layered();
            rows.push((row, actor.clone().filter(|_| shows_actor)));
        }
    }
    let mut widths = vec![0; head.len()];
    for (row, _) in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for (row, actor) in &rows {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
        if let Some(actor) = actor {
            text.push_str(&format!("  actor {actor}\n"));
        }
    }
    text
}

/// A value of a peer, for a terminal.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => terminal::printable(text),
        other => terminal::printable(&other.to_string()),
    }
}

fn text(answer: &Value, key: &str) -> String {
    answer[key].as_str().unwrap_or_default().to_owned()
}

fn milliseconds(span: Duration) -> String {
    format!("{:.2} ms", span.as_secs_f64() * 1_000.0)
}

/// More instances than a person reads; a bus can't fill the memory of who looks at it.
const FOUND_MAX: usize = 10_000;
