//! What decides beside the token: `cmtp-spec/spec/23-policies.md`.

mod subject;

pub use crate::policy::subject::Subject;
