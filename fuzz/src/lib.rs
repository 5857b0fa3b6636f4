//! Properties that the codec keeps for any input, each a plain function that panics where one does not hold.
//!
//! Nothing here looks for inputs: `fuzz_targets/` hands them over from libFuzzer, and `tests/tests/fuzz_replay.rs`,
//! on stable, from the seeds of `seeds.py` and the files of `regressions/`.
//!
//! Start from [`message`] (bytes of a stream), [`answer`] (a whole exchange), [`stored`] (bytes of a file), [`audit`] (a journal) or [`envelope`] (bytes from a bus); [`chain`] makes
//! messages itself.
#![forbid(unsafe_code)]

mod answer;
mod audit;
mod chain;
mod envelope;
mod fqmn;
mod message;
mod node;
mod round_trip;
mod stored;

pub use crate::answer::answer;
pub use crate::audit::audit;
pub use crate::chain::chain;
pub use crate::envelope::envelope;
pub use crate::fqmn::fqmn;
pub use crate::message::message;
pub use crate::round_trip::round_trip;
pub use crate::stored::stored;
