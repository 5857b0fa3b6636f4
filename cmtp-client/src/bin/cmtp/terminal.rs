//! What goes to the terminal, and what comes from standard input.

use std::env;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;

use anyhow::Context;
use clap::ColorChoice;
use cmtp_client::Style;

/// Whether what goes to `stream` has colours: as was asked for, else where it is a terminal that shows them and nobody set
/// `NO_COLOR` (<https://no-color.org>).
pub(crate) fn style(stream: &impl IsTerminal, color: ColorChoice) -> Style {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    let is_wanted = match color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => stream.is_terminal() && !is_set("NO_COLOR") && !is_dumb,
    };
    if is_wanted { Style::Coloured } else { Style::Plain }
}

/// Writes to standard output; a reader that went away is no error.
pub(crate) fn write_out(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output"),
    }
}

/// Writes a line to standard output.
pub(crate) fn write_line(text: &str) -> anyhow::Result<()> {
    write_out(format!("{text}\n").as_bytes())
}

/// All of standard input, up to `max` bytes.
pub(crate) fn read_in(max: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(max.saturating_add(1))
        .read_to_end(&mut bytes)
        .context("standard input")?;
    if bytes.len() as u64 > max {
        anyhow::bail!("standard input has more than {max} bytes");
    }
    Ok(bytes)
}

/// A file, up to `max` bytes.
pub(crate) fn read_file(path: &str, max: u64) -> anyhow::Result<Vec<u8>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().with_context(|| format!("can't read {path}"))?;
    if bytes.len() as u64 > max {
        anyhow::bail!("{path} has more than {max} bytes");
    }
    Ok(bytes)
}

/// Fails where a file can't be made for want of a directory: before anything is sent whose answer it is to hold.
pub(crate) fn check_folder(option: &str, path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.filter(|folder| !folder.is_dir()) {
        Some(missing) => anyhow::bail!(
            "{option} {}: there is no directory {}; make it first",
            path.display(),
            missing.display()
        ),
        None => Ok(()),
    }
}

/// What a person answers to a yes-or-no question; `None` where nobody can be asked.
pub(crate) fn ask(question: &str) -> Option<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    eprint!("{question} [y/N] ");
    let mut line = String::new();
    io::stdin().read_line(&mut line).ok()?;
    Some(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// A peer's text without what a terminal takes for a command.
pub(crate) fn printable(text: &str) -> String {
    let escape = |character: char| match character {
        '"' | '\'' | '\\' => character.to_string(),
        _ => character.escape_debug().to_string(),
    };
    text.chars().map(escape).collect()
}
