//! Where the node's key is, for commands that need it and no node.

use std::path::PathBuf;

use clap::Args;
use cmtp_server::{Config, NodeKey};

/// Names the data directory, by itself or by the configuration file that does.
#[derive(Args)]
pub(crate) struct Data {
    /// The node's data directory [default: ~/.local/share/cmtpd]
    #[arg(long, value_name = "DIR", env = "CMTPD_DATA")]
    data: Option<PathBuf>,
    /// The node's configuration file, for its data directory.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
}

impl Data {
    /// The node's key; made where there is none, as `serve` does.
    pub(crate) fn key(&self) -> anyhow::Result<NodeKey> {
        Ok(NodeKey::load_or_create(&self.folder()?)?)
    }

    /// The folder of the node's journal.
    pub(crate) fn journal(&self) -> anyhow::Result<PathBuf> {
        Ok(self.folder()?.join(cmtp_server::JOURNAL))
    }

    fn folder(&self) -> anyhow::Result<PathBuf> {
        Ok(match (&self.data, &self.config) {
            (Some(data), _) => data.clone(),
            (None, Some(config)) => Config::from_file(config)?.data,
            (None, None) => Config::default().data,
        })
    }
}
