//! `cmtp`: calls CMTP nodes, and judges what they answered.

mod audit;
mod bench;
mod call;
mod caller;
mod connect;
mod disclose;
mod exit;
mod header;
mod id;
mod inspect;
mod login;
mod manual;
mod passphrase;
mod receipts;
mod refusal;
mod services;
mod standing;
mod terminal;
mod verify;

use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory, Parser, Subcommand};

/// A request makes and drops some dozen small pieces; the system's allocator takes several times as long for each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Call CMTP nodes, and judge what they answered.
///
/// Every request is signed by your identity; every answer comes as a chain of layers that the node
/// sealed, and is verified before anything of it is shown. `cmtp COMMAND --help` explains a command, with examples.
#[derive(Parser)]
#[command(name = "cmtp", version, after_long_help = AFTER)]
struct Cmtp {
    /// Whether trees and verdicts are coloured; auto: on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    color: ColorChoice,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    // In the order in which a new user meets them.
    #[command(subcommand)]
    Id(id::Id),
    Login(login::Login),
    Call(Box<call::Call>),
    Sessions(login::List),
    Logout(login::Logout),
    Inspect(inspect::Inspect),
    Verify(verify::Verify),
    Disclose(disclose::Disclose),
    #[command(subcommand)]
    Audit(audit::Audit),
    Services(services::Services),
    Bench(Box<bench::Bench>),
    Man(manual::Manual),
    Completions(manual::Completions),
}

const AFTER: &str = "\
First steps:
  cmtpd serve &                                 a node to try with; prints its address
  cmtp id new                                   make an identity; prints its DID
  cmtp login cmtp://127.0.0.1:4433              open a session there
  cmtp call cmtp://127.0.0.1:4433/0xS:echo --data hello --save hello.cmtp
  cmtp verify hello.cmtp                        judges it offline, now or in ten years

Environment:
  CMTP_HOME            directory of identities, sessions, known nodes [default: ~/.config/cmtp]
  CMTP_TOKEN           token for `call` and `bench`, in place of a session
  CMTP_PERSONA         which persona calls, as --as says
  CMTP_PASSPHRASE      opens and encrypts the file of identities where nobody is to be asked
  CMTP_NEW_PASSPHRASE  the one that `id passphrase` sets where nobody is to be asked
  NO_COLOR             if set and not empty, no colours, unless --color always asks for them

Exit codes:
  0  success
  1  an answer with a status of 400 or more
  2  usage
  3  transport or trust: no connection, or not the node that was meant
  4  verification failed; the layer is named
  5  consistent, but nothing ties it to a trusted node
  130  stopped by Ctrl-C";

fn main() -> ExitCode {
    let Cmtp { color, command } = Cmtp::parse();
    let outcome = match command {
        Command::Audit(audit) => audit.run(color),
        Command::Bench(bench) => bench.run(),
        Command::Call(call) => call.run(color),
        Command::Disclose(disclose) => disclose.run(),
        Command::Id(id) => id.run(),
        Command::Login(login) => login.run(),
        Command::Logout(logout) => logout.run(),
        Command::Sessions(sessions) => sessions.run(),
        Command::Inspect(inspect) => inspect.run(color),
        Command::Services(services) => services.run(),
        Command::Verify(verify) => verify.run(color),
        Command::Man(manual) => manual.run(Cmtp::command()),
        Command::Completions(completions) => completions.run(Cmtp::command()),
    };
    exit::report(outcome)
}
