//! `cmtpd check-config`.

use std::path::PathBuf;

use clap::Args;
use cmtp_server::Config;
use serde_json::json;

/// Check a configuration file, and print what would be in force, defaults included.
///
/// Exit code 0 where the file is good, 1 where it is not: the message names file, line, key and cure.
/// Nothing is started and nothing is written. `cmtpd serve --help` shows every key.
///
///   cmtpd check-config /etc/cmtpd.toml && kill -HUP "$(pidof cmtpd)"
///   cmtpd check-config cmtpd.toml --json | jq .effective.limits
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CheckConfig {
    /// The file.
    file: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl CheckConfig {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let config = Config::from_file(&self.file)?;
        if self.json {
            let effective: serde_json::Value = toml::from_str(&config.to_toml())?;
            println!("{}", json!({ "good": true, "effective": effective }));
        } else {
            print!("{}", config.to_toml());
        }
        Ok(())
    }
}
