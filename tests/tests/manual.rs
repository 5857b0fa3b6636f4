//! What the binaries say of themselves: help, manual pages and completions, for each command.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use cmtp_tests::binary;

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

/// Runs a program, which has to succeed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(binary(program)).args(arguments).stdin(Stdio::null()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// A command, such as `["id", "new"]`, and its help.
struct Help {
    path: Vec<String>,
    text: String,
}

/// The help of a program and of every command under it, found as a person finds them.
fn all_help(program: &str) -> Vec<Help> {
    let (mut found, mut todo) = (Vec::new(), vec![Vec::<String>::new()]);
    while let Some(path) = todo.pop() {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let text = run(program, &arguments);
        for name in commands(&text) {
            todo.push(path.iter().cloned().chain([name]).collect());
        }
        found.push(Help { path, text });
    }
    found
}

/// The names under `Commands:`.
fn commands(help: &str) -> Vec<String> {
    let listed = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    listed
        .lines()
        .take_while(|line| !line.is_empty())
        // A description that goes on stands further to the right.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// The long options that are described under `Options:`.
fn options(help: &str) -> BTreeSet<String> {
    let described = help.split("\nOptions:\n").nth(1).unwrap_or_default();
    let first_words = described.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    first_words
        .filter_map(|line| line.split_whitespace().find_map(|word| word.strip_prefix("--")))
        .map(|name| name.trim_end_matches(',').to_owned())
        .collect()
}

#[test]
fn the_help_of_each_command_teaches() {
    for program in ["cmtp", "cmtpd"] {
        let all = all_help(program);
        assert!(all.len() >= 8, "only {} commands of {program} were found", all.len());
        for Help { path, text } in all {
            let example = format!("\n  {program} ");
            // What is passed on to another command is an example, too.
            let has_example = text.contains(&example) || text.contains(&format!("$({program} "));
            let elsewhere = text.contains(&format!("\"$({program} {}", path.join(" ")));
            assert!(has_example || elsewhere, "{program} {path:?} has no example\n{text}");
            assert!(!options(&text).is_empty(), "{program} {path:?}\n{text}");
        }
        let text = run(program, &["--help"]);
        for section in ["Environment:", "Exit codes:", "NO_COLOR"] {
            assert!(text.contains(section), "{program} says nothing of {section}");
        }
    }
}

#[test]
fn each_command_has_a_manual_page_that_names_its_options() {
    for program in ["cmtp", "cmtpd"] {
        let folder = tempfile::tempdir().unwrap();
        let pages = folder.path().join("made/when/missing");
        assert_eq!(run(program, &["man", pages.to_str().unwrap()]), "");
        let mut left: BTreeSet<_> =
            fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().path()).collect();
        for Help { path, text } in all_help(program) {
            let name = [&[program.to_owned()][..], &path].concat().join("-");
            let file = pages.join(format!("{name}.1"));
            assert!(left.remove(&file), "{name} has no page");
            // Roff writes a hyphen that is to be kept as `\-`.
            let page = fs::read_to_string(&file).unwrap().replace("\\-", "-");
            let title = format!(".TH {name} 1 \"{program} {}\"", env!("CARGO_PKG_VERSION"));
            assert!(page.contains(&title), "{title}\n{page}");
            for option in options(&text) {
                assert!(page.contains(&format!("--{option}")), "{name}: --{option}\n{page}");
            }
        }
        assert!(left.is_empty(), "pages of no command: {left:?}");
        assert!(run(program, &["man"]).contains(&format!(".TH {program} 1")));
    }
}

#[test]
fn completions_know_each_command_and_option() {
    for program in ["cmtp", "cmtpd"] {
        let all = all_help(program);
        for shell in SHELLS {
            let script = run(program, &["completions", shell]);
            for Help { path, text } in &all {
                for word in path {
                    assert!(script.contains(word), "{program} {shell}: {word}");
                }
                for option in options(text) {
                    let spelled = match shell {
                        "fish" => format!("-l {option}"),
                        _ => format!("--{option}"),
                    };
                    assert!(script.contains(&spelled), "{program} {shell}: {spelled}");
                }
            }
        }
    }
}
