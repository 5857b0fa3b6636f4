//! Values as people and programs read them.

use cmtp_codec::{Digest, Field, PublicKey};
use cmtp_spec::{BusAuth, ConnectionKind, FieldKind, JournalMode};
use data_encoding::{BASE64, HEXLOWER};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

/// A field's value in words, on one line and without anything that a terminal takes for a command.
pub(crate) fn text(field: &Field) -> String {
    match json(field) {
        Value::String(text) => printable(&text),
        Value::Bool(_) => "yes".to_owned(),
        other => printable(&other.to_string()),
    }
}

/// A field's value as JSON: digests in hexadecimal, keys as DIDs, times in RFC 3339.
pub(crate) fn json(field: &Field) -> Value {
    let value = field.value.as_ref();
    let own = field.name.index().and_then(cmtp_spec::FieldIndex::field);
    let kind = own.map_or(FieldKind::Bytes, |own| own.kind);
    let shown = match kind {
        FieldKind::Bytes | FieldKind::Text | FieldKind::Json => None,
        FieldKind::Flag => Some(json!(true)),
        FieldKind::Number => value.try_into().ok().map(|number| json!(u64::from_be_bytes(number))),
        FieldKind::Time => value.try_into().ok().map(|at| json!(time(u64::from_be_bytes(at)))),
        FieldKind::Id => value.try_into().ok().map(|id| json!(message_id(id))),
        FieldKind::Key => value.try_into().ok().map(|key| json!(PublicKey(key).to_string())),
        FieldKind::Digest => value.try_into().ok().map(|hash| json!(Digest(hash).to_string())),
        FieldKind::Mode => octet(value).map(|mode| json!(JournalMode(mode).to_string())),
        FieldKind::Kind => octet(value).map(|kind| json!(ConnectionKind(kind).to_string())),
        FieldKind::Scheme => octet(value).map(|scheme| json!(BusAuth(scheme).to_string())),
    };
    shown.unwrap_or_else(|| match std::str::from_utf8(value) {
        Ok(text) => json!(text),
        Err(_not_text) => json!(format!("base64:{}", BASE64.encode(value))),
    })
}

/// Microseconds since 1970 in RFC 3339, UTC; a number where the calendar ends before.
pub(crate) fn time(at: u64) -> String {
    let calendar = i64::try_from(at).ok().and_then(|at| Timestamp::from_microsecond(at).ok());
    calendar.map_or_else(|| format!("{at} µs"), |at| format!("{at:.6}"))
}

/// A message id as UUIDs are written.
pub(crate) fn message_id(id: [u8; 16]) -> String {
    Uuid::from_bytes(id).to_string()
}

/// `text` with control and invisible characters escaped, so that a peer can't draw on the reader's terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}

/// The beginning of a body: text in quotes, or hexadecimal.
pub(crate) fn preview(body: &[u8]) -> String {
    match std::str::from_utf8(body) {
        Ok("") => String::new(),
        Ok(text) => {
            let beginning: String = text.chars().take(PREVIEW_CHARACTERS).collect();
            let more = if beginning.len() < text.len() { "…" } else { "" };
            format!("\"{}\"{more}", printable(&beginning))
        }
        Err(_not_text) => {
            let beginning = body.get(..PREVIEW_BYTES).unwrap_or(body);
            let more = if beginning.len() < body.len() { "…" } else { "" };
            format!("{}{more}", HEXLOWER.encode(beginning))
        }
    }
}

/// A key in little room: enough to tell the keys of one message apart, and no more.
pub(crate) fn short(key: &PublicKey) -> String {
    let name = key.multibase();
    let (begin, end) = (name.get(..8).unwrap_or(&name), name.get(name.len().saturating_sub(6)..));
    format!("{begin}…{}", end.unwrap_or_default())
}

fn octet(value: &[u8]) -> Option<u8> {
    match value {
        [octet] => Some(*octet),
        _ => None,
    }
}

/// About what is left of a line of 100 columns.
const PREVIEW_CHARACTERS: usize = 72;
const PREVIEW_BYTES: usize = 32;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use cmtp_spec::FieldIndex;

    use super::*;

    #[test]
    fn values_are_shown_by_their_kind() {
        let table = [
            (Field::digest(FieldIndex::HEAD, Digest([0xab; 32])), "ab".repeat(32)),
            (Field::number(FieldIndex::RETRY_AFTER, 7), "7".to_owned()),
            (Field::flag(FieldIndex::OUTCOME_UNKNOWN), "yes".to_owned()),
            (Field::octet(FieldIndex::JOURNAL, 2), "wal".to_owned()),
            (Field::octet(FieldIndex::JOURNAL, 9), "0x9".to_owned()),
            (Field::octet(FieldIndex::BUS_AUTH, 3), "plain".to_owned()),
            (
                Field::number(FieldIndex::DEADLINE, 1_790_000_000_000_001),
                "2026-09-21T14:13:20.000001Z".to_owned(),
            ),
            (Field::number(FieldIndex::DEADLINE, u64::MAX >> 2), format!("{} µs", u64::MAX >> 2)),
            (Field::new("x", vec![0xff]).unwrap(), "base64:/w==".to_owned()),
            (Field::new("x", "é \"q\"").unwrap(), "é \"q\"".to_owned()),
        ];
        for (field, shown) in table {
            assert_eq!(text(&field), shown);
        }
    }

    #[test]
    fn nobody_draws_on_the_terminal() {
        let field = Field::new("x", "\u{1b}[2J\r\n\u{202e}a\u{7f}").unwrap();
        assert_eq!(text(&field), "\\u{1b}[2J\\r\\n\\u{202e}a\\u{7f}");
        assert_eq!(preview(b"a\x1bb"), "\"a\\u{1b}b\"");
        assert_eq!(preview(&[0xff; 40]), format!("{}…", "ff".repeat(32)));
        assert_eq!(preview("é".repeat(80).as_bytes()), format!("\"{}\"…", "é".repeat(72)));
    }
}
