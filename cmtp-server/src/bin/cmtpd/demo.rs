//! `cmtpd demo`.

use clap::Args;

/// Show the main job.
#[derive(Args)]
pub(crate) struct Demo {}

impl Demo {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        Ok(())
    }
}
