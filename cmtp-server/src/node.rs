//! The node: what all connections share.

mod error;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cmtp_client::Identity;
use cmtp_codec::{PublicKey, RecoveryCommitment, SigningKey};
use cmtp_spec::{EntryType, JournalMode, limits};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::addresses::Addresses;
use crate::audit_stream::Audit;
use crate::config::{Config, SessionSettings};
use crate::erasure::Eraser;
use crate::issuers::Issuers;
use crate::journal::{Draft, Journal, JournalConfig, JournalError, JournalReport};
use crate::limits::Limits;
use crate::log::{Cosigners, Log, LogConfig, LogService, Past};
use crate::metrics::Metrics;
use crate::names::Names;
use crate::nats::{AuditStream, Bus};
use crate::node_keys::{NodeKeys, NodeKeysError};
use crate::policies::Keeper;
use crate::rebuild::{RebuildError, Rebuilt};
use crate::refusals::Refusals;
use crate::room::Room;
use crate::routes::{BuiltIn, Routes};
use crate::service::Services;
use crate::sessions::{SessionService, Sessions};
use crate::writes::{self, Writes};

pub use error::NodeError;

/// What a node is and knows: keys, journal, names, routes. All connections share it.
pub struct Node {
    did: PublicKey,
    /// Those that it shows. What the journal signs with follows them.
    keys: watch::Sender<Arc<NodeKeys>>,
    /// Held by whoever changes what is in force.
    changing: tokio::sync::Mutex<()>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) log: Arc<Log>,
    pub(crate) writes: Arc<Writes>,
    pub(crate) sessions: Arc<Sessions>,
    built_in: BuiltIn,
    services: Services,
    bus: Option<Bus>,
    /// Where entries go to JetStream.
    publishing: Option<AbortOnDropHandle<()>>,
    live: RwLock<Arc<Live>>,
    /// Set once: from then on no new request is taken.
    pub(crate) drain: CancellationToken,
    /// The requests that are being answered.
    pub(crate) exchanges: TaskTracker,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) room: Room,
    pub(crate) refusals: Refusals,
    pub(crate) addresses: Addresses,
    /// Unset while the node has nothing but IAM.
    serves: AtomicBool,
    pub(crate) policies: Keeper,
    data: PathBuf,
    report: JournalReport,
    /// Where a log was followed: until then writes may come that were executed and are not known any more. Microseconds since
    /// 1970.
    no_writes_until: Option<u64>,
}

/// What a reload replaces. A request keeps what was in force when it came.
pub(crate) struct Live {
    /// Whose layer key is the actor of the node's layers, and the sender on the bus.
    pub(crate) keys: Arc<NodeKeys>,
    pub(crate) names: Names,
    pub(crate) routes: Routes,
    pub(crate) journal_mode: JournalMode,
    pub(crate) body_max: u64,
    pub(crate) session: SessionSettings,
    pub(crate) issuers: Arc<Issuers>,
    config: Config,
}

impl Node {
    /// Opens a node that has no services but its own: as [`Node::open_with`].
    ///
    /// # Errors
    /// [`NodeError`] names the culprit.
    pub async fn open(config: &Config) -> Result<Self, NodeError> {
        Self::open_with(config, Services::default()).await
    }

    /// Opens the node: reads or makes its key, replays its journal, connects to the bus.
    ///
    /// What a crash left unfinished is closed first: a write that was dispatched ends with `outcome-unknown`, a stream
    /// is cut.
    ///
    /// # Errors
    /// [`NodeError`] names the culprit.
    pub async fn open_with(config: &Config, services: Services) -> Result<Self, NodeError> {
        let keys = Arc::new(NodeKeys::load_or_create(&config.data)?);
        let policies = Keeper::open(config)?;
        let metrics = Metrics::default();
        let journal = JournalConfig {
            folder: config.data.join(JOURNAL),
            segment_bytes: config.journal.segment_bytes,
            merge_delay: config.log.merge_delay,
            metrics: metrics.journal.clone(),
        };
        let mut rebuilt = Rebuilt::new(&keys, now());
        let (journal, report, unfinished) =
            Journal::open(&journal, Arc::clone(&keys), |commit| rebuilt.take(commit))?;
        let Rebuilt { state, writes, notes, erased, grants, unreadable, .. } = rebuilt;
        // [SES-17] What was revoked is refused after each start.
        if let Some(seal) = unreadable {
            return Err(RebuildError::Revocation(seal).into());
        }
        let (journal, writes) = (Arc::new(journal), Arc::new(writes));
        // They come with the first entry that is made, which may be of the log.
        journal.begin(Arc::clone(&keys), notes.missing(&keys)?);
        let (log, followed) = open_log(config, &keys, &journal).await?;
        let log = Arc::new(log);
        let eraser = Eraser::new(keys.public(), Arc::clone(&journal), Arc::clone(&writes), state);
        let sessions = Arc::new(Sessions::new(&keys, Arc::clone(&journal), grants));
        let session_service =
            SessionService { sessions: Arc::clone(&sessions), node: keys.public() };
        let built_in = BuiltIn {
            eraser: Arc::new(eraser),
            audit: Audit::new(journal.follow()),
            log: Arc::new(LogService { log: Arc::clone(&log), journal: journal.follow() }),
            sessions: Arc::new(session_service),
        };
        let bus = Bus::open(&config.bus, &keys, metrics.bus.clone()).await?;
        let publishing = match (config.audit.stream, &bus) {
            (false, _) => None,
            (true, None) => return Err(NodeError::NoBusForAudit),
            (true, Some(bus)) => {
                let (follower, audit) = (journal.follow(), metrics.audit.clone());
                // The log may be one that was begun just now.
                let of = (&keys.public(), journal.log_number());
                let stream = AuditStream::new(bus, follower, of, config.audit, audit);
                Some(AbortOnDropHandle::new(tokio::spawn(stream.run())))
            }
        };
        let parts = (&Issuers::default(), &keys);
        let live = Live::new(config, &built_in, bus.as_ref(), &services, parts)?;
        let node = Self {
            live: RwLock::new(Arc::new(live)),
            did: keys.public(),
            keys: watch::Sender::new(keys),
            changing: tokio::sync::Mutex::default(),
            built_in,
            sessions,
            log,
            bus,
            publishing,
            services,
            policies,
            writes,
            drain: CancellationToken::new(),
            exchanges: TaskTracker::new(),
            room: Room::new(&config.limits),
            limits: config.limits.clone(),
            metrics,
            refusals: Refusals::default(),
            addresses: Addresses::default(),
            serves: AtomicBool::new(true),
            journal,
            data: config.data.clone(),
            report,
            no_writes_until: followed.or(notes.followed).map(writes_begin),
        };
        node.built_in.eraser.erase_again(&erased).await;
        // [JRN-6] What a crash left open is closed before requests are taken.
        for message in unfinished {
            node.close_message(&message.pieces).await.map(|_closed| ()).or_else(unless_full)?;
        }
        node.note_beginning(&notes, config).await.or_else(unless_full)?;
        Ok(node)
    }

    /// Takes over another configuration: names, routes, limits, journal modes and outside issuers, for requests that come from now on.
    ///
    /// Connections live on. What needs a new start (the address, the data directory, the bus) stays as it is; the keys of
    /// those that differ are given back.
    ///
    /// # Errors
    /// [`NodeError`] names the culprit; everything stays as it was.
    pub async fn reload(&self, config: &Config) -> Result<Vec<&'static str>, NodeError> {
        let _changing = self.changing.lock().await;
        let before = self.live().config.clone();
        let live = self.live_with(config, &self.keys())?;
        self.note_config(config).await?;
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
        let fixed = [
            ("listen", before.listen == config.listen),
            ("threads", before.threads == config.threads),
            ("data", before.data == config.data),
            ("bus", before.bus == config.bus),
            ("http", before.http == config.http),
            ("policy", before.policy == config.policy),
            ("audit", before.audit == config.audit),
            ("limits", before.limits == config.limits),
            ("log", before.log == config.log),
            ("journal.segment-bytes", before.journal.segment_bytes == config.journal.segment_bytes),
        ];
        Ok(fixed.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect())
    }

    fn live_with(&self, config: &Config, keys: &Arc<NodeKeys>) -> Result<Live, NodeError> {
        let (bus, issuers) = (self.bus.as_ref(), self.issuers());
        Live::new(config, &self.built_in, bus, &self.services, (&issuers, keys))
    }

    /// Takes over the keys that the data directory has by now, where their list is newer; whether it is.
    ///
    /// # Errors
    /// [`NodeError`] names the culprit; the keys of before stay in force.
    pub async fn renew_keys(&self) -> Result<bool, NodeError> {
        let _changing = self.changing.lock().await;
        let data = self.data.clone();
        let reading = tokio::task::spawn_blocking(move || NodeKeys::load(&data));
        let lost = || NodeKeysError::Lost { path: self.data.clone() };
        let newer = Arc::new(reading.await.map_err(|_panicked| lost())??);
        let number = newer.list().number;
        if newer.public() != self.did {
            return Err(NodeKeysError::OtherRoot { path: self.data.clone() }.into());
        }
        if number <= self.keys().list().number {
            return Ok(false);
        }
        let config = self.live().config.clone();
        let note = Draft::note(EntryType::KEYS, &newer.key_list().to_bytes());
        let note = note.map_err(RebuildError::from)?;
        let live = self.live_with(&config, &newer)?;
        if let Some(bus) = &self.bus {
            bus.renew(Arc::clone(&newer));
        }
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
        // First everybody is shown them, who then knows whose seals come.
        self.keys.send_replace(Arc::clone(&newer));
        tokio::time::sleep(SHOWN).await;
        self.journal.begin(newer, vec![note]);
        let noted = self.journal.noted().await.map_err(RebuildError::from);
        noted.or_else(unless_full)?;
        tracing::info!(number, "the keys of a new list are in use");
        Ok(true)
    }

    /// Looks twice a second whether the data directory has other keys, and takes them over; ends never.
    pub async fn keep_keys(&self) {
        let mut every = tokio::time::interval(LOOK);
        let mut seen = None;
        loop {
            every.tick().await;
            let stamp = NodeKeys::stamp(&self.data).await;
            if stamp == seen {
                continue;
            }
            seen = stamp;
            if let Err(error) = self.renew_keys().await {
                tracing::error!(%error, "the keys of before stay in use");
            }
        }
    }

    /// The keys that the node shows now.
    pub(crate) fn keys(&self) -> Arc<NodeKeys> {
        Arc::clone(&self.keys.borrow())
    }

    /// Looks at the keys that the node shows now, for a moment.
    pub(crate) fn with_keys<T>(&self, look: impl FnOnce(&NodeKeys) -> T) -> T {
        look(&self.keys.borrow())
    }

    /// Sees the keys that the node shows.
    pub(crate) fn watch_keys(&self) -> watch::Receiver<Arc<NodeKeys>> {
        self.keys.subscribe()
    }

    /// What is in force now.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The outside issuers that are trusted now.
    pub fn issuers(&self) -> Arc<Issuers> {
        Arc::clone(&self.live().issuers)
    }

    /// Seconds to wait with a write whose id may be one that was executed in what was lost.
    pub(crate) fn writes_after(&self, message_id: &[u8; 16], now: u64) -> Option<u64> {
        writes::wait(self.no_writes_until?, writes::id_time(message_id), now)
    }

    /// Keeps all services back but IAM: sessions can be opened, and whatever else is asked for gets 503.
    pub fn hold_services(&self) {
        self.serves.store(false, Ordering::Release);
    }

    /// Starts the services that [`Node::hold_services`] kept back.
    pub fn start_services(&self) {
        self.serves.store(true, Ordering::Release);
    }

    pub(crate) fn serves(&self) -> bool {
        self.serves.load(Ordering::Acquire)
    }

    /// Who the node is where it calls, itself or others.
    ///
    /// # Errors
    /// [`NodeError::NoEntropy`]; no seed is known that is refused.
    pub fn identity(&self) -> Result<Identity, NodeError> {
        let keys = self.keys();
        let refused = |_refused| NodeError::NoEntropy;
        let recovery = SigningKey::from_seed(&keys.derived("own recovery")).map_err(refused)?;
        let identity = Identity::from_seed(&keys.derived("own persona"));
        let identity = identity.map_err(|_refused| NodeError::NoEntropy)?;
        Ok(identity.committed(RecoveryCommitment::to(&recovery.public())))
    }

    /// What was refused before a token was accepted.
    pub const fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// The folder that has a folder for each log.
    pub(crate) fn log_root(&self) -> PathBuf {
        self.data.join(LOG)
    }

    /// Who the node is.
    pub const fn did(&self) -> PublicKey {
        self.did
    }

    /// What the journal held when the node was opened.
    pub const fn journal_report(&self) -> &JournalReport {
        &self.report
    }

    /// Waits until the journal fails, which is when the node must end: it can't acknowledge anything any more.
    pub async fn failed(&self) -> String {
        self.journal.failed().await
    }

    /// What keeps the node from taking requests, if anything does.
    pub(crate) fn trouble(&self) -> Option<String> {
        if let Some(reason) = self.journal.failure() {
            return Some(format!("the journal failed: {reason}"));
        }
        if self.journal.is_full() {
            return Some("the journal's disk is full".to_owned());
        }
        self.drain.is_cancelled().then(|| "the node stops".to_owned())
    }

    /// Journals, once a minute, how many were refused before a token was accepted, and why; ends never.
    pub async fn keep_summaries(&self) {
        let mut every = tokio::time::interval(SUMMARY);
        loop {
            every.tick().await;
            self.summarize().await;
        }
    }

    /// [JRN-9] Journals the refusals that were counted since the last time: one entry for all, and none for none.
    pub async fn summarize(&self) {
        let counts = self.refusals.take();
        if counts.is_empty() {
            return;
        }
        let lines = counts.iter().map(|(reason, count)| {
            self.metrics.refused(*reason, *count);
            format!("{reason} {count}\n")
        });
        let text: String = lines.collect();
        if let Err(error) = self.note_refusals(&text).await {
            tracing::warn!(%error, "a summary of refusals can't be journalled");
        }
    }

    /// Makes the journal durable, signs a checkpoint over all of it, and ends both; nothing is answered afterwards.
    pub fn close(&self) {
        self.journal.close();
        self.log.close();
    }

    /// What a scrape gets.
    pub(crate) fn metrics_text(&self) -> String {
        let durable = self.publishing.as_ref().map(|_running| self.journal.follow().durable());
        self.metrics.text(self.exchanges.len(), durable)
    }

    /// Waits until the node takes no more requests.
    pub(crate) async fn draining(&self) {
        self.drain.cancelled().await;
    }
}

/// Opens the log that the journal is of. Where it does not continue what is known of it, and the operator says so, a new one
/// is begun, and the time of that given back.
async fn open_log(
    config: &Config,
    keys: &NodeKeys,
    journal: &Journal,
) -> Result<(Log, Option<u64>), NodeError> {
    let number = journal.log_number();
    let root = config.data.join(LOG);
    let mut cosigners = Cosigners::new(&config.log.witnesses);
    let past = Past::gather(&root, keys, number, &mut cosigners)?;
    let open = |number: u32, past: &Past, cosigners: Cosigners| {
        let folder = root.join(number.to_string());
        let interval = config.log.interval;
        let log = LogConfig { number, folder: &folder, interval, past };
        Ok::<_, NodeError>(Log::open(&log, keys.log_signer(number)?, journal.follow(), cosigners)?)
    };
    let error = match open(number, &past, cosigners) {
        Err(NodeError::Log(error)) if config.follow_log && error.is_of_the_past() => error,
        opened => return opened.map(|log| (log, None)),
    };
    let Some((last, checkpoint)) = past.newest() else { return Err(error.into()) };
    // [LOG-19] It begins with an entry that cites the newest checkpoint that anybody is known to have.
    let (number, text) = (last.saturating_add(1), checkpoint.text());
    tracing::warn!(%error, number, "a new log is begun; no writes are served for one id window");
    let opened = Draft::opened(number, text.as_bytes()).map_err(RebuildError::from)?;
    journal.record(opened).await.map_err(RebuildError::from)?;
    let log = open(number, &Past::default(), Cosigners::new(&config.log.witnesses))?;
    Ok((log, Some(now())))
}

/// [LOG-19] When an id that was used in what was lost can't be sent any more.
const fn writes_begin(followed: u64) -> u64 {
    followed.saturating_add(limits::ID_WINDOW * 1_000_000)
}

impl Live {
    fn new(
        config: &Config,
        built_in: &BuiltIn,
        bus: Option<&Bus>,
        services: &Services,
        (issuers, keys): (&Issuers, &Arc<NodeKeys>),
    ) -> Result<Self, NodeError> {
        config.check()?;
        Ok(Self {
            issuers: Arc::new(issuers.reopen(config)?),
            keys: Arc::clone(keys),
            names: Names::new(config.names.clone()),
            routes: Routes::open(config, built_in, bus, services, keys)?,
            journal_mode: config.journal.mode,
            session: config.session.clone(),
            // A body that never fits into memory would be waited for in vain.
            body_max: config
                .body_max
                .min(config.limits.body_max)
                .min(config.limits.body_memory_max),
            config: config.clone(),
        })
    }
}

/// [JRN-4] A full disk keeps no node from starting: it refuses with 507 until there is room. What was to be journalled now is
/// closed when its write is sent again, or at the next start.
fn unless_full(error: RebuildError) -> Result<(), RebuildError> {
    match error {
        RebuildError::Journal(JournalError::Full) => {
            tracing::warn!("the journal has no room; what a crash left open stays open for now");
            Ok(())
        }
        other => Err(other),
    }
}

/// The node's clock: microseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Between two looks at the keys on the disk.
const LOOK: Duration = Duration::from_millis(500);
/// For KEYS to be with those that are connected before the first seal by a new key.
const SHOWN: Duration = Duration::from_millis(100);
/// How often refusals are summed up: at most 1,440 entries a day, whoever floods the node.
const SUMMARY: Duration = Duration::from_secs(60);
/// The journal's folder in the data directory.
pub const JOURNAL: &str = "journal";
/// The folder of the transparency logs in the data directory.
pub const LOG: &str = "log";
