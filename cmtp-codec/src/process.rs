//! Whether a message's layers are what its opcode demands: `cmtp-spec/spec/07-processes.md`.
//!
//! The opcode's grammar becomes a small graph of states; layers walk it one after the other with the set of states that
//! they may be in. So time is linear in layers, memory does not grow with them, and the first layer that leaves no
//! state is the one that does not fit.

use std::fmt;
use std::sync::LazyLock;

use cmtp_spec::{LayerFlags, Opcode, Process, Status, Step};

use crate::chain::Link;
use crate::fqmn::{Fqmn, is_write};

pub use effect::EffectFields;

mod effect;

/// What the process check looks at in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTaken {
    /// The kind of step.
    pub step: Step,
    /// The layer's own status.
    pub status: Status,
    /// The layer's flags.
    pub flags: LayerFlags,
    /// What it says of a write's effect; `None` where the layer is withheld.
    pub effect: Option<EffectFields>,
}

impl From<&Link> for StepTaken {
    fn from(link: &Link) -> Self {
        Self {
            step: link.step(),
            status: link.status(),
            flags: link.flags(),
            effect: link.layer().map(EffectFields::of),
        }
    }
}

impl StepTaken {
    fn has(&self, flag: LayerFlags) -> bool {
        self.flags.0 & flag.0 != 0
    }

    fn refuses(&self) -> bool {
        self.status >= Status::BAD_REQUEST
    }
}

/// Checks the layers of a message, in their order, against the process of `opcode`.
///
/// # Errors
///
/// The first layer that does not fit.
pub fn check_process(opcode: Opcode, steps: &[StepTaken]) -> Result<(), ProcessError> {
    let Some((graph, start)) = graph(opcode) else { return check_no_opcode(opcode, steps) };
    // [PRC-2] Where layer 1 is the last one and an admit layer that refuses, the origin MAY be unsigned.
    let excused = matches!(steps, [_, admit] if admit.step == Step::ADMIT && admit.refuses());

    let mut walk = Walk::new(graph);
    walk.enter(*start);
    for (layer, taken) in steps.iter().enumerate() {
        let before = walk.take_states();
        let mut unsigned = false;
        for &id in &before {
            let State::Step { step, signed, next, stop } = &graph.states[id] else { continue };
            if *step != taken.step {
                continue;
            }
            if *signed && !taken.has(LayerFlags::SIGNED) && !(excused && *step == Step::ORIGIN) {
                unsigned = true;
                continue;
            }
            // [PRC-1] … or a beginning of it whose last layer has a status of 400 or more.
            // [PRC-10] After such a layer a layer other than `check` MUST NOT follow.
            walk.enter(if taken.refuses() { *stop } else { *next });
        }
        if walk.states.is_empty() {
            return Err(if unsigned {
                ProcessError::Unsigned { layer, step: taken.step }
            } else {
                let expected = Expected(graph.steps(&before));
                ProcessError::Unexpected { layer, step: taken.step, expected }
            });
        }
    }
    // [PRC-1] The layers of a message MUST match the process of its opcode as a whole …
    if !walk.states.contains(&DONE) {
        let expected = Expected(graph.steps(&walk.states));
        return Err(ProcessError::EndsEarly { layer: steps.len(), expected });
    }
    check_segments(steps)?;
    effect::check_effect(opcode, steps)
}

/// The status of a message.
pub fn message_status(steps: &[StepTaken]) -> Status {
    // [PRC-4] The status of a message is the status of its last layer whose status is not 0; 0 if there is none.
    let mut statuses = steps.iter().rev().map(|taken| taken.status);
    statuses.find(|&status| status != Status::NONE).unwrap_or(Status::NONE)
}

/// Checks that resolution made no write of a read.
///
/// # Errors
///
/// `origin` is a read and `resolved` a write.
pub fn check_resolved(origin: Opcode, resolved: &Fqmn) -> Result<(), BecameWrite> {
    // [PRC-8] Where the origin's target is a read, `resolved` MUST be a read, too.
    if !is_write(origin) && resolved.is_write() {
        return Err(BecameWrite { resolved: resolved.opcode() });
    }
    Ok(())
}

/// Why layers are not the process of their opcode. Layers count from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// PRC-3.
    #[error(
        "opcode {0} has no process; a target without a known opcode is refused by admit, and nothing follows"
    )]
    UnknownOpcode(Opcode),
    /// PRC-1: a layer that no path of the grammar has.
    #[error("layer {layer} is {step}, where {expected} could stand")]
    Unexpected {
        /// The first layer that does not fit.
        layer: usize,
        /// Its step.
        step: Step,
        /// What could have stood there.
        expected: Expected,
    },
    /// PRC-1: the process is not complete, and the last layer is no refusal.
    #[error(
        "layer {layer} is missing: {expected} could stand there, or a refusal in the layer before"
    )]
    EndsEarly {
        /// The number of layers, which is that of the missing one.
        layer: usize,
        /// What could have stood there.
        expected: Expected,
    },
    /// PRC-1, PRC-2: the process demands a signature.
    #[error("layer {layer} ({step}) is not signed, which is allowed only where admit refused")]
    Unsigned {
        /// The layer without a signature.
        layer: usize,
        /// Its step.
        step: Step,
    },
    /// PRC-5: the last segment says nothing of the end.
    #[error("layer {layer} is the last segment and carries neither `complete` nor `cut`")]
    OpenStream {
        /// The last segment.
        layer: usize,
    },
    /// PRC-5: a segment says that it is the last and is not.
    #[error("layer {layer} carries `complete` or `cut` and is not the last segment")]
    EndBeforeEnd {
        /// The segment that claims to be the last.
        layer: usize,
    },
    /// PRC-6: a write was dispatched and not committed, and its end leaves open what came of it.
    #[error(
        "layer {layer} ends a write after its dispatch and carries neither `outcome-unknown` nor `no-effect`"
    )]
    EffectUnsaid {
        /// The last layer.
        layer: usize,
    },
    /// PRC-6: both fields.
    #[error("layer {layer} carries both `outcome-unknown` and `no-effect`")]
    EffectTwice {
        /// The last layer.
        layer: usize,
    },
    /// PRC-6: a field about the effect where none is in question.
    #[error(
        "layer {layer} carries `outcome-unknown` or `no-effect`, and ends no write that may have had an effect"
    )]
    EffectMisplaced {
        /// The layer that carries it.
        layer: usize,
    },
}

impl ProcessError {
    /// The layer at fault; 0, which holds the target, for an unknown opcode.
    pub const fn layer(&self) -> usize {
        match self {
            Self::UnknownOpcode(_) => 0,
            Self::Unexpected { layer, .. }
            | Self::EndsEarly { layer, .. }
            | Self::Unsigned { layer, .. }
            | Self::OpenStream { layer }
            | Self::EndBeforeEnd { layer }
            | Self::EffectUnsaid { layer }
            | Self::EffectTwice { layer }
            | Self::EffectMisplaced { layer } => *layer,
        }
    }

    /// The rule of `cmtp-spec/` that the layers break.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::UnknownOpcode(_) => "PRC-3",
            Self::Unexpected { .. } | Self::EndsEarly { .. } | Self::Unsigned { .. } => "PRC-1",
            Self::OpenStream { .. } | Self::EndBeforeEnd { .. } => "PRC-5",
            Self::EffectUnsaid { .. } | Self::EffectTwice { .. } | Self::EffectMisplaced { .. } => {
                "PRC-6"
            }
        }
    }
}

/// Steps that a process allows at some place, in the registry's order; none where the process has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected(pub Vec<Step>);

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((last, others)) = self.0.split_last() else { return f.write_str("nothing") };
        for step in others {
            write!(f, "{step} or ")?;
        }
        last.fmt(f)
    }
}

/// A read that would turn into a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a read was resolved to a write ({resolved}); ask with the write form of the opcode")]
pub struct BecameWrite {
    /// The first opcode of what resolution gave.
    pub resolved: Opcode,
}

impl BecameWrite {
    /// The status with which a node refuses the request.
    pub const fn status(&self) -> Status {
        Status::WRITE_FORM_REQUIRED
    }
}

/// Checks a message whose opcode has no process.
fn check_no_opcode(opcode: Opcode, steps: &[StepTaken]) -> Result<(), ProcessError> {
    // [PRC-3] Its opcode number is 0, and its process is an origin and an admit layer with a status of 400 or more.
    match steps {
        [origin, admit]
            if opcode == NO_OPCODE
                && origin.step == Step::ORIGIN
                && admit.step == Step::ADMIT
                && admit.refuses() =>
        {
            effect::check_effect(opcode, steps)
        }
        _ => Err(ProcessError::UnknownOpcode(opcode)),
    }
}

fn check_segments(steps: &[StepTaken]) -> Result<(), ProcessError> {
    let last = steps.iter().rposition(|taken| taken.step == Step::SEGMENT);
    for (layer, taken) in steps.iter().enumerate() {
        if taken.step != Step::SEGMENT {
            continue;
        }
        // [PRC-5] If there is a segment, the last one MUST carry `complete` or `cut`, and no other.
        match (Some(layer) == last, taken.has(LayerFlags::COMPLETE) || taken.has(LayerFlags::CUT)) {
            (true, false) => return Err(ProcessError::OpenStream { layer }),
            (false, true) => return Err(ProcessError::EndBeforeEnd { layer }),
            _ => {}
        }
    }
    Ok(())
}

/// The graph of an opcode's process, and its first state; made once, because every message is checked against one.
fn graph(opcode: Opcode) -> Option<&'static (Graph, StateId)> {
    static GRAPHS: LazyLock<Vec<(Opcode, (Graph, StateId))>> = LazyLock::new(|| {
        let graph = |&opcode: &Opcode| Some((opcode, Graph::of(opcode.process()?)));
        Opcode::ALL.iter().filter_map(graph).collect()
    });
    GRAPHS.iter().find(|(of, _)| *of == opcode).map(|(_, graph)| graph)
}

type StateId = usize;

/// A place in a process.
enum State {
    /// The whole process is over.
    Done,
    /// A layer of this step leads to `next`, and, if it refuses, to `stop` as well.
    Step { step: Step, signed: bool, next: StateId, stop: StateId },
    /// Any of these, without a layer.
    Any(Vec<StateId>),
}

/// A process as states, built from its end to its beginning. Every id in it is an index of `states`.
struct Graph {
    states: Vec<State>,
}

impl Graph {
    /// The graph of a whole message, and its first state.
    fn of(process: &Process) -> (Self, StateId) {
        let mut graph = Self { states: vec![State::Done] };
        // [PRC-1] The whole of it or a beginning: a process stands under `!` as a whole.
        let start = graph.add(process, DONE, DONE);
        (graph, start)
    }

    /// Adds `process`, after which comes `next`, or `stop` after a refusal within. Recursion is as deep as the registry.
    fn add(&mut self, process: &Process, next: StateId, stop: StateId) -> StateId {
        match process {
            Process::Step(step) => {
                self.push(State::Step { step: *step, signed: false, next, stop })
            }
            Process::Signed(step) => {
                self.push(State::Step { step: *step, signed: true, next, stop })
            }
            Process::Seq(parts) => {
                parts.iter().rev().fold(next, |next, part| self.add(part, next, stop))
            }
            Process::Alt(parts) => {
                let ways = parts.iter().map(|part| self.add(part, next, stop)).collect();
                self.push(State::Any(ways))
            }
            Process::Star(part) => {
                let again = self.push(State::Any(Vec::new()));
                let body = self.add(part, again, stop);
                self.states[again] = State::Any(vec![body, next]);
                again
            }
            Process::Opt(part) => {
                let body = self.add(part, next, stop);
                self.push(State::Any(vec![body, next]))
            }
            Process::Stop(part) => {
                // A beginning of the part may also be the last of a beginning of what the part stands in.
                let stopped = self.push(State::Any(vec![next, stop]));
                self.add(part, next, stopped)
            }
        }
    }

    fn push(&mut self, state: State) -> StateId {
        self.states.push(state);
        self.states.len() - 1
    }

    /// The steps that `states` wait for, each once, in the registry's order.
    fn steps(&self, states: &[StateId]) -> Vec<Step> {
        let mut steps: Vec<Step> = states
            .iter()
            .filter_map(|&id| match &self.states[id] {
                State::Step { step, .. } => Some(*step),
                State::Done | State::Any(_) => None,
            })
            .collect();
        steps.sort_unstable();
        steps.dedup();
        steps
    }
}

/// The states that the layers so far may have led to.
struct Walk<'a> {
    graph: &'a Graph,
    /// `Done` and `Step` states, each once.
    states: Vec<StateId>,
    seen: Vec<bool>,
    open: Vec<StateId>,
}

impl<'a> Walk<'a> {
    fn new(graph: &'a Graph) -> Self {
        let seen = vec![false; graph.states.len()];
        Self { graph, states: Vec::new(), seen, open: Vec::new() }
    }

    /// Adds a state and all that it reaches without a layer.
    fn enter(&mut self, id: StateId) {
        self.open.push(id);
        while let Some(id) = self.open.pop() {
            if std::mem::replace(&mut self.seen[id], true) {
                continue;
            }
            match &self.graph.states[id] {
                State::Any(ways) => self.open.extend(ways),
                State::Done | State::Step { .. } => self.states.push(id),
            }
        }
    }

    /// Leaves the states, so that those of the next layer can be entered.
    fn take_states(&mut self) -> Vec<StateId> {
        self.seen.fill(false);
        std::mem::take(&mut self.states)
    }
}

/// The opcode number of a message whose target does not begin with an opcode of the table.
const NO_OPCODE: Opcode = Opcode(0);

/// The state that a graph begins with and a process ends in.
const DONE: StateId = 0;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use std::collections::BTreeSet;

    use cmtp_spec::limits;
    use proptest::prelude::*;

    use super::*;

    /// Layers from words such as `origin+ admit serve:404 segment/complete`; `+` is the flag `signed`, `?` the field
    /// `outcome-unknown`, `-` the field `no-effect`, and `*` says that the layer is withheld.
    fn layers(words: &str) -> Vec<StepTaken> {
        words.split_whitespace().map(layer).collect()
    }

    fn layer(word: &str) -> StepTaken {
        let fields = |mark: char| word.contains(mark);
        let effect = EffectFields { outcome_unknown: fields('?'), no_effect: fields('-') };
        let effect = (!fields('*')).then_some(effect);
        let word = word.replace(['?', '-', '*'], "");
        let (word, flag) = word.split_once('/').unwrap_or((&word, ""));
        let (word, status) = word.split_once(':').unwrap_or((word, "0"));
        let name = word.trim_end_matches('+');
        let mut flags = if name == word { 0 } else { LayerFlags::SIGNED.0 };
        flags |= LayerFlags::from_name(flag).map_or(0, |flag| flag.0);
        StepTaken {
            step: Step::from_name(name).unwrap(),
            status: Status(status.parse().unwrap()),
            flags: LayerFlags(flags),
            effect,
        }
    }

    fn check(opcode: Opcode, words: &str) -> Result<(), ProcessError> {
        check_process(opcode, &layers(words))
    }

    #[test]
    fn processes_that_hold() {
        let table = [
            // [PRC-1]
            (Opcode::S, "origin admit serve:200"),
            (Opcode::S, "origin+ admit resolve resolve dispatch serve:200"),
            (Opcode::S, "origin admit dispatch serve:404"),
            (Opcode::S, "origin admit resolve:404"),
            (Opcode::S, "origin admit dispatch:503"),
            (Opcode::A, "origin admit assemble:200"),
            (Opcode::SW, "origin+ admit serve:200 commit"),
            (Opcode::SW, "origin+ admit dispatch serve:504?"),
            (Opcode::EW, "origin+ admit publish commit:200"),
            (Opcode::EW, "origin+ admit dispatch serve:200 commit"),
            (Opcode::CW, "origin+ admit propose commit:200"),
            // [PRC-3]
            (NO_OPCODE, "origin admit:400"),
            (NO_OPCODE, "origin+ admit:401"),
            // [PRC-2]
            (Opcode::SW, "origin admit:401"),
            (Opcode::SW, "origin+ admit:403"),
            // [PRC-5]
            (Opcode::S, "origin admit serve:200 segment segment segment/complete"),
            (Opcode::S, "origin admit dispatch serve segment/cut"),
            (Opcode::SW, "origin+ admit serve:200 segment segment/complete commit"),
            (Opcode::S, "origin admit serve:200 segment segment:504/cut"),
            // [PRC-1] Forwarded over one, two and three hops; a stopped hop is checked all the same.
            (Opcode::P, "origin+ admit forward admit serve:200 check"),
            (Opcode::PW, "origin+ admit forward admit dispatch serve:200 commit check"),
            (Opcode::PW, "origin+ admit forward admit:403 check"),
            (Opcode::PW, "origin+ admit forward admit:403 check:502"),
            (Opcode::PW, "origin+ admit forward:503"),
            (
                Opcode::P,
                "origin+ admit forward admit forward admit forward admit serve check check check",
            ),
            (Opcode::P, "origin+ admit forward admit forward admit:403 check check"),
            (Opcode::P, "origin+ admit forward admit forward admit:403 check:502 check"),
            (Opcode::P, "origin+ admit forward admit forward admit serve:404"),
        ];
        for (opcode, words) in table {
            assert_eq!(check(opcode, words), Ok(()), "{opcode} {words}");
        }
    }

    #[test]
    fn processes_that_do_not() {
        let work = "resolve or dispatch or serve or assemble";
        let table = [
            // [PRC-1]
            (Opcode::S, "", "layer 0 is missing: origin could stand there, or a refusal in the layer before".into()),
            (Opcode::S, "admit", "layer 0 is admit, where origin could stand".into()),
            (Opcode::S, "origin serve", "layer 1 is serve, where admit could stand".into()),
            (Opcode::SW, "origin+ serve commit", "layer 1 is serve, where admit could stand".into()),
            (Opcode::S, "origin admit commit", format!("layer 2 is commit, where {work} could stand")),
            (
                Opcode::S,
                "origin admit:399",
                format!("layer 2 is missing: {work} could stand there, or a refusal in the layer before"),
            ),
            (Opcode::S, "origin admit serve commit", "layer 3 is commit, where segment could stand".into()),
            (Opcode::A, "origin admit assemble serve", "layer 3 is serve, where nothing could stand".into()),
            // [PRC-10]
            (
                Opcode::S,
                "origin admit:403 serve",
                "layer 2 is serve, where nothing could stand".into(),
            ),
            (
                Opcode::SW,
                "origin+ admit serve:200",
                "layer 3 is missing: commit or segment could stand there, or a refusal in the layer before".into(),
            ),
            (
                Opcode::SW,
                "origin+ admit resolve serve segment commit resolve",
                "layer 6 is resolve, where nothing could stand".into(),
            ),
            (Opcode::P, "origin+ admit serve", "layer 2 is serve, where resolve or forward could stand".into()),
            (
                Opcode::P,
                "origin+ admit forward admit serve:200 forward",
                "layer 5 is forward, where commit or check or segment could stand".into(),
            ),
            (
                Opcode::P,
                "origin+ admit forward admit forward admit forward admit forward",
                format!("layer 8 is forward, where {work} could stand"),
            ),
            (
                Opcode::P,
                "origin+ admit forward admit:403 check check",
                "layer 5 is check, where nothing could stand".into(),
            ),
            // [PRC-1] [PRC-2]
            (
                Opcode::SW,
                "origin admit serve commit",
                "layer 0 (origin) is not signed, which is allowed only where admit refused".into(),
            ),
            (
                Opcode::SW,
                "origin admit serve:500",
                "layer 0 (origin) is not signed, which is allowed only where admit refused".into(),
            ),
            (
                Opcode::SW,
                "origin admit:200",
                "layer 0 (origin) is not signed, which is allowed only where admit refused".into(),
            ),
            // [PRC-5]
            (
                Opcode::S,
                "origin admit serve segment segment",
                "layer 4 is the last segment and carries neither `complete` nor `cut`".into(),
            ),
            (
                Opcode::S,
                "origin admit serve segment/complete segment/complete",
                "layer 3 carries `complete` or `cut` and is not the last segment".into(),
            ),
            (Opcode::S, "origin admit segment/complete", format!("layer 2 is segment, where {work} could stand")),
            // [PRC-3]
            (Opcode(0x7777), "origin admit serve", "opcode 0x7777 has no process; a target without a known opcode is refused by admit, and nothing follows".into()),
        ];
        for (opcode, words, message) in table {
            let error = check(opcode, words).unwrap_err();
            assert_eq!(error.to_string(), message, "{opcode} {words}");
            let named = message.split_whitespace().nth(1).and_then(|word| word.parse().ok());
            assert_eq!(error.layer(), named.unwrap_or(0));
        }
        // [PRC-3]
        let table = [
            (NO_OPCODE, ""),
            (NO_OPCODE, "origin"),
            (NO_OPCODE, "origin admit:200"),
            (NO_OPCODE, "origin serve:400"),
            (NO_OPCODE, "origin admit:400 serve:400"),
            (Opcode(0x7777), "origin admit:400"),
        ];
        for (opcode, words) in table {
            assert_eq!(check(opcode, words), Err(ProcessError::UnknownOpcode(opcode)), "{words}");
        }
        assert_eq!(ProcessError::UnknownOpcode(NO_OPCODE).rule(), "PRC-3");
    }

    #[test]
    fn a_write_that_was_dispatched_says_what_came_of_it() {
        // [PRC-6]
        let holds = [
            (Opcode::SW, "origin+ admit dispatch:404-"),
            (Opcode::SW, "origin+ admit dispatch serve:503-"),
            (Opcode::EW, "origin+ admit dispatch serve:504?"),
            (Opcode::SW, "origin+ admit dispatch serve:200 commit:507?"),
            (Opcode::SW, "origin+ admit dispatch serve:200 segment segment:500/cut?"),
            (Opcode::RW, "origin+ admit resolve dispatch serve:500?"),
            // In the node's own process.
            (Opcode::SW, "origin+ admit serve:412"),
            (Opcode::SW, "origin+ admit serve:500?"),
            (Opcode::SW, "origin+ admit serve:500-"),
            (Opcode::SW, "origin+ admit serve:200 commit:507"),
            (Opcode::SW, "origin+ admit serve:200 commit:507?"),
            (Opcode::CW, "origin+ admit propose:504?"),
            // What is withheld is not checked.
            (Opcode::SW, "origin+ admit dispatch serve:504*"),
            (Opcode::SW, "origin+* admit* dispatch* serve:504*"),
            // A forwarded write is not bound.
            (Opcode::PW, "origin+ admit forward:504"),
            (Opcode::PW, "origin+ admit forward:504?"),
            (Opcode::PW, "origin+ admit forward admit dispatch serve:504? check:504?"),
        ];
        for (opcode, words) in holds {
            assert_eq!(check(opcode, words), Ok(()), "{opcode} {words}");
        }
        let unsaid = |layer| ProcessError::EffectUnsaid { layer };
        let twice = |layer| ProcessError::EffectTwice { layer };
        let misplaced = |layer| ProcessError::EffectMisplaced { layer };
        let breaks = [
            (Opcode::SW, "origin+ admit dispatch:404", unsaid(2)),
            (Opcode::SW, "origin+ admit dispatch serve:504", unsaid(3)),
            (Opcode::SW, "origin+ admit dispatch serve commit:507", unsaid(4)),
            (Opcode::SW, "origin+ admit dispatch* serve:504", unsaid(3)),
            (Opcode::SW, "origin+ admit dispatch serve:504?-", twice(3)),
            (Opcode::SW, "origin+ admit serve:500-?", twice(2)),
            // On a layer before the last, or where the write is committed.
            (Opcode::SW, "origin+ admit dispatch? serve:504?", misplaced(2)),
            (Opcode::SW, "origin+ admit dispatch? serve:504*", misplaced(2)),
            (Opcode::SW, "origin+ admit dispatch serve:200 commit-", misplaced(4)),
            (Opcode::SW, "origin+ admit serve:200? commit", misplaced(2)),
            (Opcode::SW, "origin+- admit serve:500", misplaced(0)),
            // Stopped before anything could have an effect.
            (Opcode::SW, "origin+ admit:403-", misplaced(1)),
            (Opcode::RW, "origin+ admit resolve:404?", misplaced(2)),
            (NO_OPCODE, "origin admit:400-", misplaced(1)),
            // A read.
            (Opcode::S, "origin admit dispatch serve:504?", misplaced(3)),
            (Opcode::S, "origin admit serve:200-", misplaced(2)),
            (Opcode::P, "origin+ admit forward:504?", misplaced(2)),
        ];
        for (opcode, words, error) in breaks {
            assert_eq!(check(opcode, words), Err(error.clone()), "{opcode} {words}");
            assert_eq!((error.rule(), error.to_string().contains("`no-effect`")), ("PRC-6", true));
            let layer = words.split_whitespace().count() - 1;
            assert!(error.layer() <= layer, "{error}");
        }
    }

    #[test]
    fn a_message_has_the_last_status_that_says_something() {
        // [PRC-4]
        let table = [
            ("", 0),
            ("origin admit", 0),
            ("origin admit serve:200 commit", 200),
            ("serve:200 commit:507", 507),
        ];
        for (words, status) in table {
            assert_eq!(message_status(&layers(words)), Status(status));
        }
    }

    #[test]
    fn a_read_stays_a_read() {
        // [PRC-8]
        let read = Fqmn::parse("0xS:a").unwrap();
        let write = Fqmn::parse("0xSW:a").unwrap();
        assert_eq!(check_resolved(Opcode::R, &read), Ok(()));
        assert_eq!(check_resolved(Opcode::RW, &read), Ok(()));
        assert_eq!(check_resolved(Opcode::RW, &write), Ok(()));
        let error = check_resolved(Opcode::R, &write).unwrap_err();
        assert_eq!((error.resolved, error.status()), (Opcode::SW, Status::WRITE_FORM_REQUIRED));
    }

    #[test]
    fn a_stream_may_be_as_long_as_the_limit() {
        let mut steps = layers("origin+ admit forward admit forward admit forward admit serve:200");
        let end = limits::SEGMENTS_MAX as usize;
        steps.extend((1..end).map(|_| layer("segment")));
        steps.extend(layers("segment/complete check check check"));
        assert_eq!(check_process(Opcode::P, &steps), Ok(()));
        steps.pop();
        let error = check_process(Opcode::P, &steps).unwrap_err();
        assert_eq!(error.layer(), steps.len());
    }

    /// Where a process can end, and where a beginning of it can that a refusal ends.
    #[derive(Default)]
    struct Ends {
        whole: BTreeSet<usize>,
        stopped: BTreeSet<usize>,
    }

    impl Ends {
        fn at(layer: usize) -> Self {
            Self { whole: BTreeSet::from([layer]), stopped: BTreeSet::new() }
        }

        fn or(mut self, other: Self) -> Self {
            self.whole.extend(other.whole);
            self.stopped.extend(other.stopped);
            self
        }

        fn then(self, next: impl Fn(usize) -> Self) -> Self {
            let none = Self { whole: BTreeSet::new(), stopped: self.stopped };
            self.whole.into_iter().map(next).fold(none, Self::or)
        }
    }

    /// Chapter 7 as it is written: from layer `at` on, by trying everything.
    fn ends(process: &Process, steps: &[StepTaken], at: usize, excused: bool) -> Ends {
        let ends_from = |part, at| ends(part, steps, at, excused);
        let one = |wanted, signed: bool| match steps.get(at) {
            Some(taken)
                if taken.step == wanted && (!signed || excused || taken.flags.0 & 1 == 1) =>
            {
                // [PRC-10]
                let Ends { whole, stopped } = Ends::at(at + 1);
                match taken.status.0 {
                    400.. => Ends { whole: stopped, stopped: whole },
                    _ => Ends { whole, stopped },
                }
            }
            _ => Ends::default(),
        };
        match process {
            Process::Step(step) => one(*step, false),
            Process::Signed(step) => one(*step, true),
            Process::Seq(parts) => parts
                .iter()
                .fold(Ends::at(at), |so_far, part| so_far.then(|at| ends_from(part, at))),
            Process::Alt(parts) => {
                parts.iter().map(|part| ends_from(part, at)).fold(Ends::default(), Ends::or)
            }
            Process::Star(part) => {
                // As often as there are layers is as often as it can be.
                steps.iter().fold(Ends::at(at), |so_far, _| {
                    let again = Ends { whole: so_far.whole.clone(), ..Ends::default() };
                    so_far.or(again.then(|at| ends_from(part, at)))
                })
            }
            Process::Opt(part) => Ends::at(at).or(ends_from(part, at)),
            Process::Stop(part) => {
                let Ends { whole, stopped } = ends_from(part, at);
                Ends { whole: whole.union(&stopped).copied().collect(), stopped }
            }
        }
    }

    /// Writes layers that `process` allows, as `choices` say.
    fn sentence(
        process: &Process,
        choices: &mut impl Iterator<Item = usize>,
        out: &mut Vec<StepTaken>,
    ) {
        let mut choose = |among: usize| choices.next().unwrap_or(0) % among;
        match process {
            Process::Step(step) | Process::Signed(step) => out.push(StepTaken {
                step: *step,
                status: [Status::NONE, Status::OK, Status::NONE, Status::CREATED][choose(4)],
                flags: LayerFlags(u16::from(matches!(process, Process::Signed(_)))),
                effect: None,
            }),
            Process::Seq(parts) => parts.iter().for_each(|part| sentence(part, choices, out)),
            Process::Alt(parts) => sentence(&parts[choose(parts.len())], choices, out),
            Process::Star(part) => (0..choose(3)).for_each(|_| sentence(part, choices, out)),
            Process::Opt(part) => (0..choose(2)).for_each(|_| sentence(part, choices, out)),
            Process::Stop(part) => {
                let (stop, length) = (choose(2) == 1, choose(6) + 1);
                let start = out.len();
                sentence(part, choices, out);
                if stop && start + length < out.len() {
                    out.truncate(start + length);
                    out[start + length - 1].status = Status::UNAVAILABLE;
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_graph_agrees_with_the_chapter(
            opcode in prop::sample::select(Opcode::ALL),
            choices in prop::collection::vec(0_usize..64, 60),
            // Layer, and what is done to it; most of the time nothing is.
            changes in prop::collection::vec((0_usize..12, 0_usize..5, prop::sample::select(Step::ALL)), 0..3),
        ) {
            let process = opcode.process().unwrap();
            let mut steps = Vec::new();
            sentence(&Process::Stop(process), &mut choices.into_iter(), &mut steps);
            let unchanged = changes.is_empty();
            for (layer, change, step) in changes {
                let layer = layer.min(steps.len().saturating_sub(1));
                match change {
                    _ if steps.is_empty() => {}
                    0 => steps[layer].step = step,
                    1 => drop(steps.remove(layer)),
                    2 => steps.insert(layer, StepTaken { step, ..steps[layer] }),
                    3 => steps[layer].flags = LayerFlags(0),
                    _ => steps.truncate(layer),
                }
            }
            let excused = steps.len() == 2 && steps[1].step == Step::ADMIT && steps[1].status.0 >= 400;
            // [PRC-1] [PRC-2]
            let Ends { whole, stopped } = ends(process, &steps, 0, excused);
            let fits = whole.contains(&steps.len()) || stopped.contains(&steps.len());
            let checked = check_process(opcode, &steps);
            let rule = checked.as_ref().err().map(ProcessError::rule);
            prop_assert_eq!(rule != Some("PRC-1"), fits, "{:?} {:?}", steps, checked);
            prop_assert!(fits || !unchanged);
            // What fits up to some layer fits in front of every layer that could have stood there.
            if let Err(ProcessError::Unexpected { layer, step, expected }) = checked {
                prop_assert!(!expected.0.contains(&step));
                for step in expected.0 {
                    let mut other = steps[..layer].to_vec();
                    let flags = LayerFlags::SIGNED;
                    let status = Status::INTERNAL_ERROR;
                    other.push(StepTaken { step, status, flags, effect: None });
                    // An unsigned origin may have been excused by a layer that is no longer there.
                    other[0].flags = flags;
                    let rule = check_process(opcode, &other).err().map(|error| error.rule());
                    prop_assert_ne!(rule, Some("PRC-1"));
                }
            }
        }
    }
}
