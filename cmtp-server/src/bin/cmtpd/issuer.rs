//! `cmtpd issuer`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use cmtp_client::outside_nonce;
use cmtp_client::policy::Subject;
use cmtp_codec::PublicKey;
use cmtp_server::{Binding, Config, IssuerCheck, IssuerRefusal, IssuerSettings, ListedJwk};
use cmtp_spec::limits;
use serde_json::{Value, json};

/// Look into the outside issuers (OpenID Connect) whose word the node takes for groups and attributes.
///
///   cmtpd issuer check corp --config /etc/cmtpd.toml
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Issuer {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(Check),
}

/// Get an issuer's keys as a node does, list them, and judge a token with full reasons.
///
/// The node need not run, and is not asked. A key that is passed over is listed with the reason. A token is
/// judged as of now; without --persona its nonce is not looked at. With --persona, the nonce that the persona
/// has to ask the issuer for is printed. Don't give a token as an argument: others on this machine see those.
///
///   cmtpd issuer check corp --config /etc/cmtpd.toml
///   cmtpd issuer check corp --config /etc/cmtpd.toml --token token.jwt --persona did:key:z6Mk…
///   get-token | cmtpd issuer check corp --config /etc/cmtpd.toml --token - --json | jq .subject.groups
///
/// Exit codes: 0; 1 where the keys can't be had, none can be used, or the token is refused; 2 for usage.
#[derive(Args)]
#[command(verbatim_doc_comment)]
struct Check {
    /// The issuer's name in the configuration file.
    name: String,
    /// The node's configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Judge the token in this file; - reads it from standard input.
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// The persona that shows the token: what `cmtp id show` prints.
    #[arg(long, value_name = "DID")]
    persona: Option<PublicKey>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Issuer {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Check(check) => check.run(),
        }
    }
}

impl Check {
    fn run(self) -> anyhow::Result<()> {
        let config = Config::from_file(&self.config)?;
        let settings = self.settings(&config)?;
        let token = self.token.as_deref().map(read_token).transpose()?;
        let name = &settings.name;
        let issuer = IssuerCheck::new(settings)
            .with_context(|| format!("issuer {name:?}, {}", settings.jwks))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")?;
        let now = u64::try_from(now.as_micros()).context("the clock")?;
        let judged = token.map(|token| issuer.judge(&token, self.persona.as_ref(), now));
        if self.json {
            println!("{}", self.to_json(settings, issuer.keys(), judged.as_ref()));
        } else {
            self.print(settings, issuer.keys(), judged.as_ref());
        }
        match judged {
            Some(Err(refusal)) => Err(anyhow!("the token is refused: {refusal}")),
            None if issuer.keys().iter().all(|key| key.trouble.is_some()) => {
                bail!(
                    "issuer {name:?} has no key that can be used, so that all its tokens are refused"
                )
            }
            _ => Ok(()),
        }
    }

    fn settings<'a>(&self, config: &'a Config) -> anyhow::Result<&'a IssuerSettings> {
        config.issuers.iter().find(|issuer| issuer.name == self.name).with_context(|| {
            let names: Vec<_> = config.issuers.iter().map(|issuer| issuer.name.as_str()).collect();
            let known = match names.as_slice() {
                [] => "no [[issuer]]".to_owned(),
                names => names.join(", "),
            };
            format!("{} has no issuer {:?}; it has {known}", self.config.display(), self.name)
        })
    }

    /// What the persona asks the issuer for, where that matters.
    fn nonce(&self, settings: &IssuerSettings) -> Option<String> {
        let persona = self.persona.filter(|_| settings.bind == Binding::Nonce)?;
        Some(outside_nonce(&persona))
    }

    fn print(
        &self,
        settings: &IssuerSettings,
        keys: &[ListedJwk],
        judged: Option<&Result<Subject, IssuerRefusal>>,
    ) {
        let noun = if keys.len() == 1 { "key" } else { "keys" };
        println!("issuer {}: {} {noun} from {}", settings.name, keys.len(), settings.jwks);
        for key in keys {
            let kid = key.kid.as_deref().map_or("without kid".to_owned(), |kid| format!("{kid:?}"));
            let algorithm = key.algorithm.as_deref().map(|it| format!(" {it}")).unwrap_or_default();
            match key.trouble {
                None => println!("  key {kid} {}{algorithm}", key.kind),
                Some(trouble) => println!("  key {kid} {} is passed over: {trouble}", key.kind),
            }
        }
        if let Some(nonce) = self.nonce(settings) {
            println!("nonce to ask for: {nonce}");
        }
        let Some(Ok(subject)) = judged else { return };
        println!("the token is good");
        if settings.bind == Binding::Nonce && self.persona.is_none() {
            println!("  its nonce was not looked at: --persona DID says whose it has to be");
        }
        for group in &subject.groups {
            println!("  group {group}");
        }
        for (attribute, value) in &subject.attributes {
            println!("  {attribute} = {value:?}");
        }
    }

    fn to_json(
        &self,
        settings: &IssuerSettings,
        keys: &[ListedJwk],
        judged: Option<&Result<Subject, IssuerRefusal>>,
    ) -> Value {
        let key = |key: &ListedJwk| {
            let trouble = key.trouble.map(|trouble| trouble.to_string());
            json!({ "kid": key.kid, "kind": key.kind, "alg": key.algorithm, "trouble": trouble })
        };
        let refusal = judged.and_then(|judged| judged.as_ref().err());
        json!({
            "issuer": settings.name,
            "jwks": settings.jwks.to_string(),
            "keys": keys.iter().map(key).collect::<Vec<_>>(),
            "nonce": self.nonce(settings),
            "good": judged.map(Result::is_ok),
            "subject": judged.and_then(|judged| judged.as_ref().ok()),
            "refusal": refusal.map(|it| json!({
                "word": it.error.word(),
                "reason": it.error.to_string(),
                "detail": it.detail,
            })),
        })
    }
}

/// A token and the white space around it; one that is too long is read as far as that is seen.
fn read_token(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let max = limits::OUTSIDE_TOKEN_MAX * 2;
    let read = if path == Path::new("-") {
        io::stdin().take(max).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(max).read_to_string(&mut text))
    };
    read.with_context(|| format!("--token {}", path.display()))?;
    Ok(text.trim().to_owned())
}
