//! Every MUST of the specification is cited by the code that obeys it and by a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cmtp_tests::root;

#[test]
fn every_must_is_cited_by_code_and_by_a_test() {
    let rules = rules();
    assert!(rules.len() > 100, "only {} rules were found in cmtp-spec/spec", rules.len());
    let (code, tests) = citations();
    let known: BTreeSet<&str> = rules.keys().map(String::as_str).collect();
    let mut problems = Vec::new();
    for (rule, binds) in &rules {
        if *binds && !code.contains(rule) {
            problems.push(format!("{rule} is cited by no code"));
        }
        if *binds && !tests.contains(rule) {
            problems.push(format!("{rule} is cited by no test"));
        }
    }
    for cited in code.union(&tests) {
        if !known.contains(cited.as_str()) {
            problems.push(format!("{cited} is cited and stands in no chapter"));
        }
    }
    let binding = rules.values().filter(|binds| **binds).count();
    println!("{binding} rules bind now, {} come later or do not bind", rules.len() - binding);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Each rule, and whether it has a MUST that binds in this version.
fn rules() -> BTreeMap<String, bool> {
    let mut rules = BTreeMap::new();
    for chapter in files(&root().join("cmtp-spec/spec"), &["md"]) {
        let text = fs::read_to_string(&chapter).expect("a chapter is text");
        for rule in text.split("- **[").skip(1) {
            let (id, rest) = rule.split_once("]**").expect("a rule's id ends");
            let rest = rest.split("\n\n").next().unwrap_or(rest);
            let binds = rest.contains("MUST") && !rest.contains("*(later)*");
            assert!(rules.insert(id.to_owned(), binds).is_none(), "{id} stands twice");
        }
    }
    rules
}

/// What code cites, and what tests cite.
fn citations() -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut code, mut tests) = (BTreeSet::new(), BTreeSet::new());
    for name in ["cmtp-codec", "cmtp-client", "cmtp-server"] {
        let sources = root().join(name).join("src");
        for file in files(&sources, &["rs"]) {
            let text = fs::read_to_string(&file).expect("a source is text");
            // The folder of the workspace may have any name.
            let place = file.strip_prefix(&sources).expect("a file of the folder");
            let is_test = file.ends_with("tests.rs")
                || place.components().any(|part| part.as_os_str() == "vectors");
            let (live, test) = match text.find("\n#[cfg(test)]") {
                _ if is_test => ("", text.as_str()),
                Some(at) => text.split_at(at),
                None => (text.as_str(), ""),
            };
            code.extend(cited(live));
            tests.extend(cited(test));
        }
    }
    for file in files(&root().join("tests"), &["rs", "py"]) {
        tests.extend(cited(&fs::read_to_string(&file).expect("a test is text")));
    }
    for file in files(&root().join("cmtp-spec/vectors"), &["json"]) {
        let text = fs::read_to_string(&file).expect("vectors are text");
        let vectors: serde_json::Value = serde_json::from_str(&text).expect("vectors are JSON");
        let notes = vectors["notes"].as_object().expect("vectors have notes");
        for rule in notes.values().flat_map(|note| note["rules"].as_array().into_iter().flatten()) {
            tests.insert(rule.as_str().expect("a rule is text").to_owned());
        }
    }
    (code, tests)
}

/// Rule ids in square brackets, such as `[FRM-3]` — but not this one's own example.
fn cited(text: &str) -> impl Iterator<Item = String> {
    text.split('[').skip(1).filter_map(|rest| {
        let (id, _) = rest.split_once(']')?;
        let (chapter, number) = id.split_once('-')?;
        let is_rule = chapter.len() == 3
            && chapter.bytes().all(|byte| byte.is_ascii_uppercase())
            && number.parse::<u8>().is_ok();
        is_rule.then(|| id.to_owned())
    })
}

fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, endings));
        } else if path.extension().is_some_and(|it| endings.iter().any(|ending| it == *ending)) {
            found.push(path);
        }
    }
    found
}
