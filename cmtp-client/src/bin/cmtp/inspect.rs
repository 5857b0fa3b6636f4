//! `cmtp inspect`.

use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::bail;
use clap::{Args, ColorChoice};
use cmtp_client::Style;
use cmtp_codec::{PublicKey, Unverified};
use cmtp_spec::{binding, limits};
use data_encoding::HEXLOWER_PERMISSIVE;
use serde_json::json;

use crate::exit::{Exit, Failure, Outcome};
use crate::{terminal, verify};

/// Show a stored exchange, layer by layer: who added what, when, and who stands for it.
///
/// Takes a file, hexadecimal digits, or standard input (either of the two), 1 GiB at most. Of bytes that break a rule
/// it shows what could be read, then the byte, the layer and the rule, and ends with 4. Whether the
/// node is one that you trust is shown and does not change the exit code; for that there is verify.
///
///   cmtp inspect answer.cmtp
///   xxd -p answer.cmtp | cmtp inspect -
///   cmtp inspect 89434d54500d0a1a00…
///   cmtp inspect answer.cmtp --pin did:key:z6Mk… --json
///   cmtpd journal export 17 | cmtp inspect
///
/// A layer is graded: signed by caller, signed by service, vouched by node (true as far as the node tells
/// the truth), or unproved (the node is not one that you trust).
///
/// Exit codes: 0, 2 where there is no such file, 4 where something does not hold.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Inspect {
    /// A file, hexadecimal digits, or - for standard input.
    #[arg(value_name = "FILE|HEX|-", default_value = "-")]
    input: String,
    /// The DID of the node to trust; without it all known nodes are (file known_nodes in CMTP_HOME).
    #[arg(long, value_name = "DID")]
    pin: Option<PublicKey>,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(crate) fn run(self, color: ColorChoice) -> Outcome {
        let bytes = self.read()?;
        let style = terminal::style(&io::stdout(), color);
        match verify::replay(&bytes, self.pin, None) {
            Ok(replay) => {
                let shown = if self.json {
                    format!("{:#}\n", cmtp_client::json(&replay))
                } else {
                    cmtp_client::tree(&replay, style)
                };
                terminal::write_out(shown.as_bytes())?;
                verify::check_process(&replay).map_err(Failure::invalid)?;
                Ok(Exit::Success)
            }
            Err(fault) => {
                let shown = if self.json {
                    format!(
                        "{:#}\n",
                        json!({ "verdict": "invalid", "fault": format!("{fault:#}") })
                    )
                } else {
                    salvaged(&bytes, style)
                };
                terminal::write_out(shown.as_bytes())?;
                Err(Failure::invalid(fault.context("invalid")))
            }
        }
    }

    fn read(&self) -> anyhow::Result<Vec<u8>> {
        if self.input == "-" {
            if io::stdin().is_terminal() {
                bail!("nothing comes in; name a file (cmtp inspect answer.cmtp) or pipe one in");
            }
            let bytes = terminal::read_in(limits::STORED_MAX)?;
            return Ok(hexadecimal(&bytes).unwrap_or(bytes));
        }
        if Path::new(&self.input).exists() {
            return terminal::read_file(&self.input, limits::STORED_MAX);
        }
        match hexadecimal(self.input.as_bytes()) {
            Some(bytes) => Ok(bytes),
            None => bail!("{}: no such file, and no hexadecimal digits either", self.input),
        }
    }
}

/// What can be read of a message that does not hold.
fn salvaged(bytes: &[u8], style: Style) -> String {
    if let Ok(message) = Unverified::from_stored(bytes.to_vec()) {
        let message = message.untrusted();
        return cmtp_client::untrusted_tree(&message.links, Some(&message.seal), style);
    }
    let links = cmtp_client::salvage(bytes);
    if links.is_empty() { String::new() } else { cmtp_client::untrusted_tree(&links, None, style) }
}

/// The bytes that hexadecimal digits stand for, spaces and line ends apart.
fn hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    if text.starts_with(&binding::STORED_MAGIC) {
        return None;
    }
    let digits: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if digits.is_empty() { None } else { HEXLOWER_PERMISSIVE.decode(&digits).ok() }
}
