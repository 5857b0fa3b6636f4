//! The table of grants and revocations. Rebuilt from the journal at each start.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::Arc;

use cmtp_codec::PublicKey;
use cmtp_codec::session::{GrantName, Random};
use cmtp_spec::limits;

use crate::sessions::{Kept, SessionFault};

/// Grants that last, and what was revoked.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    grants: HashMap<GrantName, (Arc<Kept>, Index)>,
    /// By their end, to drop those that are over.
    ends: BTreeSet<(u64, GrantName)>,
    /// Grants that were ended before their time: a consent that is sent again must not begin them anew.
    ended: HashMap<GrantName, u64>,
    /// The operator's tokens, with the time from which none of that kind can be valid any more.
    tokens: HashMap<String, u64>,
    personas: HashMap<PublicKey, Persona>,
}

/// The index of an entry: what comes first in the journal came first, whatever was applied first.
type Index = u64;

/// What is known of a persona.
#[derive(Clone, Debug, Default)]
struct Persona {
    grants: BTreeSet<GrantName>,
    /// [SES-18] Of its first grant; a later one does not replace it.
    recovery: Option<Random>,
    /// The entry of its first grant.
    first: Option<Index>,
    /// What was issued to it up to then is refused, microseconds since 1970.
    revoked_to: u64,
    /// And what was offered: set before the revocation is in the journal, so that no consent slips in behind it.
    withdrawn_to: u64,
    /// The entry that ended its grants last.
    ended_by: Option<Index>,
    is_stolen: bool,
}

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Revoked {
    Grant(GrantName),
    /// A token of the operator's, and when none of its kind can be valid any more.
    Token(String, u64),
    /// What was issued to a persona up to then.
    Persona(PublicKey, u64),
    /// A persona for good, by its recovery key.
    Stolen(PublicKey),
}

impl Grants {
    /// The grant, where it lasts.
    pub(crate) fn find(&self, name: GrantName, now: u64) -> Option<Arc<Kept>> {
        let (kept, _) = self.grants.get(&name)?;
        (!kept.is_over(now)).then(|| Arc::clone(kept))
    }

    /// Whether a token of the operator's is revoked.
    pub(crate) fn is_revoked(&self, id: &str, holder: &PublicKey, issued_at: u64) -> bool {
        let of_persona = self.personas.get(holder).is_some_and(|persona| {
            persona.is_stolen || issued_at.saturating_mul(1_000_000) <= persona.revoked_to
        });
        of_persona || self.tokens.contains_key(id)
    }

    /// Whether a persona was revoked for good.
    pub(crate) fn is_stolen(&self, persona: &PublicKey) -> bool {
        self.personas.get(persona).is_some_and(|persona| persona.is_stolen)
    }

    /// What a persona committed to first.
    pub(crate) fn recovery(&self, persona: &PublicKey) -> Option<Random> {
        self.personas.get(persona)?.recovery
    }

    /// The grants of a persona that last.
    pub(crate) fn of(&self, persona: &PublicKey, now: u64) -> Vec<(GrantName, Arc<Kept>)> {
        let names = self.personas.get(persona).into_iter().flat_map(|persona| &persona.grants);
        let own = names.filter_map(|name| Some((*name, self.find(*name, now)?)));
        let mut own: Vec<_> = own.collect();
        own.sort_unstable_by_key(|(name, kept)| (kept.begun, *name));
        own
    }

    /// Whether a consent to what was offered at `offered` may make this grant: the one that it made before, or a new one.
    pub(crate) fn admits(
        &mut self,
        name: GrantName,
        persona: &PublicKey,
        (offered, now): (u64, u64),
    ) -> Result<Option<Arc<Kept>>, SessionFault> {
        self.drop_ended(now);
        if let Some((kept, _)) = self.grants.get(&name) {
            return Ok(Some(Arc::clone(kept)));
        }
        // [SES-11] Or 401 where the grant has ended.
        if self.is_withdrawn(persona, offered) || self.ended.contains_key(&name) {
            return Err(SessionFault::Grant);
        }
        let is_new = !self.personas.contains_key(persona);
        // [SES-14] No more than `grants-max` grants and the commitments of `personas-max` personas.
        let is_full = self.grants.len() as u64 >= limits::GRANTS_MAX
            || is_new && self.personas.len() as u64 >= limits::PERSONAS_MAX;
        if is_full { Err(SessionFault::Full) } else { Ok(None) }
    }

    /// What was offered to a persona up to `to` is not to be consented to any more.
    pub(crate) fn withdraw(&mut self, persona: &PublicKey, to: u64) {
        let persona = self.personas.entry(*persona).or_default();
        persona.withdrawn_to = persona.withdrawn_to.max(to);
    }

    /// [SES-15] Whether what was offered then is over by a hangup, which may not be in the journal yet.
    pub(crate) fn is_withdrawn(&self, persona: &PublicKey, offered: u64) -> bool {
        self.personas.get(persona).is_some_and(|it| it.withdrawn_to >= offered)
    }

    /// Takes a grant that the journal holds in this entry.
    pub(crate) fn begin(&mut self, name: GrantName, kept: Kept, index: Index) {
        let persona = self.personas.entry(kept.persona).or_default();
        // [SES-18] A later commitment of a persona MUST NOT replace its first one.
        if persona.first.is_none_or(|first| index < first) {
            persona.first = Some(index);
            persona.recovery = kept.recovery;
        }
        // [SES-11] A consent that is sent again MUST make no second grant.
        if let Some((_, first)) = self.grants.get_mut(&name) {
            *first = index.min(*first);
            return;
        }
        let is_dead =
            persona.is_stolen || persona.ended_by > Some(index) || self.ended.contains_key(&name);
        if !is_dead {
            persona.grants.insert(name);
            self.ends.insert((kept.ends, name));
            self.grants.insert(name, (Arc::new(kept), index));
        }
    }

    /// Takes a revocation that the journal holds in this entry.
    pub(crate) fn revoke(&mut self, revoked: &Revoked, index: Index) {
        match revoked {
            Revoked::Grant(name) => self.end(*name),
            Revoked::Token(id, until) => drop(self.tokens.insert(id.clone(), *until)),
            Revoked::Persona(persona, to) => {
                self.end_all(persona, index);
                self.withdraw(persona, *to);
                let persona = self.personas.entry(*persona).or_default();
                persona.revoked_to = persona.revoked_to.max(*to);
            }
            Revoked::Stolen(persona) => {
                // Whatever it was granted, and will be.
                self.end_all(persona, Index::MAX);
                self.personas.entry(*persona).or_default().is_stolen = true;
            }
        }
    }

    fn end_all(&mut self, persona: &PublicKey, index: Index) {
        let known = self.personas.entry(*persona).or_default();
        known.ended_by = known.ended_by.max(Some(index));
        let before = |name: &&GrantName| self.grants.get(name).is_some_and(|(_, at)| *at < index);
        let own: Vec<_> = known.grants.iter().filter(before).copied().collect();
        own.into_iter().for_each(|name| self.end(name));
    }

    fn end(&mut self, name: GrantName) {
        let kept = self.remove(name);
        let until = kept.map_or(u64::MAX, |kept| {
            self.ends.remove(&(kept.ends, name));
            kept.sent_again_until()
        });
        self.ended.entry(name).or_insert(until);
    }

    fn remove(&mut self, name: GrantName) -> Option<Arc<Kept>> {
        let (kept, _) = self.grants.remove(&name)?;
        if let Some(persona) = self.personas.get_mut(&kept.persona) {
            persona.grants.remove(&name);
        }
        Some(kept)
    }

    /// Forgets what time ended, and what time would have.
    fn drop_ended(&mut self, now: u64) {
        let seconds = now / 1_000_000;
        while let Some(&(ends, name)) = self.ends.first()
            && ends <= seconds
        {
            self.ends.pop_first();
            let kept = self.remove(name);
            self.ended.extend(kept.map(|kept| (name, kept.sent_again_until())));
        }
        self.ended.retain(|_, ends| *ends > seconds);
        self.tokens.retain(|_, until| *until > now);
    }
}

impl Revoked {
    /// The content of its entry.
    pub(crate) fn to_line(&self) -> String {
        let mut line = String::new();
        // Writing to a string does not fail.
        let _always = match self {
            Self::Grant(name) => writeln!(line, "grant {name}"),
            Self::Token(id, until) => writeln!(line, "token {id} {until}"),
            Self::Persona(persona, to) => writeln!(line, "persona {persona} {to}"),
            Self::Stolen(persona) => writeln!(line, "stolen {persona}"),
        };
        line
    }

    /// Reads what [`Revoked::to_line`] writes, and nothing else.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let revoked = Self::read(line)?;
        // [CNV-5] There is one spelling: a number is read with a sign or zeros before it, too.
        (revoked.is_sound() && revoked.to_line() == line).then_some(revoked)
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = line.strip_suffix('\n')?.split(' ');
        let (kind, what, time) = (words.next()?, words.next()?, words.next());
        if words.next().is_some() {
            return None;
        }
        match (kind, time) {
            ("grant", None) => what.parse().ok().map(Self::Grant),
            ("token", Some(time)) => Some(Self::Token(what.to_owned(), time.parse().ok()?)),
            ("persona", Some(time)) => Some(Self::Persona(what.parse().ok()?, time.parse().ok()?)),
            ("stolen", None) => what.parse().ok().map(Self::Stolen),
            _ => None,
        }
    }

    fn is_sound(&self) -> bool {
        match self {
            // [CNV-2] A time MUST be below 2^62.
            Self::Token(id, time) => GrantName::of_jti(id).is_none() && *time < TIME_END,
            Self::Persona(_, time) => *time < TIME_END,
            Self::Grant(_) | Self::Stolen(_) => true,
        }
    }
}

const TIME_END: u64 = 1 << 62;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use cmtp_codec::{Scope, SigningKey};
    use data_encoding::HEXLOWER;
    use serde_json::{Value, json};

    use super::*;

    fn persona(seed: u8) -> PublicKey {
        SigningKey::from_seed(&[seed; 32]).unwrap().public()
    }

    fn kept(seed: u8, begun: u64, ends: u64) -> Kept {
        Kept {
            persona: persona(seed),
            scope: Scope::default(),
            subject: Arc::default(),
            recovery: Some(Random([seed; 32])),
            begun,
            ends,
            token_seconds: 900,
        }
    }

    const A: GrantName = GrantName([1; 16]);
    const B: GrantName = GrantName([2; 16]);
    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_grant_lasts_until_its_end_or_its_revocation() {
        // [SES-12] [SES-11]
        let mut grants = Grants::default();
        grants.begin(A, kept(1, 10, 20), 0);
        grants.begin(B, kept(1, 10, 30), 0);
        assert!(grants.find(A, 20 * SECOND - 1).is_some() && grants.find(A, 20 * SECOND).is_none());
        assert_eq!(grants.of(&persona(1), 15 * SECOND).len(), 2);
        grants.revoke(&Revoked::Grant(B), 2);
        assert!(grants.find(B, 15 * SECOND).is_none());
        assert_eq!(
            grants.admits(B, &persona(1), (16 * SECOND, 16 * SECOND)),
            Err(SessionFault::Grant)
        );
        assert!(grants.admits(A, &persona(1), (16 * SECOND, 16 * SECOND)).unwrap().is_some());
        // Its cookie may be good for longer than the grant was.
        let again = |at: u64| (10 * SECOND, at * SECOND);
        assert_eq!(grants.admits(A, &persona(1), again(20)), Err(SessionFault::Grant));
        let old = 10 + limits::SESSION_COOKIE_LIFETIME;
        assert_eq!(grants.admits(A, &persona(1), again(old - 1)), Err(SessionFault::Grant));
        assert_eq!(grants.ended.len(), 2);
        assert_eq!(grants.admits(A, &persona(1), again(old)), Ok(None));
        assert!(grants.ended.is_empty());
        grants.revoke(&Revoked::Grant(B), 2);
        grants.begin(B, kept(1, 10, 30), 1);
        assert!(grants.find(B, 15 * SECOND).is_none());
    }

    #[test]
    fn a_persona_can_be_revoked_for_a_time_and_for_good() {
        // [SES-15] [SES-16]
        let mut grants = Grants::default();
        grants.begin(A, kept(1, 10, 90), 0);
        grants.begin(B, kept(2, 10, 90), 0);
        grants.revoke(&Revoked::Persona(persona(1), 20 * SECOND), 5);
        assert!(grants.find(A, 0).is_none() && grants.find(B, 0).is_some());
        assert!(grants.is_revoked("op.x", &persona(1), 20));
        assert!(!grants.is_revoked("op.x", &persona(1), 21));
        let later = GrantName([3; 16]);
        // What stands in the journal before the hangup is over by it, whichever was applied first.
        grants.begin(later, kept(1, 21, 90), 4);
        assert!(grants.find(later, 0).is_none());
        grants.begin(later, kept(1, 21, 90), 6);
        assert!(grants.find(later, 0).is_some());
        // [SES-15] And so is a consent to what was offered before.
        let other = GrantName([4; 16]);
        let offered = |at| (at, 25 * SECOND);
        assert_eq!(
            grants.admits(other, &persona(1), offered(20 * SECOND)),
            Err(SessionFault::Grant)
        );
        assert_eq!(grants.admits(other, &persona(1), offered(20 * SECOND + 1)), Ok(None));
        grants.revoke(&Revoked::Stolen(persona(1)), 7);
        assert!(grants.is_stolen(&persona(1)) && grants.find(later, 0).is_none());
        assert!(grants.is_revoked("op.x", &persona(1), 99));
        grants.revoke(&Revoked::Token("op.y".to_owned(), 50 * SECOND), 8);
        assert!(grants.is_revoked("op.y", &persona(2), 30));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        // [SES-14]
        let numbered = |n: u64| {
            let mut name = [0; 16];
            name[..8].copy_from_slice(&n.to_be_bytes());
            GrantName(name)
        };
        let mut grants = Grants::default();
        for n in 0..limits::GRANTS_MAX {
            assert_eq!(grants.admits(numbered(n), &persona(1), (1, 1)), Ok(None));
            grants.begin(numbered(n), kept(1, 0, 90 + n), 0);
        }
        let next = numbered(limits::GRANTS_MAX);
        assert_eq!(grants.admits(next, &persona(1), (1, 1)), Err(SessionFault::Full));
        // None ended early for it, and what is sent again needs no room.
        let last = numbered(limits::GRANTS_MAX - 1);
        assert!(grants.find(numbered(0), 0).is_some() && grants.find(last, 0).is_some());
        assert!(grants.admits(last, &persona(1), (1, 1)).unwrap().is_some());
        assert_eq!(grants.admits(next, &persona(1), (90 * SECOND, 90 * SECOND)), Ok(None));

        let mut grants = Grants::default();
        for n in 0..limits::PERSONAS_MAX {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_be_bytes());
            grants.personas.insert(PublicKey(key), Persona::default());
        }
        assert_eq!(grants.admits(A, &persona(1), (1, 1)), Err(SessionFault::Full));
        assert_eq!(grants.admits(A, &PublicKey([0; 32]), (1, 1)), Ok(None));
        assert_eq!(SessionFault::Full.refusal().status, cmtp_spec::Status::UNAVAILABLE);
    }

    #[test]
    fn the_first_commitment_stays() {
        // [SES-18]
        let mut grants = Grants::default();
        let other = || Kept { recovery: Some(Random([9; 32])), ..kept(1, 11, 90) };
        grants.begin(A, other(), 2);
        // The journal says which was first, whichever was applied first.
        grants.begin(B, kept(1, 10, 90), 1);
        grants.begin(GrantName([3; 16]), other(), 3);
        assert_eq!(grants.recovery(&persona(1)), Some(Random([1; 32])));
    }

    #[test]
    fn nothing_slips_in_behind_a_revocation() {
        // [SES-11] [SES-15]
        let mut grants = Grants::default();
        grants.begin(A, kept(1, 10, 90), 1);
        // The consent that was sent again is no later grant.
        grants.begin(A, kept(1, 11, 91), 3);
        grants.revoke(&Revoked::Persona(persona(1), 20 * SECOND), 2);
        assert!(grants.find(A, 0).is_none());
        // A hangup that is still on its way to the journal ends what was offered before.
        grants.withdraw(&persona(2), 20 * SECOND);
        let offered = |at: u64| (at * SECOND, 21 * SECOND);
        assert_eq!(grants.admits(B, &persona(2), offered(20)), Err(SessionFault::Grant));
        assert_eq!(grants.admits(B, &persona(2), offered(21)), Ok(None));
        // Not, of what the operator issued, more than it says once it is there.
        assert!(!grants.is_revoked("op.x", &persona(2), 20));
        // Whose key is stolen has nothing more, whatever was applied first.
        grants.begin(B, kept(2, 10, 90), 9);
        grants.revoke(&Revoked::Stolen(persona(2)), 8);
        assert!(grants.find(B, 0).is_none());
    }

    #[test]
    fn a_revocation_is_one_line() {
        let all = [
            Revoked::Grant(A),
            Revoked::Token("op.x".to_owned(), 7),
            Revoked::Persona(persona(1), 8),
            Revoked::Stolen(persona(2)),
        ];
        for revoked in all {
            assert_eq!(Revoked::from_line(&revoked.to_line()), Some(revoked));
        }
    }

    #[test]
    fn the_vectors_of_revoked_lines() {
        // [SES-17] cmtp-spec/vectors/revoked.json
        let file = crate::sessions::vectors("revoked");
        for test in file["testGroups"][0]["tests"].as_array().unwrap() {
            let hex = test["input"].as_str().unwrap();
            let line = HEXLOWER.decode(hex.as_bytes()).unwrap();
            let read = std::str::from_utf8(&line).ok().and_then(Revoked::from_line);
            let shown = read.map(|revoked| shown(&revoked));
            let expected = (test["result"] == "valid").then(|| test.clone());
            for key in ["kind", "grant", "jti", "persona", "time"] {
                let [expected, shown] =
                    [&expected, &shown].map(|values| values.as_ref().map(|values| &values[key]));
                assert_eq!(shown, expected, "{}: {key}", test["comment"]);
            }
        }
    }

    fn shown(revoked: &Revoked) -> Value {
        let hex = |key: &PublicKey| HEXLOWER.encode(&key.0);
        match revoked {
            Revoked::Grant(name) => json!({ "kind": "grant", "grant": name }),
            Revoked::Token(id, time) => {
                json!({ "kind": "token", "jti": id, "time": number(*time) })
            }
            Revoked::Persona(key, time) => {
                json!({ "kind": "persona", "persona": hex(key), "time": number(*time) })
            }
            Revoked::Stolen(key) => json!({ "kind": "stolen", "persona": hex(key) }),
        }
    }

    /// As the vectors have it: a text from 2^53 on.
    fn number(value: u64) -> Value {
        if value < 1 << 53 { value.into() } else { value.to_string().into() }
    }
}
