//! What a peer sees of anything that goes wrong: `cmtp-spec/spec/08-statuses.md`.

use cmtp_codec::{Field, Layer};
use cmtp_spec::{FieldIndex, Remedy, Status};

/// A status of 400 or more, what to do about it, and a sentence for a person. Nothing else of a failure leaves the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: Status,
    /// What a program does next.
    pub remedy: Option<Remedy>,
    /// A sentence for a person.
    pub detail: String,
    /// Seconds to wait before the same bytes may be sent again.
    pub retry_after: Option<u64>,
    /// A write certainly had no effect; said where a dispatch layer stands.
    pub no_effect: bool,
}

impl Refusal {
    /// A refusal with the status's own remedy.
    pub fn new(status: Status, detail: impl Into<String>) -> Self {
        Self {
            status,
            remedy: status.remedy(),
            detail: detail.into(),
            retry_after: None,
            no_effect: false,
        }
    }

    /// Replaces the remedy.
    #[must_use]
    pub const fn with_remedy(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// Says that a write certainly had no effect.
    #[must_use]
    pub const fn without_effect(mut self) -> Self {
        self.no_effect = true;
        self
    }

    /// Says how long to wait.
    #[must_use]
    pub const fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Makes `layer` the refusing step's own layer.
    pub fn mark(&self, layer: Layer) -> Layer {
        let mut layer = layer.with_status(self.status);
        // [STA-1] A layer with a status of 400 or more that a node adds MUST carry `remedy`.
        if let Some(Remedy(word)) = self.remedy {
            layer = layer.with_public(Field::bytes(FieldIndex::REMEDY, word));
        }
        if !self.detail.is_empty() {
            let detail = Field::bytes(FieldIndex::DETAIL, self.detail.clone());
            layer = layer.with_public(detail);
        }
        match self.retry_after {
            Some(seconds) => layer.with_public(Field::number(FieldIndex::RETRY_AFTER, seconds)),
            None => layer,
        }
    }
}
