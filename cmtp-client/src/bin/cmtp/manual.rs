//! What is made from the command line's own definition: manual pages and completions.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::exit::{Exit, Outcome};
use crate::terminal;

/// Write the manual: a page for each command.
///
/// With a directory, which is made where it is not there, each command's page becomes a file in it, such
/// as cmtp-call.1. Without one, the page of cmtp itself goes to standard output.
///
///   cmtp man ~/.local/share/man/man1      # then: man cmtp-call
///   cmtp man | man -l -                   # look at one page without keeping it
///
/// Exit codes: 0, or 2 where the directory can't be written.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Manual {
    /// Directory for the pages.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Print completions for a shell.
///
///   cmtp completions bash > ~/.local/share/bash-completion/completions/cmtp
///   cmtp completions zsh > ~/.zfunc/_cmtp      # a directory of $fpath
///   cmtp completions fish > ~/.config/fish/completions/cmtp.fish
///
/// A new shell has them.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Manual {
    pub(crate) fn run(self, mut command: Command) -> Outcome {
        command.build();
        match self.folder {
            Some(folder) => {
                fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
                write_pages(&command, &folder)?;
            }
            None => terminal::write_out(&page(&command).1)?,
        }
        Ok(Exit::Success)
    }
}

impl Completions {
    pub(crate) fn run(self, mut command: Command) -> Outcome {
        let mut script = Vec::new();
        let name = command.get_name().to_owned();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        terminal::write_out(&script)?;
        Ok(Exit::Success)
    }
}

/// Writes the page of `command`, and those of the commands under it.
fn write_pages(command: &Command, folder: &Path) -> anyhow::Result<()> {
    let (name, text) = page(command);
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| path.display().to_string())?;
    let commands = command.get_subcommands().filter(|command| command.get_name() != "help");
    commands.into_iter().try_for_each(|command| write_pages(command, folder))
}

/// The name of a command's page, and its text.
fn page(command: &Command) -> (String, Vec<u8>) {
    // The version stands where the date would, so that the same program always makes the same pages.
    let page =
        Man::new(command.clone()).date(concat!("cmtp ", env!("CARGO_PKG_VERSION"))).source("CMTP");
    let mut text = Vec::new();
    // Memory takes whatever is written.
    let _infallible = page.render(&mut text);
    (page.get_filename(), text)
}
