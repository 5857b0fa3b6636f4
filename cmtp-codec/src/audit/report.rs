//! Reports of auditors: C2SP signed notes of lines that say what was looked at and what was found.

use data_encoding::BASE64;

use crate::key::{PublicKey, Signature, SigningKey};
use crate::log::{NoteKind, VerifierKey, VerifierKeyError};

/// Signs a report: `lines` behind the line that makes it one, so that nothing else that the key signs can be taken for it.
///
/// # Errors
/// [`VerifierKeyError`]: a key that nobody may use.
pub fn sign_report(lines: &str, key: &SigningKey) -> Result<String, VerifierKeyError> {
    let by = VerifierKey::new(key.public().to_string(), NoteKind::Ed25519, key.public())?;
    let text = format!("{FIRST_LINE}\n{}\n", lines.trim_end_matches('\n'));
    let mut bytes = by.id().to_be_bytes().to_vec();
    bytes.extend(key.sign_bytes(text.as_bytes()).0);
    Ok(format!("{text}\n{DASH}{} {}\n", by.name(), BASE64.encode(&bytes)))
}

/// The lines of a report, and who signed it; `None` where it is none, or was changed.
pub fn read_report(note: &str) -> Option<(PublicKey, &str)> {
    let (text, signature) = note.rsplit_once(&format!("\n\n{DASH}"))?;
    let (name, bytes) = signature.strip_suffix('\n')?.split_once(' ')?;
    let key: PublicKey = name.parse().ok()?;
    let by = VerifierKey::new(name, NoteKind::Ed25519, key).ok()?;
    let bytes = BASE64.decode(bytes.as_bytes()).ok()?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    let signature = Signature(signature.try_into().ok()?);
    let signed = note.get(..text.len() + 1)?;
    let lines = text.strip_prefix(FIRST_LINE)?.strip_prefix('\n')?;
    let is_good =
        *id == by.id().to_be_bytes() && key.verify_bytes(signed.as_bytes(), &signature).is_ok();
    is_good.then_some((key, lines))
}

const FIRST_LINE: &str = "cmtp audit report v0";
/// What a signature line of a note begins with.
const DASH: &str = "\u{2014} ";

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_its_auditors_and_unchanged() {
        // [AUD-12]
        let key = SigningKey::from_seed(&[5; 32]).unwrap();
        let note = sign_report("verdict sound\nentries 5\n", &key).unwrap();
        assert_eq!(read_report(&note), Some((key.public(), "verdict sound\nentries 5")));
        let other = SigningKey::from_seed(&[6; 32]).unwrap().public().to_string();
        for (from, to) in
            [("5", "6"), ("report v0", "report v1"), (&key.public().to_string(), &other)]
        {
            assert_eq!(read_report(&note.replacen(from, to, 1)), None, "{from}");
        }
        assert_eq!(read_report(note.trim_end()), None);
        assert_eq!(read_report(""), None);
    }
}
