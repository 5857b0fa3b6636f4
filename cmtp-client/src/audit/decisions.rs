//! Judges again what a node's policies decided. `cmtp-spec/spec/23-policies.md`, section Audit.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use cmtp_codec::audit::{Auditor, Finding, What};
use cmtp_codec::journal::{Commit, Piece, read_links};
use cmtp_codec::{Digest, Fqmn, Layer, Link};
use cmtp_spec::{EntryType, FieldIndex, Status, Step};

use crate::audit::error::AuditError;
use crate::audit::subjects::Subjects;
use crate::policy::{Decider, Decision, Policies, Question, is_policy_file};

/// The policies that an audit judges by: those that it was given, and those that the journal notes.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    given: BTreeMap<Digest, Arc<Decider>>,
    /// The newest that the journal notes, so that what is kept does not grow with the log.
    noted: VecDeque<(Digest, Arc<Decider>)>,
    /// What the journal noted last.
    last: Option<Digest>,
    subjects: Subjects,
}

impl Decisions {
    /// Judges by what the journal notes alone.
    pub fn of_journal() -> Self {
        Self::default()
    }

    /// Judges by the sets in a folder, too: it is one, or has folders in it of which each is one.
    ///
    /// # Errors
    /// [`AuditError::Policies`] where there is no set, or a bad one.
    pub fn given(folder: &Path) -> Result<Self, AuditError> {
        let io = |source| AuditError::Io { path: folder.to_owned(), source };
        let (mut is_set, mut folders) = (false, Vec::new());
        for entry in fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else {
                is_set |= is_policy_file(&name);
            }
        }
        if is_set || folders.is_empty() {
            folders = vec![folder.to_owned()];
        }
        folders.sort();
        let mut decisions = Self::default();
        for folder in folders {
            let policies = Policies::load(&folder).map_err(AuditError::Policies)?;
            decisions.given.insert(policies.digest(), Arc::new(Decider::new(policies)));
        }
        Ok(decisions)
    }

    /// Takes a commit that the auditor took.
    pub(crate) fn take(&mut self, commit: &Commit, auditor: &mut Auditor) {
        for (index, piece) in (commit.first..).zip(&commit.pieces) {
            if piece.entry.entry_type == EntryType::POLICY {
                self.note(piece);
            } else if piece.entry.is_of_message() && piece.begin == index {
                // What was decided stands in the first piece: origin, admit and resolve layers.
                self.message(index, piece, auditor);
            }
        }
    }

    fn note(&mut self, piece: &Piece) {
        let digest = piece.entry.seal;
        self.last = Some(digest);
        let content = piece.hidden.content(&digest).filter(|content| Digest::of(content) == digest);
        // One that can't be read, or does not pass here, is missed where a message names it.
        let policies = content.and_then(|content| Policies::from_note(&content).ok());
        let Some(policies) = policies.filter(|policies| policies.digest() == digest) else {
            return;
        };
        self.noted.retain(|(noted, _)| *noted != digest);
        self.noted.push_back((digest, Arc::new(Decider::new(policies))));
        if self.noted.len() > NOTED {
            self.noted.pop_front();
        }
    }

    fn message(&mut self, index: u64, piece: &Piece, auditor: &mut Auditor) {
        if auditor.blames(index) {
            return auditor.decided(0, 1);
        }
        let links =
            piece.hidden.content(&piece.entry.seal).and_then(|content| read_links(content, 0).ok());
        let Some(links) = links else { return auditor.decided(0, 1) };
        self.subjects.learn(&links);
        match self.judge(&links) {
            Judged::Nothing => {}
            Judged::Unknown(what) => {
                auditor.find(Finding { index: Some(index), layer: Some(ADMIT), what });
                auditor.decided(0, 1);
            }
            Judged::Decision(found) => {
                if let Some((layer, what)) = found {
                    auditor.find(Finding { index: Some(index), layer: Some(layer), what });
                }
                auditor.decided(1, 0);
            }
        }
    }

    /// [POL-13] Judges again what passed, or was refused by policies.
    fn judge(&self, links: &[Link]) -> Judged {
        let [Link::Layer(origin), Link::Layer(admit), ..] = links else { return Judged::Nothing };
        let Some(recorded) = Recorded::of(admit) else { return Judged::Nothing };
        let target = origin.text(FieldIndex::TARGET).and_then(|it| Fqmn::parse_target(it).ok());
        let (Some(target), Some(digest)) = (target, admit.digest(FieldIndex::POLICY_DIGEST)) else {
            return Judged::Nothing;
        };
        let decider = match self.set(digest) {
            Ok(decider) => decider,
            Err(what) => return Judged::Unknown(what),
        };
        let token = admit.digest(FieldIndex::TOKEN_DIGEST).unwrap_or(Digest::ZERO);
        let (granted, subject) = self.subjects.of(&token);
        let decide = |target: &Fqmn| {
            let principal = origin.actor;
            decider.decide(&Question { principal, subject: &subject, granted, target })
        };
        let decision = decide(&target);
        if !recorded.says(&decision) {
            let (recorded, judged) = (recorded.to_string(), decision.to_string());
            return Judged::Decision(Some((ADMIT, What::OtherDecision { recorded, judged })));
        }
        let names = (0..).zip(links).filter_map(|(number, link)| Some((number, link.layer()?)));
        let mut names = names.filter(|(_, layer)| layer.step == Step::RESOLVE && !layer.refuses());
        let found = names.find_map(|(number, layer)| {
            let target = Fqmn::parse_target(layer.text(FieldIndex::RESOLVED)?).ok()?;
            let decision = decide(&target);
            let (target, judged) = (target.to_string(), decision.to_string());
            (!decision.is_allowed).then_some((number, What::DeniedName { target, judged }))
        });
        Judged::Decision(found)
    }

    fn set(&self, digest: Digest) -> Result<Arc<Decider>, What> {
        let none = Policies::none();
        if digest == none.digest() {
            // [POL-14] Nothing is decided by the scope alone behind an entry that notes a set.
            let is_none = self.last.is_none_or(|last| last == digest);
            return if is_none { Ok(Arc::new(Decider::new(none))) } else { Err(What::NoPolicies) };
        }
        let mut noted = self.noted.iter().rev();
        let noted = noted.find(|(noted, _)| *noted == digest).map(|(_, decider)| decider);
        let decider = noted.or_else(|| self.given.get(&digest)).cloned();
        decider.ok_or(What::UnknownPolicies(digest))
    }
}

/// What came of judging a message again.
enum Judged {
    /// Policies did not decide it, or what they decided is not told.
    Nothing,
    /// It can't be judged.
    Unknown(What),
    /// It was judged; what is wrong with it, and in which layer.
    Decision(Option<(u32, What)>),
}

/// What an admit layer says.
struct Recorded {
    is_allowed: bool,
    policies: Vec<String>,
}

impl Recorded {
    /// `None` where the layer refuses for another reason than policies.
    fn of(admit: &Layer) -> Option<Self> {
        let is_allowed = !admit.refuses();
        let is_by_policies = admit.status == Status::FORBIDDEN;
        if admit.step != Step::ADMIT || !(is_allowed || is_by_policies) {
            return None;
        }
        // [POL-8] The pattern comes first, which has no space in it.
        let mut words = match admit.text(FieldIndex::POLICIES) {
            Some(text) => text.split(' ').map(str::to_owned),
            None if is_allowed => return Some(Self { is_allowed, policies: Vec::new() }),
            None => return None,
        };
        let _pattern = words.next();
        Some(Self { is_allowed, policies: words.collect() })
    }

    fn says(&self, decision: &Decision) -> bool {
        self.is_allowed == decision.is_allowed && self.policies == decision.named()
    }
}

impl std::fmt::Display for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { is_allowed, policies } = self;
        Decision { is_allowed: *is_allowed, policies: policies.clone() }.fmt(f)
    }
}

/// The admit layer's number.
const ADMIT: u32 = 1;
/// Sets of the journal that are kept: a request that came under an older one is answered long before so many came after it.
const NOTED: usize = 16;
