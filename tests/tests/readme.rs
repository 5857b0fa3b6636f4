//! Every console block of the README does what it says.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use cmtp_tests::{binary, root};

#[test]
fn every_console_block_runs_as_shown() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let steps = steps(&text);
    assert!(steps.len() >= 10, "only {} commands were found", steps.len());
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("bash")
        .args(["-c", &script(&steps)])
        .current_dir(directory.path())
        .env("HOME", directory.path())
        .env("CMTP_HOME", directory.path().join("cmtp"))
        .env("ROOT", root().canonicalize().unwrap())
        .env("BIN", binary("cmtp").parent().unwrap())
        .envs(toolchain())
        .env_remove("CMTP_TOKEN")
        .env_remove("CMTPD_DATA")
        .env_remove("XDG_DATA_HOME")
        .stdin(Stdio::null())
        // What it leaves running is in its group, and ended with it.
        .process_group(0)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let mut outputs = said.split(MARK).skip(1);
    for step in &steps {
        let (status, said) = outputs.next().and_then(|said| said.split_once('\n')).unwrap();
        println!("$ {}", step.command);
        assert_eq!(status.trim(), "0", "$ {}\n{said}", step.command);
        assert!(
            matches(&step.expected, said),
            "$ {}\n{said}\nexpected:\n{}",
            step.command,
            step.expected
        );
    }
}

struct Step {
    command: String,
    /// What the README shows; `…` stands for anything.
    expected: String,
}

fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in readme.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        for line in block.lines() {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => {
                    steps.push(Step { command: command.to_owned(), expected: String::new() });
                }
                (None, Some(step)) => step.expected += &format!("{line}\n"),
                (None, None) => panic!("a block begins with output: {line}"),
            }
        }
    }
    steps
}

/// Runs the commands one after the other in one shell; each one's status and output stand behind a mark.
fn script(steps: &[Step]) -> String {
    let mut script = SHELL.to_owned();
    for (number, Step { command, .. }) in steps.iter().enumerate() {
        // A file each: what a command left running still writes to its own.
        let file = format!("output{number}");
        script += &format!("{{ {command}\n}} >{file} 2>&1; status=$?\n");
        if let Some(log) = log_of(command) {
            script += &format!("ready {log} || status=$?\n");
        }
        script += &format!("echo '{MARK}'$status; cat {file}\n");
    }
    script
}

/// Where a command writes that is left running.
fn log_of(command: &str) -> Option<&str> {
    command.strip_suffix(" &")?.split_once(" >")?.1.split(' ').next()
}

/// What a person has or does, and a script has not or can't.
///
/// The repository's own commands run from its root, as the README has them. The virtual environment that a person makes is
/// the tests' own, in which everything is installed. And a person sees when what was started is there.
const SHELL: &str = r#"
PATH=$BIN:$PATH
trap 'kill 0' EXIT
ln -s $ROOT/* .
cargo() { (cd $ROOT && command cargo "$@"); }
python3() {
    if [ "$1 $2" = '-m venv' ]; then ln -s "$CMTP_VENV" "$3"; else command python3 "$@"; fi
}
ready() {
    timeout 30 grep -qm1 -E 'listens on|is ready' <(exec tail -n +1 -F "$1" 2>/dev/null)
    local found=$?
    kill $!
    return $found
}
"#;

/// The compiler is found through HOME, which these commands have their own of.
fn toolchain() -> Vec<(&'static str, String)> {
    let home = std::env::var("HOME").unwrap();
    let or = |name: &str, folder: &str| std::env::var(name).unwrap_or(format!("{home}/{folder}"));
    vec![("CARGO_HOME", or("CARGO_HOME", ".cargo")), ("RUSTUP_HOME", or("RUSTUP_HOME", ".rustup"))]
}

/// Whether `said` is `expected`, where `…` stands for anything, lines included. Nothing expected is not compared.
fn matches(expected: &str, said: &str) -> bool {
    if expected.trim().is_empty() {
        return true;
    }
    let mut rest = said.trim();
    for (number, part) in expected.trim().split('…').enumerate() {
        let part = part.trim_matches('\n');
        match rest.find(part) {
            Some(0) => rest = &rest[part.len()..],
            Some(at) if number > 0 => rest = &rest[at + part.len()..],
            _ => return false,
        }
    }
    expected.trim().ends_with('…') || rest.trim().is_empty()
}

const MARK: &str = "=====";
