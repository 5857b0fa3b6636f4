//! `cmtpd keys`.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, ensure};
use clap::{Args, Subcommand, ValueEnum};
use cmtp_codec::{KeyList, ListedKey};
use cmtp_server::{NodeKeys, RootKey, Rotation, rotate};
use cmtp_spec::KeyUse;
use serde_json::json;

use crate::data::Data;
use crate::root::{Root, new_passphrase};

/// Look at a node's keys, replace them, take its root key offline.
///
/// A node is its root key, which clients pin. What it signs while it runs it signs with online keys, one for
/// each use, in a numbered list that the root key signed.
///
///   cmtpd keys list
///   cmtpd keys rotate                              new keys for TLS, tokens and layers
///   cmtpd keys rotate --use token --now            a stolen token key: its tokens count no longer
///   cmtpd keys export-root /media/stick/root.key   from then on the root key is there only
///   cmtpd keys rotate --root /media/stick/root.key
///
/// Exit codes: 0; 1 where it failed, the message says why; 2 for usage.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the node's key list: each key with its use, and from when to when it is valid.
    ///
    ///   cmtpd keys list
    ///   cmtpd keys list --json | jq .number
    #[command(verbatim_doc_comment)]
    List {
        #[command(flatten)]
        data: Data,
        /// Print the list as JSON; times in microseconds since 1970, null for no end.
        #[arg(long)]
        json: bool,
    },
    /// Replace online keys: make new ones, and have the root key sign the next list.
    ///
    /// The node may run: it takes the new keys over within a second, without losing a connection or a request.
    /// What the old layer key sealed is verified as before. Tokens of the old token key live out their time, 15
    /// minutes at most, unless --now is said.
    ///
    ///   cmtpd keys rotate
    ///   cmtpd keys rotate --use token --now
    ///   cmtpd keys rotate --root /media/stick/root.key
    #[command(verbatim_doc_comment)]
    Rotate {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        root: Root,
        /// The use of a key to replace; may be said more than once [default: tls, token and layer]
        #[arg(long = "use", value_name = "USE")]
        uses: Vec<Use>,
        /// The old keys may be in other hands: they count no longer than the node needs to take over the new ones.
        #[arg(long)]
        now: bool,
    },
    /// Take the root key out of the data directory: write it to a file, read it back, and remove it.
    ///
    /// The node runs without it. What needs it, `cmtpd keys rotate` and `cmtpd erase` with a node that runs, is told
    /// where it is with --root. Keep the file, and a copy: without it the node can't replace its keys any more.
    /// It is encrypted (age) with a passphrase, which is asked for, or taken from CMTP_PASSPHRASE.
    ///
    ///   cmtpd keys export-root /media/stick/root.key
    #[command(verbatim_doc_comment)]
    ExportRoot {
        /// The file to write; it must not be there yet.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        data: Data,
        /// Write the key as it is, readable for whoever has the file.
        #[arg(long)]
        no_passphrase: bool,
    },
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Use {
    /// The TLS certificate's key.
    Tls,
    /// Signs tokens.
    Token,
    /// Signs receipts, seals answers.
    Layer,
    /// Signs the checkpoints of the transparency log; it can't be replaced.
    Log,
}

impl From<Use> for KeyUse {
    fn from(it: Use) -> Self {
        match it {
            Use::Tls => Self::TLS,
            Use::Token => Self::TOKEN,
            Use::Layer => Self::LAYER,
            Use::Log => Self::LOG,
        }
    }
}

impl Keys {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::List { data, json } => list(&data.keys_of_node()?, json),
            Command::Rotate { data, root, uses, now } => replace(&data, &root, &uses, now),
            Command::ExportRoot { file, data, no_passphrase } => {
                export(&data, &file, no_passphrase)
            }
        }
    }
}

fn list(keys: &NodeKeys, json: bool) -> anyhow::Result<()> {
    let list = keys.list();
    let state = |listed: &ListedKey| if keys.is_current(listed) { "current" } else { "retired" };
    let name = |listed: &ListedKey| listed.key_use.name().unwrap_or("unknown");
    if json {
        let shown = list.keys.iter().map(|listed| {
            let not_after = (listed.not_after != KeyList::NO_END).then_some(listed.not_after);
            json!({
                "use": name(listed), "key": listed.key.multibase(), "not_before": listed.not_before,
                "not_after": not_after, "state": state(listed),
            })
        });
        let shown: Vec<_> = shown.collect();
        println!("{}", json!({"number": list.number, "did": list.root.to_string(), "keys": shown}));
        return Ok(());
    }
    println!("list {} of {}", list.number, list.root);
    for listed in &list.keys {
        println!(
            "{:<7} {:<7} {}  {} to {}",
            name(listed),
            state(listed),
            listed.key.multibase(),
            time(listed.not_before),
            time(listed.not_after)
        );
    }
    Ok(())
}

fn time(micros: u64) -> String {
    if micros == 0 || micros == KeyList::NO_END {
        return "…".to_owned();
    }
    let time = i64::try_from(micros).ok().and_then(|it| jiff::Timestamp::from_microsecond(it).ok());
    time.map(|time| format!("{time:.0}")).unwrap_or_default()
}

fn replace(data: &Data, root: &Root, uses: &[Use], at_once: bool) -> anyhow::Result<()> {
    // An older data directory gets its online keys by this.
    data.keys_of_node()?;
    let folder = data.folder()?;
    let uses = if uses.is_empty() { &[Use::Tls, Use::Token, Use::Layer][..] } else { uses };
    let mut uses: Vec<KeyUse> = uses.iter().copied().map(KeyUse::from).collect();
    uses.sort_unstable();
    uses.dedup();
    let root = root.key(&folder)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let now = u64::try_from(now.as_micros()).context("the clock is after the year 580,000")?;
    let list = rotate(&folder, &root, &Rotation { uses, at_once }, now)?;
    println!(
        "key list {} of {}: a node that runs takes it over within a second",
        list.number, list.root
    );
    Ok(())
}

fn export(data: &Data, file: &std::path::Path, no_passphrase: bool) -> anyhow::Result<()> {
    data.keys_of_node()?;
    let folder = data.folder()?;
    // Nobody is to think of a passphrase for nothing.
    RootKey::in_data(&folder)?;
    ensure!(
        !file.exists(),
        "root key {}: the file is there already; choose another name",
        file.display()
    );
    let passphrase = if no_passphrase {
        None
    } else {
        let new = new_passphrase(&file.display().to_string());
        Some(new.map_err(|error| {
            anyhow!("no passphrase: {error}; set CMTP_PASSPHRASE, or say --no-passphrase to go without one")
        })?)
    };
    let root = RootKey::export(&folder, file, passphrase.as_ref())?;
    println!(
        "the root key of {} is in {} and nowhere else: keep a copy of it",
        root.public(),
        file.display()
    );
    Ok(())
}
