//! What a refusal tells a person, and how a command ends with it.

use cmtp_client::{Answer, CallError, ChannelError, Ending};
use cmtp_spec::{Remedy, Status, remedies};

use crate::caller::Caller;
use crate::exit::{Exit, Failure};
use crate::terminal;

/// What is to be said of an answer, whether it was kept whole or not.
pub(crate) struct Refusal {
    status: Status,
    detail: Option<String>,
    remedy: Option<String>,
    retry_after: Option<u64>,
    outcome_unknown: bool,
}

impl Refusal {
    /// `None` where the answer is no refusal.
    pub(crate) fn of(answer: &Answer) -> Option<Self> {
        (!answer.is_success()).then(|| Self {
            status: answer.status(),
            detail: answer.detail().map(terminal::printable),
            remedy: answer.remedy().map(advice),
            retry_after: answer.retry_after(),
            outcome_unknown: answer.is_outcome_unknown(),
        })
    }

    /// `None` where the answer is no refusal.
    pub(crate) fn of_ending(ending: &Ending) -> Option<Self> {
        (!ending.is_success()).then(|| Self {
            status: ending.status(),
            detail: ending.detail().map(terminal::printable),
            remedy: ending.remedy().map(advice),
            retry_after: ending.retry_after(),
            outcome_unknown: ending.is_outcome_unknown(),
        })
    }

    /// Prints it to standard error.
    pub(crate) fn show(&self, caller: &Caller) {
        let status = self.status;
        match &self.detail {
            Some(detail) => eprintln!("{} {status}: {detail}", status.0),
            None => eprintln!("{} {status}", status.0),
        }
        if let Some(advice) = &self.remedy {
            eprintln!("what to do: {advice}");
        }
        if let Some(seconds) = self.retry_after {
            eprintln!("try again after {seconds} s");
        }
        if self.outcome_unknown {
            eprintln!("{UNKNOWN}");
        }
        if let (Status::TOKEN_INVALID, Some(hint)) = (status, caller.mismatch()) {
            eprintln!("{hint}");
        }
    }
}

/// How a command ends that has no answer.
pub(crate) fn failed(error: ChannelError) -> Failure {
    let exit = match &error {
        ChannelError::Prepare(_) | ChannelError::Call { source: CallError::Prepare(_), .. } => {
            Exit::Usage
        }
        ChannelError::Call { source: CallError::Bad(_) | CallError::Malformed { .. }, .. } => {
            Exit::Invalid
        }
        _ => Exit::NoNode,
    };
    let unknown = error.is_outcome_unknown() && exit == Exit::NoNode;
    let error = anyhow::Error::from(error);
    Failure::new(exit, if unknown { error.context(UNKNOWN) } else { error })
}

/// What a person does about a remedy.
fn advice(remedy: &str) -> String {
    let known = ADVICE.iter().find(|(word, _)| word.0 == remedy);
    known.map_or_else(|| terminal::printable(remedy), |(_, advice)| (*advice).to_owned())
}

const UNKNOWN: &str = "whether a write had its effect is not known";

const ADVICE: [(Remedy, &str); 12] = [
    (remedies::FIX_REQUEST, "the request is at fault; sending it again changes nothing"),
    (
        remedies::CREATE_IDENTITY,
        "make an identity (cmtp id new), ask the node's operator for a token (cmtpd grant), and show it (--token or \
         CMTP_TOKEN)",
    ),
    (remedies::RENEW_TOKEN, "get a new token from the node's operator, then call again"),
    (remedies::RESEND_TOKEN, "call again"),
    (remedies::ASK_ACCESS, "ask the node's operator for a wider grant"),
    (remedies::USE_WRITE_FORM, "call the write form of the opcode, such as 0xSW for 0xS"),
    (remedies::USE_AUDIENCE, "call the node that the request was made for"),
    (remedies::NEW_ID, "check this machine's clock, then call again"),
    (remedies::WAIT, "wait a while, then call again"),
    (remedies::SEND_LESS, "send fewer or smaller parts"),
    (
        remedies::LOOK_BEFORE_RETRY,
        "whether there was an effect is not known; look before you call again",
    ),
    (remedies::ASK_OPERATOR, "the node or its service is at fault; tell its operator"),
];
