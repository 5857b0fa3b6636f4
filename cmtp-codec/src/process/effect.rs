//! What a write that got to no commit says of its effect: `[PRC-6]` of `cmtp-spec/spec/07-processes.md`.

use cmtp_spec::{FieldIndex, Opcode, Step};

use super::{ProcessError, StepTaken};
use crate::fqmn::is_write;
use crate::layer::Layer;

/// Which of the two fields about a write's effect a layer carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EffectFields {
    /// `outcome-unknown`: whether the write had its effect is not known.
    pub outcome_unknown: bool,
    /// `no-effect`: the write certainly had no effect.
    pub no_effect: bool,
}

impl EffectFields {
    /// Neither of them.
    pub const NONE: Self = Self { outcome_unknown: false, no_effect: false };

    /// What a layer carries.
    pub fn of(layer: &Layer) -> Self {
        Self {
            outcome_unknown: layer.value(FieldIndex::OUTCOME_UNKNOWN).is_some(),
            no_effect: layer.value(FieldIndex::NO_EFFECT).is_some(),
        }
    }
}

/// Checks what layers that are a process, or the beginning of one, say of the effect.
pub(super) fn check_effect(opcode: Opcode, steps: &[StepTaken]) -> Result<(), ProcessError> {
    // [PRC-6] Nor are the layers of a forwarded write.
    if opcode == Opcode::PW {
        return Ok(());
    }
    let last = steps.len().saturating_sub(1);
    for (layer, taken) in steps.iter().enumerate() {
        // [PRC-6] What a withheld layer carries is not checked.
        let Some(effect) = taken.effect else { continue };
        let demand = if layer == last { Demand::on_last(opcode, steps) } else { Demand::Neither };
        match (demand, effect.outcome_unknown, effect.no_effect) {
            (Demand::One, false, false) => return Err(ProcessError::EffectUnsaid { layer }),
            (Demand::One | Demand::AtMostOne, true, true) => {
                return Err(ProcessError::EffectTwice { layer });
            }
            (Demand::Neither, true, _) | (Demand::Neither, _, true) => {
                return Err(ProcessError::EffectMisplaced { layer });
            }
            _ => {}
        }
    }
    Ok(())
}

/// How many of the two fields a layer carries.
#[derive(Clone, Copy)]
enum Demand {
    Neither,
    AtMostOne,
    One,
}

impl Demand {
    fn on_last(opcode: Opcode, steps: &[StepTaken]) -> Self {
        let is_early = |step| matches!(step, Step::ORIGIN | Step::ADMIT | Step::RESOLVE);
        match steps.last() {
            // [PRC-6] A write that stopped at a dispatch layer or later MUST carry exactly one of the fields; one that
            // stopped without a dispatch layer, later than at admit and resolve, MAY carry one of the two.
            Some(last) if is_write(opcode) && last.refuses() && !is_early(last.step) => {
                let is_dispatched = steps.iter().any(|taken| taken.step == Step::DISPATCH);
                if is_dispatched { Self::One } else { Self::AtMostOne }
            }
            _ => Self::Neither,
        }
    }
}
