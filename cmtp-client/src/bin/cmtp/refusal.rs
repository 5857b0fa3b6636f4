//! What a refusal tells a person, and how a command ends with it.

use std::env;

use cmtp_client::{Answer, CallError, ChannelError, Ending};
use cmtp_codec::{Field, Fqmn, PublicKey};
use cmtp_spec::{FieldIndex, Remedy, Status, remedies};

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
    /// Whether the node says that its policies deny what was asked for.
    is_by_policies: bool,
}

impl Refusal {
    /// `None` where the answer is no refusal.
    pub(crate) fn of(answer: &Answer) -> Option<Self> {
        (!answer.is_success()).then(|| Self {
            is_by_policies: is_by_policies(answer.fields()),
            status: answer.status(),
            detail: answer.detail().map(terminal::printable),
            remedy: answer.remedy().map(str::to_owned),
            retry_after: answer.retry_after(),
            outcome_unknown: answer.is_outcome_unknown(),
        })
    }

    /// `None` where the answer is no refusal.
    pub(crate) fn of_ending(ending: &Ending) -> Option<Self> {
        (!ending.is_success()).then(|| Self {
            is_by_policies: is_by_policies(ending.fields()),
            status: ending.status(),
            detail: ending.detail().map(terminal::printable),
            remedy: ending.remedy().map(str::to_owned),
            retry_after: ending.retry_after(),
            outcome_unknown: ending.is_outcome_unknown(),
        })
    }

    /// Whether the node accepted no token: to whom it shows nothing of its log.
    pub(crate) fn is_to_a_stranger(&self) -> bool {
        [Status::TOKEN_INVALID, Status::IDENTITY_REQUIRED].contains(&self.status)
    }

    /// Prints it to standard error, with what `caller` can do about it who called `target` of `node`.
    pub(crate) fn show(&self, caller: &Caller, target: &Fqmn, node: Option<PublicKey>) {
        let status = self.status;
        match &self.detail {
            Some(detail) => eprintln!("{} {status}: {detail}", status.0),
            None => eprintln!("{} {status}", status.0),
        }
        if status == Status::TOKEN_INVALID
            && let Some(fault) = caller.token_fault(node)
        {
            eprintln!("{fault}");
        }
        if let Some(advice) = self.advice(caller) {
            let instead = if self.is_of_exported_token(caller) { UNSET } else { "" };
            eprintln!("what to do: {advice}{instead}");
        }
        if caller.is_kept && self.remedy.as_deref().is_some_and(is_about_grant) {
            // Policies may permit what a person granted, and not the same in a session.
            if !self.is_by_policies || !caller.has_token() {
                eprintln!("the operator runs: {}", grant_command(caller, target));
            }
            if self.is_by_policies {
                eprintln!("the operator asks why: {}", explain_command(caller, target));
            }
        }
        if let Some(seconds) = self.retry_after {
            eprintln!("try again after {seconds} s");
        }
        if self.outcome_unknown {
            eprintln!("{UNKNOWN}");
        }
    }

    /// Whether it is the token of the environment that the node does not accept.
    fn is_of_exported_token(&self, caller: &Caller) -> bool {
        let is_set = env::var_os("CMTP_TOKEN").is_some_and(|token| !token.is_empty());
        self.status == Status::TOKEN_INVALID && caller.has_token() && is_set
    }

    /// What a person does about it.
    fn advice(&self, caller: &Caller) -> Option<String> {
        let remedy = self.remedy.as_deref()?;
        if self.is_by_policies {
            let advice = if caller.has_token() { BY_POLICIES } else { BY_POLICIES_IN_A_SESSION };
            return Some(advice.to_owned());
        }
        if self.status == Status::NOT_FOUND && remedy == remedies::FIX_REQUEST.0 {
            return Some(NOT_FOUND.to_owned());
        }
        if remedy == remedies::CREATE_IDENTITY.0 && caller.is_kept && !caller.has_token() {
            let did = caller.identity.did();
            return Some(format!("you are {did}; {LOG_IN}"));
        }
        let known = ADVICE.iter().find(|(word, _)| word.0 == remedy);
        Some(known.map_or_else(|| terminal::printable(remedy), |(_, advice)| (*advice).to_owned()))
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

/// Whether a token that covers the target would do.
fn is_about_grant(remedy: &str) -> bool {
    [remedies::CREATE_IDENTITY, remedies::RENEW_TOKEN, remedies::ASK_ACCESS]
        .iter()
        .any(|word| word.0 == remedy)
}

/// What makes a token that lets `caller` call `target`, and no more.
fn grant_command(caller: &Caller, target: &Fqmn) -> String {
    let option = if target.is_write() { "--write" } else { "--scope" };
    // A quote in a target would end the shell's.
    let pattern = target.target().replace('\'', "%27");
    format!("cmtpd grant --to {} {option} '{pattern}'", caller.identity.did())
}

/// What says why `caller` may not call `target`.
fn explain_command(caller: &Caller, target: &Fqmn) -> String {
    let target = target.target().replace('\'', "%27");
    // A token that was given goes before the session.
    let granted = if caller.has_token() { "" } else { " --granted session" };
    format!("cmtpd policy explain --as {} --target '{target}'{granted}", caller.identity.did())
}

/// An admit layer that refuses has `policies` only where they refused.
fn is_by_policies<'a>(mut refusing: impl Iterator<Item = &'a Field>) -> bool {
    refusing.any(|field| field.name.index() == Some(FieldIndex::POLICIES))
}

const BY_POLICIES: &str =
    "another token does not help; ask the node's operator for a policy that permits it";
const BY_POLICIES_IN_A_SESSION: &str =
    "ask the node's operator to grant it to you, or for a policy that permits it in a session";
const UNSET: &str = "; or unset CMTP_TOKEN: it goes before your session";
const UNKNOWN: &str = "whether a write had its effect is not known";

const NOT_FOUND: &str =
    "check how the target is spelled; which ones there are is for the node's operator to say";
const LOG_IN: &str = "open a session (cmtp login URL), or show a token of the node's operator (--token or CMTP_TOKEN)";

const ADVICE: [(Remedy, &str); 12] = [
    (remedies::FIX_REQUEST, "the request is at fault; sending it again changes nothing"),
    (
        remedies::CREATE_IDENTITY,
        "make an identity (cmtp id new), then open a session (cmtp login URL)",
    ),
    (
        remedies::RENEW_TOKEN,
        "get a new token: open a session (cmtp login URL), or ask the node's operator; then call again",
    ),
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
