//! Where the node's key is, for commands that need it and no node.

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use cmtp_server::{Config, NodeKeys};

/// Names the data directory, by itself or by the configuration file that does.
#[derive(Args)]
pub(crate) struct Data {
    /// The node's data directory [default: ~/.local/share/cmtpd]
    #[arg(long, value_name = "DIR", env = "CMTPD_DATA")]
    data: Option<PathBuf>,
    /// The node's configuration file, for its data directory; --data and CMTPD_DATA win over it, as for `serve`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Data {
    /// The node's keys; made where there is none, as `serve` does, and said so.
    pub(crate) fn keys(&self) -> anyhow::Result<NodeKeys> {
        let folder = self.folder()?;
        let is_there = NodeKeys::is_in(&folder);
        let keys = NodeKeys::load_or_create(&folder)?;
        if !is_there {
            eprintln!(
                "cmtpd: there was no node in {}, and its keys were made now; if yours is elsewhere, say where: --data or \
                 --config",
                folder.display()
            );
        }
        Ok(keys)
    }

    /// The keys of a node that is there; no node is made.
    pub(crate) fn keys_of_node(&self) -> anyhow::Result<NodeKeys> {
        let folder = self.folder()?;
        ensure!(
            NodeKeys::is_in(&folder),
            "there is no node in {}; say where the node's data is: --data or --config",
            folder.display()
        );
        Ok(NodeKeys::load_or_create(&folder)?)
    }

    /// The folder of the node's journal, and the node's keys; nothing is made.
    pub(crate) fn journal(&self) -> anyhow::Result<(PathBuf, NodeKeys)> {
        let folder = self.folder()?;
        let journal = folder.join(cmtp_server::JOURNAL);
        ensure!(
            journal.is_dir() && NodeKeys::is_in(&folder),
            "there is no journal in {}; say where the node's data is: --data or --config",
            folder.display()
        );
        Ok((journal, NodeKeys::load_or_create(&folder)?))
    }

    /// The folder of the node's policies.
    pub(crate) fn policies(&self) -> anyhow::Result<PathBuf> {
        let mut config = match &self.config {
            Some(config) => Config::from_file(config)?,
            None => Config::default(),
        };
        config.data = self.folder()?;
        Ok(config.policy_folder())
    }

    /// The directory.
    pub(crate) fn folder(&self) -> anyhow::Result<PathBuf> {
        Ok(match (&self.data, &self.config) {
            (Some(data), _) => data.clone(),
            (None, Some(config)) => Config::from_file(config)?.data,
            (None, None) => Config::default().data,
        })
    }
}
