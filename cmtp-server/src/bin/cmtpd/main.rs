//! `cmtpd`, the CMTP node.

mod check_config;
mod data;
mod demo;
mod grant;
mod journal;
mod serve;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

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
///   cmtp id new                                   make an identity; prints its DID
///   cmtpd serve &                                 start the node; prints its address and DID
///   cmtpd grant --to DID --scope 0xS:**           print a token for the identity
///   cmtp call cmtp://127.0.0.1/0xS:echo --data hi --token TOKEN
#[derive(Parser)]
#[command(name = "cmtpd", version, verbatim_doc_comment)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
    Grant(grant::Grant),
    Journal(journal::Journal),
    CheckConfig(check_config::CheckConfig),
    Demo(demo::Demo),
    /// Print the node's DID, which clients pin.
    Did(data::Data),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Serve(serve) => serve.run(),
        Command::Grant(grant) => grant.run(),
        Command::Journal(journal) => journal.run(),
        Command::CheckConfig(check) => check.run(),
        Command::Demo(demo) => demo.run(),
        Command::Did(data) => data.key().map(|key| println!("{}", key.public())),
        Command::Completions { shell } => {
            let name = Arguments::command().get_name().to_owned();
            clap_complete::generate(shell, &mut Arguments::command(), name, &mut std::io::stdout());
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cmtpd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
