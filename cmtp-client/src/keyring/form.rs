//! What a file of identities holds, as text.
//!
//! The form, one line each, in this order:
//!
//! ```text
//! cmtp-identity-v1
//! root HEX                        32 bytes; absent where there is none
//! persona NUMBER NAME             one that the root brings
//! imported HEX COMMITMENT NAME    one by its seed, with its recovery commitment in hexadecimal, or `-` where it is not known
//! default NAME
//! ```
//!
//! With a passphrase these lines are one armored age file. Before there were personas a file was one line, `cmtp-identity-v0 HEX`; it
//! is read as one imported persona, and written anew only where something changes.
//!
//! One persona for another device, armored in the same way or not:
//!
//! ```text
//! cmtp-persona-v1
//! imported HEX COMMITMENT NAME
//! ```

use cmtp_codec::{RecoveryCommitment, Root};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use crate::keyring::name::PersonaName;

/// All that a file holds.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) root: Option<Root>,
    pub(crate) personas: Vec<(PersonaName, Source)>,
    pub(crate) default: PersonaName,
}

/// Where a persona's key comes from.
#[derive(Clone)]
pub(crate) enum Source {
    /// The root, with this number.
    Derived(u32),
    /// A file of another device, or one from before there were roots.
    Imported(Imported),
}

/// A persona's secret apart from its root.
#[derive(Clone)]
pub(crate) struct Imported {
    pub(crate) seed: Zeroizing<[u8; 32]>,
    pub(crate) commitment: Option<RecoveryCommitment>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Derived(number) => write!(f, "Derived({number})"),
            Self::Imported(_) => f.write_str("Imported(…)"),
        }
    }
}

impl Form {
    /// Reads either form; else what is wrong, with nothing of what stands there.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(seed) = text.strip_prefix(OLD).and_then(|rest| rest.strip_prefix(' ')) {
            let seed = hex(seed.strip_suffix('\n').unwrap_or(seed));
            let seed = seed.ok_or("expected 64 hexadecimal digits in its only line")?;
            let name = PersonaName::of_old_file();
            let source = Source::Imported(Imported { seed, commitment: None });
            return Ok(Self { root: None, personas: vec![(name.clone(), source)], default: name });
        }
        let mut lines = text.lines().zip(1..);
        let first = lines.next().map(|(line, _)| line);
        if first != Some(FORM) {
            return Err(format!("its first line is not {FORM}"));
        }
        let (mut root, mut personas, mut default) = (None, Vec::new(), None);
        for (line, number) in lines {
            let mut words = line.split(' ');
            let read = match words.next().unwrap_or_default() {
                // What is behind the last line is none.
                _ if default.is_some() => None,
                "root" if root.is_none() && personas.is_empty() => read_root(words).map(|read| {
                    root = Some(read);
                }),
                "persona" if root.is_some() => read_persona(words).map(|it| personas.push(it)),
                "imported" => read_imported(words).map(|it| personas.push(it)),
                "default" => read_name(words).map(|name| default = Some(name)),
                _ => None,
            };
            read.ok_or_else(|| format!("line {number} is none of the form {FORM}"))?;
        }
        let default = default.ok_or("its last line, `default NAME`, is missing")?;
        Ok(Self { root, personas, default })
    }

    pub(crate) fn to_text(&self) -> Zeroizing<String> {
        let room = FORM.len() + LINE_MAX * (self.personas.len() + 2);
        // So long that it never grows, which would leave a copy behind.
        let mut text = Zeroizing::new(String::with_capacity(room));
        text.push_str(FORM);
        text.push('\n');
        if let Some(root) = &self.root {
            push(&mut text, &["root", &Zeroizing::new(HEXLOWER.encode(root.bytes()))]);
        }
        for (name, source) in &self.personas {
            match source {
                Source::Derived(number) => {
                    push(&mut text, &["persona", &number.to_string(), name.as_str()]);
                }
                Source::Imported(imported) => push_imported(&mut text, name, imported),
            }
        }
        push(&mut text, &["default", self.default.as_str()]);
        text
    }
}

/// Reads the file of one persona, or an old file of identities, which is one, too.
pub(crate) fn parse_exported(text: &str) -> Result<(PersonaName, Imported), String> {
    if text.starts_with(OLD) {
        let one = Form::parse(text)?.personas.pop();
        let (name, source) = one.ok_or("it holds no persona")?;
        return match source {
            Source::Imported(imported) => Ok((name, imported)),
            Source::Derived(_) => Err("it holds no persona".to_owned()),
        };
    }
    let mut lines = text.lines();
    if lines.next() != Some(EXPORTED) {
        return Err(format!("its first line is not {EXPORTED}"));
    }
    let mut words = lines.next().unwrap_or_default().split(' ');
    let read = if words.next() == Some("imported") { read_imported(words) } else { None };
    match (read, lines.next()) {
        (Some((name, Source::Imported(imported))), None) => Ok((name, imported)),
        _ => Err(format!("line 2 is none of the form {EXPORTED}")),
    }
}

/// The file of one persona.
pub(crate) fn exported(name: &PersonaName, imported: &Imported) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(EXPORTED.len() + LINE_MAX));
    text.push_str(EXPORTED);
    text.push('\n');
    push_imported(&mut text, name, imported);
    text
}

fn push_imported(text: &mut String, name: &PersonaName, imported: &Imported) {
    let seed = Zeroizing::new(HEXLOWER.encode(&*imported.seed));
    let commitment = imported.commitment.map(|it| HEXLOWER.encode(&it.0));
    push(text, &["imported", &seed, commitment.as_deref().unwrap_or("-"), name.as_str()]);
}

fn push(text: &mut String, words: &[&str]) {
    for (at, word) in words.iter().enumerate() {
        text.push_str(if at == 0 { "" } else { " " });
        text.push_str(word);
    }
    text.push('\n');
}

fn read_root<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Root> {
    let root = hex(words.next()?)?;
    words.next().is_none().then(|| Root::new(*root))
}

fn read_persona<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<(PersonaName, Source)> {
    let text = words.next()?;
    let number: u32 = text.parse().ok()?;
    // One spelling only: no sign, and no zero in front.
    (number.to_string() == text).then_some(())?;
    Some((read_name(words)?, Source::Derived(number)))
}

fn read_imported<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<(PersonaName, Source)> {
    let seed = hex(words.next()?)?;
    let commitment = match words.next()? {
        "-" => None,
        text => Some(RecoveryCommitment(*hex(text)?)),
    };
    Some((read_name(words)?, Source::Imported(Imported { seed, commitment })))
}

fn read_name<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<PersonaName> {
    let name = words.next()?.parse().ok()?;
    words.next().is_none().then_some(name)
}

fn hex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    let fits = HEXLOWER.decode_len(text.len()) == Ok(bytes.len());
    fits.then(|| HEXLOWER.decode_mut(text.as_bytes(), &mut *bytes).ok())??;
    Some(bytes)
}

/// First word of the file; another version would have another word.
const FORM: &str = "cmtp-identity-v1";
const OLD: &str = "cmtp-identity-v0";
const EXPORTED: &str = "cmtp-persona-v1";
/// The longest line: a word, a seed, a commitment, a name of 64 characters, spaces and a line end.
pub(crate) const LINE_MAX: usize = 8 + 3 * 65 + 2;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_it_was_written_and_nothing_else_is() {
        let (seed, other) = ("11".repeat(32), "22".repeat(32));
        let root = format!("root {seed}\n");
        let imported = format!("imported {other} {seed} phone\nimported {seed} - old\n");
        let head = "cmtp-identity-v1\n";
        let table = [
            (format!("{head}{root}persona 0 main\ndefault main\n"), true),
            (
                format!("{head}{root}persona 0 main\npersona 7 a.b_c-1\n{imported}default old\n"),
                true,
            ),
            (format!("{head}{imported}default phone\n"), true),
            (format!("{head}{root}persona 0 main\n"), false),
            (format!("{head}persona 0 main\ndefault main\n"), false),
            (format!("{head}{root}{root}persona 0 main\ndefault main\n"), false),
            (format!("{head}persona 0 main\n{root}default main\n"), false),
            (format!("{head}{root}persona 00 main\ndefault main\n"), false),
            (format!("{head}{root}persona +1 main\ndefault main\n"), false),
            (format!("{head}{root}persona 4294967296 main\ndefault main\n"), false),
            (format!("{head}{root}persona 0 Main\ndefault main\n"), false),
            (format!("{head}{root}persona 0 main more\ndefault main\n"), false),
            (format!("{head}{root}persona  0 main\ndefault main\n"), false),
            (format!("{head}{root}persona 0 main\ndefault main\ndefault main\n"), false),
            (format!("{head}{root}persona 0 main\n\ndefault main\n"), false),
            (format!("{head}root {}\npersona 0 main\ndefault main\n", &seed[1..]), false),
            (format!("{head}imported {seed} main\ndefault main\n"), false),
            (format!("cmtp-identity-v2\n{root}persona 0 main\ndefault main\n"), false),
            (String::new(), false),
        ];
        for (text, good) in table {
            let read = Form::parse(&text);
            assert_eq!(read.is_ok(), good, "{text}");
            match read {
                Ok(form) => assert_eq!(*form.to_text(), text),
                Err(what) => assert!(!what.contains(&seed[..8]), "{what}"),
            }
        }
    }

    #[test]
    fn an_old_file_is_one_imported_persona() {
        let seed = "11".repeat(32);
        let table = [
            (format!("cmtp-identity-v0 {seed}\n"), true),
            (format!("cmtp-identity-v0 {seed}"), true),
            (format!("cmtp-identity-v0 {seed}11\n"), false),
            (format!("cmtp-identity-v0 {}\n", &seed[2..]), false),
            (format!("cmtp-identity-v0 {seed}\n\n"), false),
        ];
        for (text, good) in table {
            assert_eq!(Form::parse(&text).is_ok(), good, "{text}");
            assert_eq!(parse_exported(&text).is_ok(), good, "{text}");
        }
        let form = Form::parse(&format!("cmtp-identity-v0 {seed}\n")).unwrap();
        let written = format!("cmtp-identity-v1\nimported {seed} - default\ndefault default\n");
        assert_eq!(*form.to_text(), written);
    }

    #[test]
    fn one_persona_is_read_as_it_was_written() {
        let seed = "11".repeat(32);
        for commitment in ["-", &"22".repeat(32)] {
            let text = format!("cmtp-persona-v1\nimported {seed} {commitment} work\n");
            let (name, imported) = parse_exported(&text).unwrap();
            assert_eq!(*exported(&name, &imported), text);
            assert!(parse_exported(&format!("{text}{text}")).is_err());
        }
        assert!(parse_exported("cmtp-persona-v1\n").is_err());
        assert!(parse_exported(&format!("cmtp-persona-v1\nroot {seed}\n")).is_err());
    }
}
