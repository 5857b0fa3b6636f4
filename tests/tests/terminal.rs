//! Colours: on a terminal, unless somebody asked for none; what is piped is plain.

use cmtp_tests::{Home, Node, python};

/// Runs a command on a terminal of its own, and prints what it wrote there.
const ON_A_TERMINAL: &str =
    "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";

const GREEN: &str = "\x1b[32m";

struct Scene {
    node: Node,
    home: Home,
    file: String,
}

impl Scene {
    fn new() -> Self {
        let (node, home) = (Node::start(""), Home::new());
        let token = node.grant(&home.did, &["--scope", "0xS:**"]);
        let file = home.file("saved.cmtp").to_str().unwrap().to_owned();
        let url = node.url("0xS:echo");
        let output = home.cmtp(["call", &url, "--token", &token, "--data", "hi", "--save", &file]);
        assert!(output.status.success());
        Self { node, home, file }
    }

    /// What `cmtp ARGUMENTS FILE` prints on a terminal with these variables set.
    fn on_a_terminal(&self, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let output = python()
            .args(["-c", ON_A_TERMINAL])
            .arg(cmtp_tests::binary("cmtp"))
            .args(arguments)
            .arg(&self.file)
            .env("CMTP_HOME", self.home.file(""))
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("authentic"), "{said}");
        said
    }
}

#[test]
fn trees_and_verdicts_are_coloured_on_a_terminal_only() {
    let scene = Scene::new();
    for command in ["inspect", "verify"] {
        let coloured = [
            (&[command][..], &[][..]),
            // An empty NO_COLOR is none; who asks for colours gets them all the same.
            (&[command], &[("NO_COLOR", "")]),
            (&[command, "--color", "always"], &[("NO_COLOR", "1")]),
        ];
        for (arguments, variables) in coloured {
            let said = scene.on_a_terminal(arguments, variables);
            let signed = format!("{GREEN}signed by caller\x1b[0m");
            assert!(said.contains(&signed), "{arguments:?} {variables:?}\n{said}");
            assert!(said.contains("\x1b[36mvouched by node\x1b[0m"), "{said}");
            assert!(said.contains(&format!("{GREEN}authentic")), "{said}");
        }
        let plain = [
            (&[command][..], &[("NO_COLOR", "1")][..]),
            (&[command], &[("TERM", "dumb")]),
            (&[command, "--color", "never"], &[]),
        ];
        for (arguments, variables) in plain {
            let said = scene.on_a_terminal(arguments, variables);
            assert!(!said.contains('\x1b'), "{arguments:?} {variables:?}\n{said}");
        }
        // Into a pipe.
        let piped = scene.home.cmtp([command, &scene.file]);
        assert!(!String::from_utf8_lossy(&piped.stdout).contains('\x1b'));
        let piped = scene.home.cmtp([command, &scene.file, "--color", "always"]);
        assert!(String::from_utf8_lossy(&piped.stdout).contains(GREEN));
    }
}

#[test]
fn the_tree_of_a_call_goes_by_the_same_rules() {
    let scene = Scene::new();
    let token = scene.node.grant(&scene.home.did, &["--scope", "0xS:**"]);
    let url = scene.node.url("0xS:echo");
    for (color, is_coloured) in [("auto", false), ("always", true), ("never", false)] {
        let output = scene.home.cmtp(["--color", color, "call", &url, "-v", "--token", &token]);
        let tree = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(tree.contains("vouched by node"), "{tree}");
        assert_eq!(tree.contains('\x1b'), is_coloured, "{color}\n{tree}");
    }
}
