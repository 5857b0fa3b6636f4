//! Messages as a tree of layers, for people.

use std::fmt::Write;

use cmtp_codec::{
    Body, Chain, Digest, Grade, KeyList, Layer, Link, Private, ProcessVerdict, Replay, Seal,
    Verdict,
};
use cmtp_spec::{FieldIndex, LayerFlags, Status};

use crate::value;

/// Whether a tree has colours. Closed: it has them or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Text alone.
    Plain,
    /// With the escape sequences of a terminal.
    Coloured,
}

impl Style {
    /// `text` as a terminal shows it in this style. What a peer sent has to be made printable before.
    pub fn paint(self, paint: Paint, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\x1b[{}m{text}\x1b[0m", paint as u8),
        }
    }
}

/// How a part of a text stands out: Select Graphic Rendition codes, ECMA-48 section 8.3.117.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Paint {
    /// A heading.
    Bold = 1,
    /// What only programs read, such as hashes.
    Dim = 2,
    /// It failed, or does not hold.
    Red = 31,
    /// Somebody's own signature, or the verdict, holds.
    Green = 32,
    /// Nothing proves it.
    Yellow = 33,
    /// True as far as the node tells the truth.
    Cyan = 36,
}

impl Paint {
    /// The colour of a grade: green is signed by who made it, cyan is the node's word, yellow is nobody's.
    pub const fn of(grade: Grade) -> Self {
        match grade {
            Grade::SignedByCaller | Grade::SignedByService => Self::Green,
            Grade::VouchedByNode => Self::Cyan,
            Grade::Unproved => Self::Yellow,
        }
    }
}

/// A message whose chain holds, with what it proves: one branch for each layer, the seal, the verdict.
///
/// Whatever the message holds is escaped, so that it can be shown on a terminal.
///
/// ```no_run
/// # fn example(answer: &cmtp_client::Answer) {
/// eprint!("{}", cmtp_client::tree(answer.replay(), cmtp_client::Style::Plain));
/// # }
/// ```
pub fn tree(replay: &Replay, style: Style) -> String {
    let mut tree = Tree::new(style);
    let message = &replay.message;
    tree.title(&message.links);
    for (number, link) in message.links.iter().enumerate() {
        tree.link(number, link, replay.heads.get(number), Some(replay.grade(number)));
    }
    tree.seal(&message.seal);
    tree.verdict(replay);
    tree.out
}

/// What could be read of a message that nobody checked, or that does not hold.
pub fn untrusted_tree(links: &[Link], seal: Option<&Seal>, style: Style) -> String {
    let mut tree = Tree::new(style);
    tree.title(links);
    let mut chain = Some(Chain::default());
    for (number, link) in links.iter().enumerate() {
        // A hash is shown as long as all layers up to it hold together.
        let head = chain.as_mut().and_then(|chain| chain.push(link).ok());
        if head.is_none() {
            chain = None;
        }
        tree.link(number, link, head.as_ref(), None);
    }
    if let Some(seal) = seal {
        tree.seal(seal);
    }
    tree.out
}

/// A branch of a tree: a layer, the seal, the verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Branch {
    pub(crate) title: String,
    /// Names and what they have.
    pub(crate) items: Vec<(String, String)>,
}

pub(crate) struct Tree {
    out: String,
    style: Style,
    pub(crate) branches: Vec<Branch>,
}

impl Tree {
    pub(crate) const fn new(style: Style) -> Self {
        Self { out: String::new(), style, branches: Vec::new() }
    }

    fn title(&mut self, links: &[Link]) {
        let origin = links.first().and_then(Link::layer);
        let target = origin.and_then(|origin| origin.text(FieldIndex::TARGET));
        let target = target.map_or("(origin withheld)".to_owned(), value::printable);
        let target = self.paint(Paint::Bold, &target);
        self.line(&format!("message {target}"));
    }

    pub(crate) fn link(
        &mut self,
        number: usize,
        link: &Link,
        head: Option<&Digest>,
        grade: Option<Grade>,
    ) {
        let mut title = self.paint(Paint::Bold, &format!("{number} {}", link.step()));
        if link.status() != Status::NONE {
            let paint =
                if link.status() >= Status::BAD_REQUEST { Paint::Red } else { Paint::Green };
            let status = format!("{} {}", link.status().0, link.status());
            let _infallible = write!(title, "  {}", self.paint(paint, &status));
        }
        let _infallible =
            write!(title, "  {}  {}", value::short(&link.actor()), value::time(link.time()));
        if let Some(grade) = grade {
            let _infallible = write!(title, "  {}", self.paint(Paint::of(grade), grade.as_str()));
        }
        self.branch("├─", title);
        let flags = LayerFlags::ALL.iter().filter(|flag| link.flags().0 & flag.0 != 0);
        let flags: Vec<_> = flags.map(ToString::to_string).collect();
        if !flags.is_empty() {
            self.item("│", "flags", &flags.join(" "));
        }
        match link.layer() {
            Some(layer) => self.layer(layer),
            None => {
                let withheld = self.paint(Paint::Yellow, "withheld, but for its core");
                self.item("│", "layer", &withheld);
            }
        }
        if let Some(head) = head {
            let head = self.paint(Paint::Dim, &head.to_string());
            self.item("│", "hash", &head);
        }
    }

    fn layer(&mut self, layer: &Layer) {
        for field in &layer.public {
            self.item("│", field.name.as_str(), &value::text(field));
        }
        for private in &layer.private {
            match private {
                Private::Disclosed { field, .. } => {
                    let name = format!("{} (private)", field.name);
                    self.item("│", &name, &value::text(field));
                }
                Private::Withheld(leaf) => {
                    let withheld = self.paint(Paint::Yellow, &format!("withheld, leaf {leaf}"));
                    self.item("│", "(private)", &withheld);
                }
            }
        }
        match &layer.body {
            Body::Absent => {}
            Body::Present { data, .. } => {
                let text = format!("{} bytes  {}", data.len(), value::preview(data));
                self.item("│", "body", text.trim_end());
            }
            Body::Withheld(hash) => {
                let withheld = self.paint(Paint::Yellow, &format!("withheld, hash {hash}"));
                self.item("│", "body", &withheld);
            }
        }
    }

    pub(crate) fn seal(&mut self, seal: &Seal) {
        let title = self.paint(Paint::Bold, "seal");
        self.branch("└─", format!("{title}  {}", value::short(&seal.key)));
        let hash = self.paint(Paint::Dim, &seal.hash.to_string());
        self.item(" ", "F", &hash);
        if let Some(receipt) = &seal.receipt {
            let statement = &receipt.statement;
            let place = match receipt.index() {
                Some(index) => format!("entry {index}"),
                None => "no entry named".to_owned(),
            };
            let text = format!(
                "{} {}, mode {}, {place} of log {}, {}",
                receipt.entry_type,
                receipt.opcode,
                statement.mode,
                statement.log_origin,
                value::time(statement.time),
            );
            self.item(" ", "R0", &text);
        }
        if let Some(keys) = &seal.keys {
            let text = format!("list {} of {}, {} keys", keys.number, keys.root, keys.keys.len());
            self.item(" ", "keys", &text);
        }
        let marks = [
            (seal.unlogged, "unlogged"),
            (seal.recorded, "recorded"),
            (seal.body_unread, "body-unread"),
            (seal.heads.is_some(), "heads"),
            (seal.proof.is_some(), "proof"),
        ];
        let marks: Vec<_> = marks.into_iter().filter_map(|(is, mark)| is.then_some(mark)).collect();
        if !marks.is_empty() {
            self.item(" ", "items", &marks.join(" "));
        }
    }

    pub(crate) fn verdict(&mut self, replay: &Replay) {
        let (paint, text) = match (replay.verdict, &replay.message.seal.keys) {
            (Verdict::Authentic, Some(KeyList { root, .. })) => {
                (Paint::Green, format!("authentic: {root} promised it"))
            }
            (Verdict::Authentic, None) => (Paint::Green, "authentic".to_owned()),
            (Verdict::Consistent, _) => (
                Paint::Yellow,
                "consistent, not authentic: nothing ties the seal to a trusted node".to_owned(),
            ),
        };
        let verdict = self.paint(paint, &text);
        self.branches.push(Branch { title: format!("verdict  {verdict}"), items: Vec::new() });
        self.line(&format!("verdict  {verdict}"));
        let process = match &replay.process {
            ProcessVerdict::Follows => "follows its opcode".to_owned(),
            ProcessVerdict::NotChecked => "not checked: the opcode is withheld".to_owned(),
            ProcessVerdict::Breaks(deviation) => {
                self.paint(Paint::Red, &format!("broken: {deviation}"))
            }
        };
        self.line(&format!("process  {process}"));
        self.note("process", &process);
    }

    fn branch(&mut self, mark: &str, title: String) {
        self.line(&format!("{mark} {title}"));
        self.branches.push(Branch { title, items: Vec::new() });
    }

    /// Adds to the last branch what the tree itself does not show.
    pub(crate) fn note(&mut self, name: &str, text: &str) {
        if let Some(branch) = self.branches.last_mut() {
            branch.items.push((name.to_owned(), text.to_owned()));
        }
    }

    fn item(&mut self, branch: &str, name: &str, text: &str) {
        self.note(name, text);
        self.line(&format!("{branch}    {name:NAME_WIDTH$} {text}"));
    }

    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    pub(crate) fn paint(&self, paint: Paint, text: &str) -> String {
        self.style.paint(paint, text)
    }
}

/// Of the longest of CMTP's own names, `exporter-digest` and `connection-kind`, with a little air.
pub(crate) const NAME_WIDTH: usize = 16;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use cmtp_codec::{Field, Unverified, Withheld};

    use super::*;
    use crate::testing::{NODE, Sample, signing_key};

    #[test]
    fn a_tree_shows_every_layer_and_who_stands_for_it() {
        let tree = tree(&Sample::answer().replay(), Style::Plain);
        for part in [
            "message 0xS:echo\n",
            "├─ 0 origin  z6Mk",
            "  signed by caller\n",
            "│    args (private)   [\"Dexter\"]\n",
            "├─ 1 admit  z6Mk",
            "├─ 2 serve  200 ok  z6Mk",
            "  vouched by node\n",
            "│    body             5 bytes  \"hello\"\n",
            "└─ seal  z6Mk",
            "R0               exchange 0xS, mode none, no entry named of log test/log, 2026-",
            "verdict  authentic: did:key:z6Mk",
            "process  follows its opcode\n",
        ] {
            assert!(tree.contains(part), "{part}\n{tree}");
        }
        assert!(!tree.contains('\x1b'));
    }

    #[test]
    fn without_a_trusted_root_nothing_is_called_authentic() {
        // [RCP-7]
        let message = Sample::answer().message();
        let replay = Unverified::new(message).verify(None).unwrap();
        let tree = tree(&replay, Style::Plain);
        assert!(tree.contains("verdict  consistent, not authentic"), "{tree}");
        assert!(tree.contains("  unproved\n"), "{tree}");
        assert!(!tree.contains("vouched"), "{tree}");
    }

    #[test]
    fn colours_tell_a_signature_from_the_nodes_word_and_from_nothing() {
        let sample = Sample::answer();
        let shown = tree(&sample.replay(), Style::Coloured);
        let unproved = Unverified::new(sample.message()).verify(None).unwrap();
        let unproved = tree(&unproved, Style::Coloured);
        for (tree, part) in [
            (&shown, "\x1b[32msigned by caller\x1b[0m"),
            (&shown, "\x1b[36mvouched by node\x1b[0m"),
            (&shown, "\x1b[32m200 ok\x1b[0m"),
            (&shown, "verdict  \x1b[32mauthentic"),
            (&unproved, "\x1b[33munproved\x1b[0m"),
            (&unproved, "verdict  \x1b[33mconsistent, not authentic"),
        ] {
            assert!(tree.contains(part), "{part:?}\n{tree}");
        }
    }

    #[test]
    fn what_is_withheld_is_said_to_be() {
        let withheld = Sample::answer().replay().withhold(&[
            Withheld::Field { layer: 0, field: 0 },
            Withheld::Body(0),
            Withheld::Body(2),
            Withheld::Layer(1),
        ]);
        let root = signing_key(NODE).public();
        let shown = tree(&withheld.verify(Some(&root)).unwrap(), Style::Plain);
        assert!(shown.contains("│    (private)        withheld, leaf "), "{shown}");
        assert!(shown.contains("│    body             withheld, hash "), "{shown}");
        assert!(shown.contains("│    layer            withheld, but for its core"), "{shown}");
        assert!(!shown.contains("Dexter") && !shown.contains("hello"), "{shown}");
    }

    #[test]
    fn a_message_that_does_not_hold_has_no_grades() {
        let mut message = Sample::answer().message();
        if let Some(Link::Layer(origin)) = message.links.first_mut() {
            origin.public.push(Field::new("accept", "x").unwrap());
        }
        let shown = untrusted_tree(&message.links, Some(&message.seal), Style::Coloured);
        assert!(shown.contains("\x1b[1m0 origin\x1b[0m"), "{shown}");
        assert!(!shown.contains("hash") && !shown.contains("verdict"), "{shown}");
    }
}
