//! `cmtp id backup` and `cmtp id restore`.

use std::io::{self, BufRead, IsTerminal, Read};

use anyhow::Context;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use cmtp_client::{Home, Keyring};

use crate::exit::{Exit, Failure, Outcome};
use crate::id::{self, Making};
use crate::terminal;

/// Print the 24 words that bring back your root and all its personas.
///
/// Write them on paper. Whoever has them is you, without any passphrase. Names of personas and what
/// was imported do not come back with them.
///
///   cmtp id backup
///   cmtp id backup --plain | age -p > words.age
///
/// Exit codes: 0, or 2 where there is no root: an identity from before there were personas has none.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Backup {
    /// Print them in one line, without numbers.
    #[arg(long)]
    plain: bool,
}

/// Make the file of identities anew from the 24 words that `cmtp id backup` printed.
///
/// The words are read from standard input, in any lines, with or without their numbers. The personas
/// are called main, persona-1, persona-2 and so on; their DIDs are the ones that they had, and are
/// printed.
///
///   cmtp id restore --personas 3
///   age -d words.age | cmtp id restore --no-passphrase
///
/// Exit codes: 0, or 2 where the words are none, there is an identity already, or CMTP_HOME can't be
/// written.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Restore {
    /// How many personas to bring back, 1 to 1000; `cmtp id persona add` derives further ones later.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<u32>::new().range(1..=1000))]
    personas: u32,
    #[command(flatten)]
    making: Making,
}

impl Backup {
    pub(crate) fn run(self, home: &Home) -> Outcome {
        let words = id::load(home)?.words().map_err(Failure::usage)?;
        eprintln!(
            "Whoever has these words is you: show them to nobody, and keep no photo of them."
        );
        if self.plain {
            terminal::write_line(&words)?;
            return Ok(Exit::Success);
        }
        for (word, number) in words.split(' ').zip(1..) {
            terminal::write_line(&format!("{number:2}. {word}"))?;
        }
        Ok(Exit::Success)
    }
}

impl Restore {
    pub(crate) fn run(self, home: &Home) -> Outcome {
        self.making.check(home)?;
        let words = read_words()?;
        let restored = Keyring::restore(&words, self.personas).map_err(Failure::usage)?;
        self.making.keep(restored, home)?;
        Ok(Exit::Success)
    }
}

/// Words from standard input, to its end; from a terminal until there are enough.
fn read_words() -> anyhow::Result<String> {
    let mut words = Vec::new();
    let is_asked = io::stdin().is_terminal();
    if is_asked {
        eprintln!("Type the 24 words, in one line or in many:");
    }
    for line in io::stdin().lock().take(WORDS_MAX).lines() {
        let line = line.context("standard input")?;
        // `cmtp id backup` prints a number before each.
        let is_number = |word: &&str| word.trim_end_matches('.').parse::<u32>().is_ok();
        words.extend(line.split_whitespace().filter(|word| !is_number(word)).map(str::to_owned));
        if is_asked && words.len() >= 24 {
            break;
        }
    }
    Ok(words.join(" "))
}

/// 24 words of 8 letters and their numbers, and much white space.
const WORDS_MAX: u64 = 4096;
