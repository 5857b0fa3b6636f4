//! `cmtpd check-config`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use cmtp_server::{Bus, Config, Destination, IssuerCheck, KeySource, NodeError, Services};
use serde_json::json;

/// Check a configuration file, and print what would be in force, defaults included.
///
/// Exit code 0 where the file is good, 1 where it is not: the message names file, line, key and cure.
/// Nothing is started, fetched or written. `cmtpd serve --help` shows every key.
///
///   cmtpd check-config /etc/cmtpd.toml && kill -HUP "$(pidof cmtpd)"
///   cmtpd check-config cmtpd.toml --json | jq .effective.limits
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CheckConfig {
    /// The file.
    file: PathBuf,
    /// Take routes with bus-auth = "none", as `cmtpd serve --insecure-bus` does.
    #[arg(long)]
    insecure_bus: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl CheckConfig {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut config = Config::from_file(&self.file)?;
        config.insecure_bus = self.insecure_bus;
        config
            .check()
            .map_err(anyhow::Error::from)
            .and_then(|()| Ok(check_routes(&config)?))
            .and_then(|()| check_issuers(&config))
            .with_context(|| self.file.display().to_string())?;
        if self.json {
            let effective: serde_json::Value = toml::from_str(&config.to_toml())?;
            println!("{}", json!({ "good": true, "effective": effective }));
        } else {
            print!("{}", config.to_toml());
        }
        Ok(())
    }
}

/// Whether each route leads somewhere. The bus may also come from the command line, so that a want of it is only said.
fn check_routes(config: &Config) -> Result<(), NodeError> {
    let services = Services::default();
    for route in &config.routes {
        match &route.to {
            Destination::Local(name) if !services.has(name) => {
                return Err(NodeError::no_service(name, &services));
            }
            Destination::Nats(_) if config.bus == Bus::Local => {
                let target = route.target.to_string();
                eprintln!("cmtpd: {}", NodeError::NoBus { target });
            }
            _ => {}
        }
    }
    if config.audit.stream && config.bus == Bus::Local {
        eprintln!("cmtpd: {}", NodeError::NoBusForAudit);
    }
    Ok(())
}

/// Whether the key sets that are files can be read; for those that have a URL there is `cmtpd issuer check`.
fn check_issuers(config: &Config) -> anyhow::Result<()> {
    for issuer in &config.issuers {
        if let KeySource::File(_) = issuer.jwks {
            IssuerCheck::new(issuer).with_context(|| format!("issuer {:?}", issuer.name))?;
        }
    }
    Ok(())
}
