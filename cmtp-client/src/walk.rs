//! A message step by step: what each layer says, and what is hashed of it.

use std::fmt::Write;

use cmtp_codec::{Chain, Core, Link, Replay};

use crate::render::{Branch, NAME_WIDTH, Paint, Style, Tree};
use crate::value;

/// A message whose chain holds, a text for each step: the layers, the seal, the verdict.
///
/// Whatever the message holds is escaped, so that it can be shown on a terminal.
pub fn walk(replay: &Replay, style: Style) -> Vec<String> {
    branches(replay, style).iter().map(text).collect()
}

/// The same as one page of HTML that needs nothing else, to be read on a screen or printed.
pub fn walk_html(replay: &Replay) -> String {
    let mut body = String::new();
    for Branch { title, items } in branches(replay, Style::Plain) {
        let _infallible = write!(body, "<section>\n<h2>{}</h2>\n<dl>\n", escape(&title));
        for (name, text) in items {
            let _infallible =
                writeln!(body, "<dt>{}</dt><dd>{}</dd>", escape(&name), escape(&text));
        }
        body.push_str("</dl>\n</section>\n");
    }
    let target = replay.message.origin().and_then(|it| it.text(cmtp_spec::FieldIndex::TARGET));
    let title = escape(&target.map_or("(origin withheld)".to_owned(), value::printable));
    format!(
        "{HEAD}<title>{title}</title>\n{STYLE}</head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )
}

fn branches(replay: &Replay, style: Style) -> Vec<Branch> {
    let mut tree = Tree::new(style);
    let (message, mut chain) = (&replay.message, Chain::default());
    let mut interims = message.interims.iter().peekable();
    for (number, link) in message.links.iter().enumerate() {
        let before = chain.head();
        tree.link(number, link, replay.heads.get(number), Some(replay.grade(number)));
        // It held when the message was judged.
        if chain.push(link).is_ok()
            && let Some(core) = chain.core()
        {
            note_core(&mut tree, core, link);
            tree.note("chain", &format!("{before} → {}", chain.head()));
        }
        while let Some((_, seal)) = interims.next_if(|(covered, _)| *covered == chain.length()) {
            tree.seal(seal);
        }
    }
    tree.seal(&message.seal);
    let (key, layers) = (message.seal.key, chain.length());
    tree.note("sealed", &format!("{layers} layers, head {}, by {key}", chain.head()));
    if let Some(receipt) = &message.seal.receipt {
        let path = receipt.path.len();
        let (offset, count) = (receipt.offset, receipt.statement.count);
        let root = receipt.statement.root;
        tree.note("R0 path", &format!("{path} hashes from place {offset} of {count} to {root}"));
    }
    if let Some(proof) = &message.seal.proof {
        let lines =
            String::from_utf8_lossy(proof).lines().map(value::printable).collect::<Vec<_>>();
        tree.note("proof", &lines.join(" | "));
    }
    tree.verdict(replay);
    tree.branches
}

/// What is hashed of a layer, in its order.
fn note_core(tree: &mut Tree, core: &Core, link: &Link) {
    let Core { public_count, private_count, fields_root, body, prev, .. } = core;
    let fields = format!("{public_count} public, {private_count} private, root {fields_root}");
    tree.note("hashed: fields", &fields);
    tree.note("hashed: body", &body.to_string());
    tree.note("hashed: prev", &prev.to_string());
    let signature = match link.is_signed() {
        true => format!("by {} over the hash; it holds", link.actor()),
        false => tree.paint(Paint::Cyan, "none: the seal vouches for this layer"),
    };
    tree.note("signature", &signature);
}

fn text(branch: &Branch) -> String {
    let mut text = format!("{}\n", branch.title);
    for (name, value) in &branch.items {
        let _infallible = writeln!(text, "    {name:NAME_WIDTH$} {value}");
    }
    text
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Nothing is loaded, and nothing runs, whatever a message holds.
const HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
"#;
const STYLE: &str = "<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }
h1, h2 { font-size: 1.1em; overflow-wrap: anywhere; }
section { border-left: 3px solid #888; padding-left: 1em; margin: 1em 0; break-inside: avoid; }
dl { display: grid; grid-template-columns: 11em 1fr; gap: 0 1em; margin: 0; }
dt { color: #555; }
dd { margin: 0; font-family: ui-monospace, monospace; font-size: 13px; overflow-wrap: anywhere; }
@media print { body { margin: 0; max-width: none; } }
</style>
";

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::testing::Sample;

    #[test]
    fn each_step_shows_what_is_hashed_and_who_stands_for_it() {
        let replay = Sample::answer().replay();
        let steps = walk(&replay, Style::Plain);
        assert_eq!(steps.len(), 5, "{steps:#?}");
        assert!(steps[0].starts_with("0 origin") && steps[0].contains("it holds"), "{}", steps[0]);
        let head = replay.heads[0].to_string();
        assert!(steps[1].contains(&format!("hashed: prev     {head}")), "{}", steps[1]);
        assert!(steps[3].starts_with("seal") && steps[3].contains("R0 path"), "{}", steps[3]);
        assert!(steps[4].starts_with("verdict  authentic"), "{}", steps[4]);
    }

    #[test]
    fn a_page_holds_no_markup_of_a_peer() {
        let body = b"<script>alert('x')</script>".to_vec();
        let page = walk_html(&Sample { body, ..Sample::answer() }.replay());
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{page}");
        assert!(!page.contains("src=") && !page.contains("http://"), "{page}");
        assert_eq!(page.matches("<section>").count(), 5);
        tidy(&page).unwrap();
    }

    /// Whether each element that is opened is closed.
    fn tidy(page: &str) -> Result<(), String> {
        for name in ["html", "head", "body", "section", "h2", "dl", "dt", "dd", "style", "title"] {
            let opened = page.matches(&format!("<{name}>")).count()
                + page.matches(&format!("<{name} ")).count();
            if opened != page.matches(&format!("</{name}>")).count() {
                return Err(name.to_owned());
            }
        }
        Ok(())
    }
}
