//! The policies in force, and the folder that they come from. `cmtp-spec/spec/23-policies.md`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cmtp_client::policy::{
    DEFAULT_POLICIES, Decider, Decision, GrantedBy, IS_BUILT_IN, Policies, PolicyError, Question,
    Subject, is_policy_file,
};
use cmtp_client::{Existing, write_whole};
use cmtp_codec::{Digest, Fqmn, PublicKey};
use cmtp_spec::{EntryType, Status, limits};
use tokio::sync::{Mutex, watch};

use crate::config::Config;
use crate::journal::Draft;
use crate::node::Node;
use crate::rebuild::RebuildError;
use crate::refusal::Refusal;

/// A caller as policies see it, and the set that judges its request: that which was in force when it came.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) principal: PublicKey,
    pub(crate) granted: GrantedBy,
    pub(crate) subject: Arc<Subject>,
    pub(crate) policies: Arc<Decider>,
}

impl Asker {
    /// What the policies say.
    pub(crate) fn decide(&self, target: &Fqmn) -> Arc<Decision> {
        let Self { principal, granted, subject, policies } = self;
        policies.decide(&Question { principal: *principal, subject, granted: *granted, target })
    }

    /// Waits until a set is in force that denies one of these.
    pub(crate) async fn denied(&self, node: &Node, targets: &[Fqmn]) {
        let mut in_force = node.policies.in_force.subscribe();
        loop {
            let policies = Arc::clone(&in_force.borrow_and_update());
            let asker = Self { policies, ..self.clone() };
            if targets.iter().any(|target| !asker.decide(target).is_allowed) {
                return;
            }
            // The sender is the node's, and so outlives what the node does.
            let _never_closed = in_force.changed().await;
        }
    }
}

/// The refusal for a target that policies deny.
pub(crate) fn denied(target: &Fqmn, decision: &Decision) -> Refusal {
    let target = target.target();
    // [POL-9] The refusal MUST NOT say what stands in a policy; it names the `forbid`s.
    let detail = match decision.named() {
        [] => format!("no policy of this node permits {target}"),
        forbids => format!("policies of this node deny {target}: {}", forbids.join(" ")),
    };
    Refusal::new(Status::FORBIDDEN, detail)
}

/// The set in force, and the folder where the operator changes it.
pub(crate) struct Keeper {
    folder: PathBuf,
    in_force: watch::Sender<Arc<Decider>>,
    looks: Mutex<Looks>,
}

/// What was seen of the folder.
struct Looks {
    /// At the last look.
    last: Stamps,
    /// When a set was read last, were it a bad one.
    read: Stamps,
    /// Whether the set in force stands in the journal.
    is_noted: bool,
    /// Whether it was said that the journal can't take one.
    is_said: bool,
}

impl Keeper {
    /// Reads the set that a node begins with; a node that has no folder gets one, with a set that teaches.
    pub(crate) fn open(config: &Config) -> Result<Self, PolicyError> {
        let folder = config.policy_folder();
        if !IS_BUILT_IN {
            tracing::warn!("built without policies: the scope of a token alone decides");
        } else if config.policy.is_none() && !folder.exists() {
            make(&folder)
                .map_err(|source| PolicyError::Io { name: folder.display().to_string(), source })?;
            tracing::info!(
                folder = %folder.display(),
                "policies decide beside the scope of tokens; a first file was written there, look at it"
            );
        }
        let read = stamps(&folder);
        let policies = match Policies::load(&folder) {
            Err(_missing) if !IS_BUILT_IN && !folder.exists() => Policies::none(),
            loaded => loaded?,
        };
        say(&folder, &policies);
        let looks = Looks { last: read.clone(), read, is_noted: false, is_said: false };
        let in_force = watch::Sender::new(Arc::new(Decider::new(policies)));
        Ok(Self { folder, in_force, looks: Mutex::new(looks) })
    }

    /// What is in force now.
    pub(crate) fn in_force(&self) -> Arc<Decider> {
        Arc::clone(&self.in_force.borrow())
    }
}

impl Node {
    /// Looks at the policy folder twice a second, and puts what was changed into force; ends never.
    ///
    /// A node without it keeps the policies that it began with, or that [`Node::reload_policies`] read.
    pub async fn keep_policies(&self) {
        let mut every = tokio::time::interval(INTERVAL);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.look_at_policies().await;
        }
    }

    /// Reads the policy folder now. What is wrong with it is logged, and changes nothing.
    pub async fn reload_policies(&self) {
        let mut looks = self.policies.looks.lock().await;
        looks.last = self.stamps().await;
        self.read_policies(&mut looks).await;
    }

    /// Notes the set in force, unless the journal noted it last.
    pub(crate) async fn note_policies(&self, last: Option<Digest>) -> Result<(), RebuildError> {
        let mut looks = self.policies.looks.lock().await;
        let policies = self.policies.in_force();
        let policies = policies.policies();
        // A journal that notes none is that of a node where the scope alone decided.
        if last.unwrap_or(Policies::none().digest()) != policies.digest() {
            self.note(policies).await?;
        }
        looks.is_noted = true;
        Ok(())
    }

    async fn look_at_policies(&self) {
        let mut looks = self.policies.looks.lock().await;
        let now = self.stamps().await;
        let is_steady = now == looks.last;
        looks.last = now;
        if !looks.is_noted {
            let policies = self.policies.in_force();
            looks.is_noted = self.note(policies.policies()).await.is_ok();
        }
        // A file that is being copied is not half a set: two looks have to see the same.
        if is_steady && looks.last != looks.read {
            self.read_policies(&mut looks).await;
        }
    }

    async fn read_policies(&self, looks: &mut Looks) {
        let folder = self.policies.folder.clone();
        let loading = tokio::task::spawn_blocking(move || Policies::load(&folder));
        // A reader that panicked has read nothing.
        let Ok(loaded) = loading.await else { return };
        if self.stamps().await != looks.last {
            // It changed while it was read: the next look takes it up.
            return;
        }
        match loaded {
            // [POL-11] A node MUST NOT give up the policies in force for a set that it refuses, or can't read.
            Err(error) => {
                looks.read = looks.last.clone();
                self.metrics.policies_reloaded(false);
                tracing::error!(%error, "the old policies stay in force");
            }
            Ok(policies) if policies.digest() == self.policies.in_force().policies().digest() => {
                looks.read = looks.last.clone();
            }
            Ok(policies) => {
                // [POL-10] A set MUST be journalled before it comes into force.
                if let Err(error) = self.note(&policies).await {
                    if !std::mem::replace(&mut looks.is_said, true) {
                        tracing::error!(%error, "new policies can't be journalled, and wait");
                    }
                    return;
                }
                (looks.is_noted, looks.is_said) = (true, false);
                looks.read = looks.last.clone();
                self.metrics.policies_reloaded(true);
                say(&self.policies.folder, &policies);
                self.policies.in_force.send_replace(Arc::new(Decider::new(policies)));
            }
        }
    }

    async fn note(&self, policies: &Policies) -> Result<(), RebuildError> {
        let note = Draft::note(EntryType::POLICY, policies.note())?;
        self.journal.record(note).await?;
        Ok(())
    }

    async fn stamps(&self) -> Stamps {
        let folder = self.policies.folder.clone();
        let looking = tokio::task::spawn_blocking(move || stamps(&folder));
        // One that panicked saw nothing.
        looking.await.unwrap_or(Stamps::Unreadable(io::ErrorKind::Other))
    }
}

/// What tells one state of a folder from another.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stamps {
    Files(Vec<Stamp>),
    Unreadable(io::ErrorKind),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stamp {
    name: String,
    inode: u64,
    length: u64,
    /// When its bytes were written, and when anything of it was changed: seconds and nanoseconds.
    times: [i64; 4],
}

fn stamps(folder: &Path) -> Stamps {
    let read = || -> io::Result<Vec<Stamp>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !is_policy_file(&name) {
                continue;
            }
            let of = fs::metadata(&path)?;
            let times = [of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()];
            found.push(Stamp { name, inode: of.ino(), length: of.len(), times });
        }
        found.sort_unstable();
        Ok(found)
    };
    read().map_or_else(|error| Stamps::Unreadable(error.kind()), Stamps::Files)
}

fn make(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    write_whole(&folder.join(FIRST), DEFAULT_POLICIES.as_bytes(), Existing::Keep)
}

fn say(folder: &Path, policies: &Policies) {
    if !policies.are_asked() {
        return;
    }
    let folder = folder.display();
    match policies.ids().count() {
        0 => {
            tracing::warn!(%folder, "there are no policies: every request is denied, whatever its token's scope");
        }
        count => {
            tracing::info!(%folder, count, digest = %policies.digest(), "policies are in force")
        }
    }
}

/// The folder in the data directory.
pub(crate) const FOLDER: &str = "policies";
/// The file that a node writes there.
const FIRST: &str = "default.cedar";
const INTERVAL: Duration = Duration::from_millis(limits::POLICY_INTERVAL_MS);

#[cfg(all(test, feature = "cedar"))]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn policies(node: &Node) -> Digest {
        node.policies.in_force().policies().digest()
    }

    fn write(folder: &Path, text: &str) {
        fs::write(folder.join("policies/default.cedar"), text).unwrap();
    }

    #[tokio::test]
    async fn what_two_looks_see_alike_comes_into_force_and_a_bad_set_does_not() {
        // [POL-11]
        let folder = tempfile::tempdir().unwrap();
        let node = Node::open(&Config::new(folder.path())).await.unwrap();
        let first = policies(&node);
        write(folder.path(), "permit (principal, action, resource);");
        node.look_at_policies().await;
        assert_eq!(policies(&node), first, "one look may have seen half a file");
        node.look_at_policies().await;
        let second = policies(&node);
        assert_ne!(second, first);
        write(folder.path(), "permit (principal, action);");
        for _ in 0..3 {
            node.look_at_policies().await;
            assert_eq!(policies(&node), second);
        }
        let said = node.metrics_text();
        assert!(said.contains("cmtpd_policy_reloads_total{result=\"invalid\"} 1"), "{said}");
        assert!(said.contains("cmtpd_policy_reloads_total{result=\"ok\"} 1"), "{said}");
        fs::rename(folder.path().join("policies"), folder.path().join("away")).unwrap();
        node.look_at_policies().await;
        node.look_at_policies().await;
        assert_eq!(policies(&node), second, "a folder that is gone is no empty set");
        fs::create_dir(folder.path().join("policies")).unwrap();
        node.reload_policies().await;
        assert_eq!(
            policies(&node),
            Policies::load(&folder.path().join("policies")).unwrap().digest()
        );
        assert!(node.policies.in_force().policies().are_asked());
        node.close();
    }

    #[tokio::test]
    async fn a_set_is_noted_once_and_known_again() {
        // [POL-10]
        let folder = tempfile::tempdir().unwrap();
        let config = Config::new(folder.path());
        let noted = async |config: &Config| {
            let node = Node::open(config).await.unwrap();
            node.close();
            let key = crate::NodeKeys::load_or_create(folder.path()).unwrap();
            let mut notes = Vec::new();
            let checked =
                crate::check_journal(&folder.path().join("journal"), &key.public(), |entry| {
                    if entry.entry.entry_type == EntryType::POLICY {
                        notes.push(entry.entry.seal);
                    }
                });
            checked.unwrap();
            notes
        };
        let first = noted(&config).await;
        assert_eq!(first, [Policies::load(&config.policy_folder()).unwrap().digest()]);
        assert_eq!(noted(&config).await, first);
        fs::remove_file(folder.path().join("policies/default.cedar")).unwrap();
        // An emptied folder stays empty.
        assert_eq!(noted(&config).await.len(), 2);
        assert_eq!(fs::read_dir(folder.path().join("policies")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_bad_set_and_a_named_folder_that_is_not_there_keep_a_node_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { policy: Some(folder.path().join("x")), ..Config::new(folder.path()) };
        let error = Node::open(&config).await.err().unwrap().to_string();
        assert!(error.contains("/x") && error.contains("No such file"), "{error}");
        let config = Config::new(folder.path());
        fs::create_dir(folder.path().join("policies")).unwrap();
        write(folder.path(), "\npermit;");
        let error = Node::open(&config).await.err().unwrap().to_string();
        assert!(error.contains("default.cedar, line 2"), "{error}");
    }
}
