//! `cmtpd`, the CMTP node.

mod address_file;
mod bench;
mod check_config;
mod data;
mod demo;
mod erase;
mod grant;
mod hangup;
mod issuer;
mod journal;
mod keys;
mod manual;
mod operator;
mod policy;
mod root;
mod serve;
mod witness;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// A request makes and drops some dozen small pieces; the system's allocator takes several times as long for each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The CMTP node: answers authenticated requests over QUIC and seals every answer.
///
/// A first try, from nothing to a verified answer:
///
///   cmtpd demo
///
/// A node of one's own:
///
///   cmtpd serve &                                 start the node; prints its address and DID
///   cmtp id new                                   make an identity; prints its DID
///   cmtp login cmtp://127.0.0.1                   open a session
///   cmtp call cmtp://127.0.0.1/0xS:echo --data hi
#[derive(Parser)]
#[command(name = "cmtpd", version, verbatim_doc_comment, after_long_help = AFTER)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    // In the order in which a new user meets them.
    Demo(demo::Demo),
    Serve(serve::Serve),
    Grant(grant::Grant),
    /// Print the node's DID, which clients pin.
    ///
    /// The node need not run. Where there is no node yet, its keys are made, as `serve` does.
    ///
    ///   cmtp verify answer.cmtp --pin "$(cmtpd did)"
    ///   cmtpd did --config /etc/cmtpd.toml
    ///   cmtpd did --log 0                         # `log KEY`, for a policy or a witness
    #[command(verbatim_doc_comment)]
    Did {
        #[command(flatten)]
        data: data::Data,
        /// Print the policy line of the node's transparency log with this number: `log` and its verifier key.
        ///
        /// The first log has number 0; each that was begun with `serve --follow-log` has the next.
        #[arg(long, value_name = "N")]
        log: Option<u32>,
    },
    CheckConfig(check_config::CheckConfig),
    Issuer(issuer::Issuer),
    Policy(policy::Policy),
    Journal(journal::Journal),
    Erase(erase::Erase),
    Hangup(hangup::Hangup),
    Keys(keys::Keys),
    Witness(witness::Witness),
    Bench(bench::Bench),
    Man(manual::Manual),
    Completions(manual::Completions),
}

const AFTER: &str = "\
Environment:
  CMTPD_DATA       the node's data directory [default: ~/.local/share/cmtpd]
  CMTP_PASSPHRASE  of a root key that is or was exported, where nobody is to be asked
  RUST_LOG         how much `serve` logs, such as cmtp_server=debug [default: info]
  NO_COLOR         if set and not empty, a log without colours

Exit codes:
  0  success
  1  it failed; the message names what is at fault and what to do
  2  usage";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Serve(serve) => serve.run(),
        Command::Grant(grant) => grant.run(),
        Command::Journal(journal) => journal.run(),
        Command::Erase(erase) => erase.run(),
        Command::Hangup(hangup) => hangup.run(),
        Command::Keys(keys) => keys.run(),
        Command::Witness(witness) => witness.run(),
        Command::CheckConfig(check) => check.run(),
        Command::Issuer(issuer) => issuer.run(),
        // Its answer may be no.
        Command::Policy(policy) => return policy.run().unwrap_or_else(|error| failed(&error)),
        Command::Demo(demo) => demo.run(),
        Command::Bench(bench) => bench.run(),
        Command::Did { data, log } => did(&data, log),
        Command::Man(manual) => manual.run(Arguments::command()),
        Command::Completions(completions) => completions.run(Arguments::command()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("cmtpd: {}", said(error));
    ExitCode::FAILURE
}

fn did(data: &data::Data, log: Option<u32>) -> anyhow::Result<()> {
    let keys = data.keys()?;
    match log {
        None => println!("{}", keys.public()),
        Some(number) => println!("log {}", keys.log_key(number)?),
    }
    Ok(())
}

/// An error and its causes; a cause that was said already is not said again.
fn said(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |said, cause| {
        let cause = cause.to_string();
        match said.is_empty() {
            true => cause,
            false if said.contains(&cause) => said,
            false => format!("{said}: {cause}"),
        }
    })
}
