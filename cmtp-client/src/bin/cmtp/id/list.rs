//! `cmtp id show` and `cmtp id list`.

use clap::Args;
use cmtp_client::{Home, Keyring, Persona};
use serde_json::json;

use crate::exit::{Exit, Failure, Outcome};
use crate::id;
use crate::terminal;

/// Print a persona's DID.
///
///   cmtp id show
///   cmtp id show work --json
///   cmtpd grant --to "$(cmtp id show)" --scope '0xS:**'
///
/// Exit codes: 0, or 2 where there is no identity or persona, or others may read the file.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Show {
    /// Which persona; without it the default.
    #[arg(env = "CMTP_PERSONA")]
    name: Option<String>,
    /// Print all that others may know of it as JSON.
    #[arg(long)]
    json: bool,
}

/// List the personas: name, DID, where its key comes from, and which one calls where none is named.
///
///   cmtp id list
///   cmtp id list --json | jq -r '.[].did'
///
/// Exit codes: 0, or 2 where there is no identity.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct List {
    /// Print them as JSON.
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(crate) fn run(self, home: &Home) -> Outcome {
        let keyring = id::load(home)?;
        let name = self.name.as_deref().filter(|name| !name.is_empty());
        let persona = keyring.persona(name).map_err(Failure::usage)?;
        match self.json {
            true => terminal::write_line(&format!("{:#}", to_json(&keyring, persona)))?,
            false => terminal::write_line(&persona.did().to_string())?,
        }
        Ok(Exit::Success)
    }
}

impl List {
    pub(crate) fn run(self, home: &Home) -> Outcome {
        let keyring = id::load(home)?;
        let personas = keyring.personas();
        if self.json {
            let all: Vec<_> = personas.iter().map(|it| to_json(&keyring, it)).collect();
            terminal::write_line(&format!("{:#}", json!(all)))?;
            return Ok(Exit::Success);
        }
        let width = personas.iter().map(|it| it.name().as_str().len()).max().unwrap_or_default();
        for persona in personas {
            let (name, did) = (persona.name().as_str(), persona.did());
            let default = if keyring.is_default(persona) { ", default" } else { "" };
            let line = format!("{name:width$}  {did}  {}{default}", origin(persona));
            terminal::write_line(&line)?;
        }
        Ok(Exit::Success)
    }
}

fn to_json(keyring: &Keyring, persona: &Persona) -> serde_json::Value {
    json!({
        "name": persona.name().as_str(),
        "did": persona.did().to_string(),
        "origin": origin(persona),
        "number": persona.number(),
        "default": keyring.is_default(persona),
        "recovery_commitment": persona.commitment().map(|it| data_encoding::HEXLOWER.encode(&it.0)),
    })
}

const fn origin(persona: &Persona) -> &'static str {
    if persona.number().is_some() { "derived" } else { "imported" }
}
