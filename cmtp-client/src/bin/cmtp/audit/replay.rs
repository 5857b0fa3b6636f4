//! `cmtp audit replay`.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, ColorChoice};
use cmtp_client::{Existing, walk, walk_html, write_whole};
use cmtp_codec::PublicKey;
use cmtp_spec::limits;

use crate::exit::{Exit, Failure, Outcome};
use crate::{terminal, verify};

/// Walk through a saved exchange step by step: each layer, what is hashed of it, who signed it, the seal, the receipts.
///
/// On a terminal each step waits for the Enter key (q ends it); else, and with --all, everything is printed. With
/// --html one page is written that needs no other file and loads nothing.
///
///   cmtp audit replay answer.cmtp
///   cmtp audit replay answer.cmtp --all | less
///   cmtp audit replay answer.cmtp --html answer.html
///   cmtpd journal export 17 > message.cmtp && cmtp audit replay message.cmtp
///
/// Exit codes: 0, 2 where there is no such file, 4 where something does not hold.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Replay {
    /// A file that `cmtp call --save` or `cmtpd journal export` wrote.
    file: String,
    /// The DID of the node to trust; without it all known nodes are (file known_nodes in CMTP_HOME).
    #[arg(long, value_name = "DID")]
    pin: Option<PublicKey>,
    /// Print everything, and wait for nobody.
    #[arg(long)]
    all: bool,
    /// Write a page of HTML to this file instead; one that is there is replaced.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Replay {
    pub(crate) fn run(self, color: ColorChoice) -> Outcome {
        let bytes = terminal::read_file(&self.file, limits::STORED_MAX)?;
        let replay = verify::replay(&bytes, self.pin, None);
        let replay = replay.map_err(|fault| Failure::invalid(fault.context(self.file.clone())))?;
        if let Some(path) = &self.html {
            terminal::check_folder("--html", path)?;
            let page = walk_html(&replay);
            let written = write_whole(path, page.as_bytes(), Existing::Replace);
            written.map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        } else {
            let waits = !self.all && io::stdout().is_terminal() && io::stdin().is_terminal();
            for step in walk(&replay, terminal::style(&io::stdout(), color)) {
                terminal::write_out(format!("{step}\n").as_bytes())?;
                if waits && !goes_on() {
                    break;
                }
            }
        }
        verify::check_process(&replay).map_err(Failure::invalid)?;
        Ok(Exit::Success)
    }
}

/// Waits for the Enter key; `false` where the reader has seen enough.
fn goes_on() -> bool {
    eprint!("[Enter] ");
    let mut line = String::new();
    let read = io::stderr().flush().and_then(|()| io::stdin().read_line(&mut line));
    matches!(read, Ok(1..)) && !line.trim().eq_ignore_ascii_case("q")
}
