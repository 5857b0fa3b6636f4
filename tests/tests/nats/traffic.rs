//! Callers that read and write all the time, and what they were told.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use cmtp_client::Answer;
use cmtp_spec::Status;
use cmtp_tests::load::{self, Receipt};
use data_encoding::HEXLOWER;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::scene::Scene;

/// What was answered.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: Status,
    pub(crate) is_write: bool,
    pub(crate) detail: String,
    receipt: Receipt,
}

/// Callers at work.
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    slots: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    told: Mutex<Vec<Told>>,
    progress: Notify,
    stop: AtomicBool,
}

impl Traffic {
    /// Begins to call `target`, in turns as a read and as a write, in so many slots at a time.
    pub(crate) fn begin(scene: &Scene, target: &str, slots: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for slot in 0..slots {
            let (shared, caller) = (Arc::clone(&shared), Arc::clone(&scene.caller));
            let target = target.to_owned();
            tasks.spawn(async move {
                let connection = caller.connect().await;
                for number in slot.. {
                    if shared.stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let is_write = number % 2 == 1;
                    let opcode = if is_write { "0xSW" } else { "0xS" };
                    let body = format!("{slot} {number}");
                    let request = caller.write(&connection, &format!("{opcode}:{target}"), &body);
                    // No request is left without an answer, whatever happens behind the node.
                    let answer = connection.send(&request).await.expect("an answer");
                    shared.take(&answer, is_write, &body);
                }
            });
        }
        Self { shared, slots: tasks }
    }

    /// Waits for so many more answers of the service.
    pub(crate) async fn served(&self, more: usize) {
        let goal = self.shared.served() + more;
        self.shared.until(|shared| shared.served() >= goal).await;
    }

    /// Waits for so many more answers by the node itself.
    pub(crate) async fn refused(&self, more: usize) {
        let refused = |shared: &Shared| shared.count(|told| told.status != Status::OK);
        let goal = refused(&self.shared) + more;
        self.shared.until(|shared| refused(shared) >= goal).await;
    }

    /// Ends, and gives all that was answered, by the journal's word, too: one outcome for each write, one entry for each read.
    pub(crate) async fn end(self, scene: &Scene) -> Vec<Told> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.slots.join_all().await;
        let told = std::mem::take(&mut *self.shared.told.lock().unwrap());
        let receipts: Vec<_> = told.iter().map(|told| told.receipt.clone()).collect();
        let entries = load::check(&scene.node, &receipts, 0);
        let mut outcomes: HashMap<String, Vec<String>> = HashMap::new();
        for entry in &entries {
            let entry_type = entry["type"].as_str().unwrap();
            if let (Some(id), "outcome" | "exchange" | "refusal") =
                (entry["message_id"].as_str(), entry_type)
            {
                outcomes.entry(id.to_owned()).or_default().push(entry_type.to_owned());
            }
        }
        for Told { status, is_write, receipt, detail } in &told {
            let id = HEXLOWER.encode(&receipt.message_id);
            let expected = match (is_write, *status == Status::OK) {
                (true, _) => "outcome",
                (false, true) => "exchange",
                (false, false) => "refusal",
            };
            assert_eq!(
                outcomes.get(&id).map(Vec::as_slice),
                Some(&[expected.to_owned()][..]),
                "{id} {detail}"
            );
        }
        told
    }
}

impl Shared {
    fn take(&self, answer: &Answer, is_write: bool, body: &str) {
        let status = answer.status();
        if status == Status::OK {
            assert_eq!(answer.body().unwrap(), body);
        }
        let detail = answer.detail().unwrap_or_default().to_owned();
        let receipt = Receipt::of(answer);
        self.told.lock().unwrap().push(Told { status, is_write, detail, receipt });
        self.progress.notify_waiters();
    }

    fn count(&self, counts: impl Fn(&Told) -> bool) -> usize {
        self.told.lock().unwrap().iter().filter(|told| counts(told)).count()
    }

    fn served(&self) -> usize {
        self.count(|told| told.status == Status::OK)
    }

    async fn until(&self, reached: impl Fn(&Self) -> bool) {
        loop {
            let mut progress = pin!(self.progress.notified());
            // From here on progress is noticed, so none is missed between the look and the wait.
            progress.as_mut().enable();
            if reached(self) {
                return;
            }
            progress.await;
        }
    }
}

/// An instance of a layered service in a process of its own, whose actor is that of [`crate::scene::actor`].
pub(crate) struct Process(Child);

impl Process {
    /// Starts it, and waits until it answers.
    pub(crate) fn start(scene: &Scene, subject: &str) -> Self {
        let seed = HEXLOWER.encode(&[7; 32]);
        let mut child = Command::new(cmtp_tests::binary("hello_service"))
            .args([&scene.server.url, &scene.node.did, subject, &seed])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let line = BufReader::new(child.stdout.as_mut().unwrap()).lines().next();
        assert_eq!(line.unwrap().unwrap(), "ready");
        Self(child)
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Tells it to stop, and waits until it did.
    pub(crate) fn drain(mut self) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
        assert!(self.0.wait().unwrap().success(), "it finished what it had");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}
