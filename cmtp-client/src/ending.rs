//! How an answer ended.

use cmtp_codec::{Field, Judgement, Layer, Receipt, Verdict, Verified};
use cmtp_spec::{Retry, Status};

use crate::answer::{Answer, Said, is_success};

/// The end of a streamed answer, verified as an [`Answer`] is. It holds the layer that decided the status and the seal;
/// all layers only where they were kept.
#[derive(Debug)]
pub struct Ending {
    judgement: Verified<Judgement>,
    deciding: Option<Layer>,
}

impl Ending {
    pub(crate) const fn new(judgement: Verified<Judgement>, deciding: Option<Layer>) -> Self {
        Self { judgement, deciding }
    }

    /// The status of the message.
    pub fn status(&self) -> Status {
        self.judgement.status
    }

    /// Whether the status is below 400.
    pub fn is_success(&self) -> bool {
        is_success(self.status())
    }

    /// The fields of the layer that decided the status.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.said().fields()
    }

    /// The word that tells a program what to do next: that of the refusal, or the status's own.
    pub fn remedy(&self) -> Option<&str> {
        self.said().remedy()
    }

    /// A refusal's sentence for a person.
    pub fn detail(&self) -> Option<&str> {
        self.said().detail()
    }

    /// Seconds after which to try again, where the node said so.
    pub fn retry_after(&self) -> Option<u64> {
        self.said().retry_after()
    }

    /// Whether and how the request may be sent again.
    pub fn retry(&self) -> Retry {
        if self.judgement.seal.recorded { Retry::Never } else { self.said().retry() }
    }

    /// Whether a write may have had its effect although this is a refusal: the node says that it can't know.
    pub fn is_outcome_unknown(&self) -> bool {
        self.said().is_outcome_unknown()
    }

    /// What the message proves: only a refusal before a token was accepted is not authentic.
    pub fn verdict(&self) -> Verdict {
        self.judgement.verdict
    }

    /// The number of layers, the origin counted.
    pub fn layers(&self) -> u32 {
        self.judgement.layers
    }

    /// The node's promise over the whole message; none with a refusal before a token was accepted.
    pub fn receipt(&self) -> Option<&Receipt> {
        self.judgement.seal.receipt.as_ref()
    }

    /// The whole answer, where it was kept: [`crate::Streaming::keeping`].
    pub fn into_answer(self) -> Option<Answer> {
        self.judgement.into_replay().map(Answer::new)
    }

    fn said(&self) -> Said<'_> {
        Said { status: self.status(), layer: self.deciding.as_ref() }
    }
}
