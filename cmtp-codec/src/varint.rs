//! Variable-length integers: `cmtp-spec/spec/01-conventions.md`, RFC 9000 section 16.

use bytes::BufMut;

/// The largest value that fits.
pub const MAX: u64 = (1 << 62) - 1;

/// What the first bytes of a buffer hold. Closed: reading has these three outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// A value and the number of its bytes.
    Value(u64, usize),
    /// More bytes are needed.
    Incomplete,
    /// A value that a shorter form could hold.
    NotMinimal,
}

/// Reads a varint at the start of `input`, which may go on behind it.
///
/// ```
/// use cmtp_codec::varint::{Read, read};
///
/// assert_eq!(read(&[0x7b, 0xbd, 0xff]), Read::Value(15_293, 2));
/// assert_eq!(read(&[0x7b]), Read::Incomplete);
/// assert_eq!(read(&[0x40, 0x00]), Read::NotMinimal);
/// ```
#[inline]
pub fn read(input: &[u8]) -> Read {
    let Some(&first) = input.first() else { return Read::Incomplete };
    let length = 1 << (first >> 6);
    if length == 1 {
        return Read::Value(u64::from(first), 1);
    }
    let Some(bytes) = input.get(1..length) else { return Read::Incomplete };
    let value =
        bytes.iter().fold(u64::from(first & 0x3f), |value, &byte| value << 8 | u64::from(byte));
    // [CNV-1] A varint MUST be in the shortest form that holds its value.
    if length_of(value) == length { Read::Value(value, length) } else { Read::NotMinimal }
}

/// Writes `value` in its shortest form.
///
/// Values above [`MAX`] can't be written; every number that reaches this is bounded below it by its type or by a check
/// on the way in, and a debug build asserts it.
#[inline]
pub(crate) fn write(value: u64, out: &mut impl BufMut) {
    debug_assert!(value <= MAX);
    let length = length_of(value);
    let prefix = u64::from(length.trailing_zeros()) << (length * 8 - 2);
    out.put_uint(value | prefix, length);
}

/// The number of bytes that `value` takes.
#[inline]
pub(crate) const fn length_of(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_9000_examples_read_and_write() {
        let table: [(&[u8], u64); 4] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ];
        for (bytes, value) in table {
            assert_eq!(read(bytes), Read::Value(value, bytes.len()));
            let mut out = Vec::new();
            write(value, &mut out);
            assert_eq!(out, bytes);
            assert_eq!(read(&bytes[..bytes.len() - 1]), Read::Incomplete);
        }
        // [CNV-1]
        assert_eq!(read(&[0x40, 0x25]), Read::NotMinimal);
    }

    proptest::proptest! {
        #[test]
        fn every_value_reads_back(value in 0..=MAX) {
            let mut out = Vec::new();
            write(value, &mut out);
            proptest::prop_assert_eq!(read(&out), Read::Value(value, out.len()));
        }
    }
}
