//! Who may do what: `cmtp-spec/spec/23-policies.md`.

mod subject;

pub use subject::Subject;
