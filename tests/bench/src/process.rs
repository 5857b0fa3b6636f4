//! Processes that are started, and end with what started them.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

/// A server in a process of its own.
pub(crate) struct Process {
    child: Child,
    /// The line that said that it is ready.
    pub(crate) ready: String,
}

impl Process {
    /// Starts `command`, and waits for its first line on standard output.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let name = command.get_program().to_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let child = child.with_context(|| name.display().to_string())?;
        let mut process = Self { child, ready: String::new() };
        let output = process.child.stdout.take().context("stdout is piped")?;
        process.await_line(output, "").with_context(|| name.display().to_string())?;
        Ok(process)
    }

    /// Starts `command`, and waits for a line on standard error that holds `ready`.
    pub(crate) fn start_logging(command: &mut Command, ready: &str) -> anyhow::Result<Self> {
        let name = command.get_program().to_owned();
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let child = child.with_context(|| name.display().to_string())?;
        let mut process = Self { child, ready: String::new() };
        let output = process.child.stderr.take().context("stderr is piped")?;
        process.await_line(output, ready).with_context(|| name.display().to_string())?;
        Ok(process)
    }

    fn await_line(
        &mut self,
        output: impl Read + Send + 'static,
        ready: &str,
    ) -> anyhow::Result<()> {
        let mut lines = BufReader::new(output).lines();
        for line in lines.by_ref() {
            let line = line?;
            if line.contains(ready) {
                self.ready = line;
                // The pipe is read on, or the process would block once it is full.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(());
            }
        }
        anyhow::bail!("it ended before it was ready")
    }

    /// A word of the line that said that it is ready.
    pub(crate) fn word(&self, number: usize) -> anyhow::Result<&str> {
        let word = self.ready.split_whitespace().nth(number);
        word.with_context(|| format!("word {number} of {:?}", self.ready))
    }

    /// Microseconds of CPU time that it used so far, in itself and in the kernel.
    pub(crate) fn cpu(&self) -> anyhow::Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is a name in parentheses, which may hold anything.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has a name")?;
        let mut fields = fields.split_whitespace().skip(UTIME - 3);
        let mut ticks = || anyhow::Ok(fields.next().context("a field")?.parse::<u64>()?);
        Ok((ticks()? + ticks()?) * MICROS_A_TICK)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Runs `command` to its end, and gives what it printed.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| command.get_program().display().to_string())?;
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The path of a program that is next to this one.
pub(crate) fn sibling(program: &Path, name: &str) -> anyhow::Result<std::path::PathBuf> {
    let path = program.with_file_name(name);
    ensure!(path.exists(), "{} is missing: tests/bench/run builds it", path.display());
    Ok(path)
}

/// The number of the field in proc(5); the next one is stime.
const UTIME: usize = 14;
/// Linux counts in hundredths of a second, whatever the kernel's own ticks are.
const MICROS_A_TICK: u64 = 10_000;
