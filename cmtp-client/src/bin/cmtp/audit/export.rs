//! `cmtp audit export`.

use std::path::PathBuf;

use clap::Args;
use cmtp_client::audit::export;

use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;

/// Copy a node's journal and log to a folder that can be audited without the node.
///
/// Takes what is under the node's last checkpoint, or everything where it has no log. Messages are copied as the
/// ciphertext that they are; their keys only where --with-keys names a file for them, which belongs elsewhere than the
/// archive. The node may run meanwhile; nothing of it is changed. All files are durable when this ends.
///
/// No erasure recalls what was exported: a message that the node redacts or forgets later can still be read
/// from an archive by whoever has the exported keys. Keep them as you would keep the messages, and no longer.
///
///   cmtp audit export ~/.local/share/cmtpd archive
///   cmtp audit export ~/.local/share/cmtpd archive --with-keys archive.keys
///   cmtp audit verify archive --keys archive.keys --pin did:key:z6Mk…
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Export {
    /// The node's data folder.
    #[arg(value_name = "DATA-DIR")]
    data: PathBuf,
    /// The folder to make; it must not be there yet.
    archive: PathBuf,
    /// A file to make, with the keys of all records: with it, and no erasure recalls it, messages can be read.
    #[arg(long, value_name = "FILE")]
    with_keys: Option<PathBuf>,
}

impl Export {
    pub(crate) fn run(self) -> Outcome {
        let exported = export(&self.data, &self.archive, self.with_keys.as_deref());
        let exported = exported.map_err(Failure::usage)?;
        let log = match exported.logged {
            0 => "no checkpoint".to_owned(),
            logged => format!("{logged} under its checkpoint"),
        };
        terminal::write_line(&format!(
            "{} entries, {log}: {}",
            exported.entries,
            self.archive.display()
        ))?;
        Ok(Exit::Success)
    }
}
