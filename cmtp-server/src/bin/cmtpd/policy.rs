//! `cmtpd policy`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::{Args, Subcommand};
use cmtp_client::policy::{GrantedBy, IS_BUILT_IN, Policies, Question, Subject, is_judged};
use cmtp_codec::{Fqmn, PublicKey};
use serde_json::json;

use crate::data::Data;

/// Check the policies that decide what of a token's scope is allowed, and ask them.
///
/// They are files in the folder `policies` of the node's data directory (or `policy.folder` of its
/// configuration) whose names end in .cedar. A node makes the folder at its first start, with a file that
/// explains itself; a change is in force within a second, without a signal. Nothing is allowed that no
/// `permit` permits, and what a `forbid` forbids is denied. The language is Cedar (docs.cedarpolicy.com).
///
/// A policy may name:
///
///   principal        Persona::"did:key:z6Mk…", in Group::"editors", with tags that are texts:
///                    principal.hasTag("country") && principal.getTag("country") == "ch"
///   action           Action::"read", "write", "publish", "subscribe", "register", "deploy"
///   resource         Fqmn::"0xS:0x001:color", in Fqmn::"0xS:0x001" and in Fqmn::"0xS"; spelled with the
///                    read opcode for a write, too; resource.opcode is "0xS"
///   context.granted  "operator" (cmtpd grant) or "session"
///
///   cmtpd policy check
///   cmtpd policy explain --as did:key:z6Mk… --target 0xSW:0x001:color
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(Check),
    Explain(Explain),
}

/// Check policies, and print their digest and ids.
///
/// Nothing is changed, and no node need run. What is wrong is named with file, line and cure.
///
///   cmtpd policy check
///   cmtpd policy check ./new-policies && cp ./new-policies/*.cedar /var/lib/cmtpd/policies/
///   cmtpd policy check --config /etc/cmtpd.toml --json | jq -r .digest
///
/// Exit codes: 0, 1 where a node would not take them, 2 for usage.
#[derive(Args)]
#[command(verbatim_doc_comment)]
struct Check {
    #[command(flatten)]
    from: From,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Say what policies decide, and which of them do.
///
/// The token's scope is another matter: what it does not cover is refused before policies are asked.
///
///   cmtpd policy explain --as did:key:z6Mk… --target 0xSW:0x001:color
///   cmtpd policy explain --as did:key:z6Mk… --target 0xS:a --granted session --group editors --attribute country=ch
///   cmtpd policy explain ./new-policies --as did:key:z6Mk… --target 0xE:audit --json
///
/// Exit codes: 0 where it is allowed, 1 where it is denied or the policies are bad, 2 for usage.
#[derive(Args)]
#[command(verbatim_doc_comment)]
struct Explain {
    #[command(flatten)]
    from: From,
    /// DID of who asks.
    #[arg(long = "as", value_name = "DID")]
    who: PublicKey,
    /// What for; a write is spelled with its write opcode, such as 0xSW:0x001:color.
    #[arg(long, value_name = "FQMN", value_parser = target)]
    target: Fqmn,
    /// A group of who asks; may be repeated.
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    /// An attribute of who asks; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = attribute)]
    attribute: Vec<(String, String)>,
    /// Who granted the token: operator or session.
    #[arg(long, value_name = "WHO", default_value = "operator")]
    granted: GrantedBy,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Where the policies are.
#[derive(Args)]
struct From {
    /// A folder of policies [default: the node's]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    data: Data,
}

impl Policy {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Check(check) => check.run(),
            Command::Explain(explain) => explain.run(),
        }
    }
}

impl Check {
    fn run(self) -> anyhow::Result<ExitCode> {
        let policies = self.from.load()?;
        let ids: Vec<&str> = policies.ids().collect();
        let digest = policies.digest().to_string();
        if self.json {
            println!("{}", json!({ "good": true, "digest": digest, "policies": ids }));
            return Ok(ExitCode::SUCCESS);
        }
        let policies = if ids.len() == 1 { "policy" } else { "policies" };
        println!("good: {} {policies}, digest {digest}", ids.len());
        ids.iter().for_each(|id| println!("  {id}"));
        if ids.is_empty() {
            eprintln!("cmtpd: a node with no policies denies every request");
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Explain {
    fn run(self) -> anyhow::Result<ExitCode> {
        let subject = Subject {
            groups: self.group.into_iter().collect(),
            attributes: self.attribute.into_iter().collect(),
        };
        subject.check()?;
        let policies = self.from.load()?;
        let question = Question {
            principal: self.who,
            subject: &subject,
            granted: self.granted,
            target: &self.target,
        };
        let decision = policies.decide(&question);
        let is_judged = is_judged(&self.target);
        let (action, resource) = (question.action(), question.resource());
        if self.json {
            let result = json!({
                "allowed": decision.is_allowed,
                "action": action.name(),
                "resource": resource.as_str(),
                "policies": decision.policies,
                "judged": is_judged,
                "digest": policies.digest().to_string(),
            });
            println!("{result}");
        } else {
            let word = if decision.is_allowed { "allowed" } else { "denied" };
            println!("{word}: {action} Fqmn::{:?}", resource.as_str());
            for id in &decision.policies {
                println!("  by {id}");
            }
            if !is_judged {
                println!("  policies are not asked about it: it is for everybody");
            } else if decision.policies.is_empty() {
                println!("  no policy permits it, and what none permits is denied");
            }
        }
        Ok(if decision.is_allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl From {
    fn load(&self) -> anyhow::Result<Policies> {
        ensure!(
            IS_BUILT_IN,
            "this cmtpd was built without policies: build it with the feature `cedar`"
        );
        let folder = match &self.folder {
            Some(folder) => folder.clone(),
            None => self.data.policies()?,
        };
        ensure!(
            folder.is_dir(),
            "there is no folder {}; a node makes its own at its first start, or name one: cmtpd policy … DIR",
            folder.display()
        );
        Ok(Policies::load(&folder)?)
    }
}

fn target(text: &str) -> Result<Fqmn, String> {
    let cure = "expected such as 0xS:echo, or 0xSW:0x001:color for a write";
    Fqmn::parse_target(text).map_err(|error| format!("{error}; {cure}"))
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').ok_or("expected NAME=VALUE, such as country=ch")?;
    Ok((parts.0.to_owned(), parts.1.to_owned()))
}
