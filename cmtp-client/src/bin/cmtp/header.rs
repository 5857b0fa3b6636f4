//! Fields as they are typed: `-H 'name: value'`.

use anyhow::{Context, anyhow};
use cmtp_codec::{Digest, Field, Name, PublicKey};
use cmtp_spec::{FieldIndex, FieldKind, JournalMode};
use data_encoding::HEXLOWER;

/// Reads `name: value`. The value of one of CMTP's own fields is typed as it is shown: numbers, DIDs, hexadecimal digits.
pub(crate) fn field(text: &str) -> anyhow::Result<Field> {
    let (name, value) =
        text.split_once(':').ok_or_else(|| anyhow!("expected such as 'accept: text/plain'"))?;
    let (name, value) = (Name::new(name.trim())?, value.trim());
    let value = encode(&name, value).with_context(|| name.to_string())?;
    Ok(Field::new(name.as_str(), value)?)
}

fn encode(name: &Name, value: &str) -> anyhow::Result<Vec<u8>> {
    let own = name.index().and_then(FieldIndex::field).filter(cmtp_spec::Field::is_own);
    Ok(match own.map_or(FieldKind::Bytes, |own| own.kind) {
        FieldKind::Number | FieldKind::Time => value.parse::<u64>()?.to_be_bytes().to_vec(),
        FieldKind::Key => value.parse::<PublicKey>()?.0.to_vec(),
        FieldKind::Digest => {
            let bytes = HEXLOWER.decode(value.as_bytes())?;
            let digest: [u8; 32] =
                bytes.try_into().map_err(|_length| anyhow!("a digest has 64 digits"))?;
            Digest(digest).0.to_vec()
        }
        FieldKind::Mode => {
            let mode = JournalMode::from_name(value);
            vec![mode.ok_or_else(|| anyhow!("a journal mode is none, async or wal"))?.0]
        }
        _ => value.as_bytes().to_vec(),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn fields_are_typed_as_they_are_shown() {
        let table = [
            ("Accept: text/plain", "accept", b"text/plain".to_vec()),
            ("x-time:12:30", "x-time", b"12:30".to_vec()),
            ("if-state-version: 7", "if-state-version", 7_u64.to_be_bytes().to_vec()),
            ("journal: wal", "journal", vec![2]),
            ("x: ", "x", Vec::new()),
        ];
        for (text, name, value) in table {
            let field = field(text).unwrap();
            assert_eq!((field.name.as_str(), &field.value[..]), (name, &value[..]), "{text}");
        }
        for text in ["accept", "a b: c", ": c", "if-state-version: x", "journal: fast"] {
            assert!(field(text).is_err(), "{text}");
        }
    }
}
