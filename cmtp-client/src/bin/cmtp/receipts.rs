//! Receipts as lines of JSON, so that what a node promised can be compared with its journal.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use cmtp_client::Answer;
use cmtp_codec::Digest;
use cmtp_spec::FieldIndex;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

/// A file of receipts that grows.
#[derive(Debug)]
pub(crate) struct Receipts {
    path: PathBuf,
    file: Mutex<File>,
}

impl Receipts {
    /// Opens a file to append to.
    pub(crate) fn append(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| path.display().to_string())?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an answer: its line is with the operating system once this returns, so that it outlives this process.
    pub(crate) fn add(&self, answer: &Answer, target: &str) -> io::Result<()> {
        let line = format!("{}\n", line(answer, target));
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes())
    }

    /// Makes all lines durable.
    pub(crate) fn finish(&self) -> anyhow::Result<()> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.sync_all().with_context(|| self.path.display().to_string())
    }
}

fn line(answer: &Answer, target: &str) -> Value {
    let message = &answer.replay().message;
    let receipt = message.seal.receipt.as_ref();
    let id = message.origin().and_then(|origin| origin.value(FieldIndex::MESSAGE_ID));
    let Digest(seal) = message.seal.hash;
    json!({
        "index": receipt.and_then(cmtp_codec::Receipt::index),
        "message_id": id.map(|id| HEXLOWER.encode(id)),
        "seal": HEXLOWER.encode(&seal),
        "status": answer.status().0,
        "recorded": answer.is_recorded(),
        "target": target,
        // A refusal before a token was accepted has no receipt.
        "mode": receipt.map_or("unlogged".to_owned(), |receipt| receipt.statement.mode.to_string()),
    })
}
