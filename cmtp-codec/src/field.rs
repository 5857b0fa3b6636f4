//! Fields: names, values, and what CMTP's own fields must hold. `cmtp-spec/spec/03-layers.md`.

use std::fmt;

use bytes::{BufMut, Bytes};

use cmtp_spec::{FieldClass, FieldIndex, FieldKind, limits};

use crate::cursor::Cursor;
use crate::error::{DecodeError, DecodeErrorKind as Kind};
use crate::fqmn::Fqmn;
use crate::hash::{self, Digest, Salt};
use crate::key::PublicKey;
use crate::varint;

/// A field's name: lower case, and a number on the wire where the static table has one.
#[derive(Clone, PartialEq, Eq)]
pub struct Name(Repr);

#[derive(Clone, PartialEq, Eq)]
enum Repr {
    Static(FieldIndex, &'static str),
    /// Checked to be ASCII token characters.
    Literal(Bytes),
}

impl Name {
    /// Reads a name as people write it; upper case is folded.
    ///
    /// # Errors
    /// [`Kind::BadName`] or [`Kind::LimitExceeded`].
    pub fn new(name: &str) -> Result<Self, Kind> {
        let name = name.to_ascii_lowercase();
        if let Some(index) = FieldIndex::from_name(&name) {
            return Ok(index.into());
        }
        check_literal(name.as_bytes())?;
        Ok(Self(Repr::Literal(name.into())))
    }

    /// A literal name of ours, which is checked where it is written down.
    pub(crate) const fn literal(name: &'static str) -> Self {
        Self(Repr::Literal(Bytes::from_static(name.as_bytes())))
    }

    /// The name that is hashed and shown.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Static(_, name) => name,
            Repr::Literal(name) => std::str::from_utf8(name).unwrap_or_default(),
        }
    }

    /// Its number in the static table.
    pub const fn index(&self) -> Option<FieldIndex> {
        match self.0 {
            Repr::Static(index, _) => Some(index),
            Repr::Literal(_) => None,
        }
    }

    /// Where a client puts the field unless it is told otherwise.
    pub fn default_class(&self) -> FieldClass {
        self.index().and_then(FieldIndex::field).map_or(FieldClass::Private, |field| field.class)
    }
}

impl From<FieldIndex> for Name {
    /// The name with this number; `index` is one of the constants.
    fn from(index: FieldIndex) -> Self {
        Self(Repr::Static(index, index.name().unwrap_or_default()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name.
    pub name: Name,
    /// The value; for CMTP's own fields of the kind that the registry gives.
    pub value: Bytes,
}

impl Field {
    /// A field with any name.
    ///
    /// # Errors
    /// [`Kind::BadName`] or [`Kind::LimitExceeded`].
    pub fn new(name: &str, value: impl Into<Bytes>) -> Result<Self, Kind> {
        let field = Self { name: Name::new(name)?, value: value.into() };
        field.check()?;
        Ok(field)
    }

    /// A field of kind `text`, `json` or `bytes`.
    pub fn bytes(index: FieldIndex, value: impl Into<Bytes>) -> Self {
        Self { name: index.into(), value: value.into() }
    }

    /// A field of kind `digest`.
    pub fn digest(index: FieldIndex, value: Digest) -> Self {
        Self::bytes(index, value.0.to_vec())
    }

    /// A field of kind `key`.
    pub fn key(index: FieldIndex, value: PublicKey) -> Self {
        Self::bytes(index, value.0.to_vec())
    }

    /// A field of kind `number` or `time`.
    pub fn number(index: FieldIndex, value: u64) -> Self {
        Self::bytes(index, value.to_be_bytes().to_vec())
    }

    /// A field of kind `mode`, `kind` or `scheme`.
    pub fn octet(index: FieldIndex, value: u8) -> Self {
        Self::bytes(index, vec![value])
    }

    /// A field of kind `flag`.
    pub fn flag(index: FieldIndex) -> Self {
        Self::bytes(index, Bytes::new())
    }

    /// Checks limits and, for CMTP's own fields, the kind.
    pub(crate) fn check(&self) -> Result<(), Kind> {
        if self.value.len() as u64 > limits::FIELD_VALUE_MAX {
            return Err(Kind::LimitExceeded);
        }
        self.own().map_or(Ok(()), |own| check_kind(&self.value, own.kind))
    }

    fn own(&self) -> Option<cmtp_spec::Field> {
        self.name.index()?.field().filter(cmtp_spec::Field::is_own)
    }

    /// Reads a field and hands it to `put`: a `Result` of a whole field would cost more to move than to parse.
    #[inline]
    pub(crate) fn decode(
        cursor: &mut Cursor<'_>,
        own: &mut OwnFields,
        class: FieldClass,
        put: impl FnOnce(Self),
    ) -> Result<(), DecodeError> {
        let start = cursor.error(Kind::UnknownIndex).offset;
        let index = FieldIndex(cursor.varint()?);
        if index.0 == LITERAL {
            let name = cursor.sized(limits::FIELD_NAME_MAX)?;
            check_literal(cursor.bytes(name)).map_err(|kind| kind.at(start))?;
            let value = cursor.sized(limits::FIELD_VALUE_MAX)?;
            // [LAY-6] A receiver MUST keep and hash a field name that it does not know.
            let name = Name(Repr::Literal(cursor.slice(name)));
            put(Self { name, value: cursor.slice(value) });
            return Ok(());
        }
        // [FLD-2] Index numbers that the table does not have MUST be treated as malformed.
        let field = index.field().ok_or(Kind::UnknownIndex.at(start))?;
        let value = cursor.sized(limits::FIELD_VALUE_MAX)?;
        if field.is_own() {
            check_kind(cursor.bytes(value), field.kind).map_err(|kind| kind.at(start))?;
            own.admit_own(&field, class).map_err(|kind| cursor.error(kind))?;
        }
        let name = Name(Repr::Static(index, field.name));
        put(Self { name, value: cursor.slice(value) });
        Ok(())
    }

    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        match &self.name.0 {
            Repr::Static(index, _) => varint::write(index.0, out),
            Repr::Literal(name) => {
                varint::write(LITERAL, out);
                varint::write(name.len() as u64, out);
                out.put_slice(name);
            }
        }
        varint::write(self.value.len() as u64, out);
        out.put_slice(&self.value);
    }

    /// Bytes that [`Field::encode`] writes.
    pub(crate) fn encoded_length(&self) -> usize {
        let name = match &self.name.0 {
            Repr::Static(index, _) => varint::length_of(index.0),
            Repr::Literal(name) => varint::length_of(LITERAL) + sized_length(name),
        };
        name + sized_length(&self.value)
    }
}

/// Bytes of a length and of what it measures.
const fn sized_length(bytes: &Bytes) -> usize {
    varint::length_of(bytes.len() as u64) + bytes.len()
}

/// A field that can be withheld without breaking the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Private {
    /// The field is there.
    Disclosed {
        /// What hides it once it is withheld.
        salt: Salt,
        /// The field.
        field: Field,
    },
    /// Only its leaf hash is there.
    Withheld(Digest),
}

impl Private {
    /// The field, where it is disclosed.
    pub const fn field(&self) -> Option<&Field> {
        match self {
            Self::Disclosed { field, .. } => Some(field),
            Self::Withheld(_) => None,
        }
    }

    /// The leaf hash.
    pub fn leaf(&self) -> Digest {
        match self {
            Self::Disclosed { salt, field } => hash::private_leaf(salt, field),
            // [HSH-1] A withheld private field MUST enter R as the leaf hash that it travels as.
            Self::Withheld(leaf) => *leaf,
        }
    }

    /// Reads a private field and hands it to `put`, as [`Field::decode`] does.
    #[inline]
    pub(crate) fn decode(
        cursor: &mut Cursor<'_>,
        own: &mut OwnFields,
        put: impl FnOnce(Self),
    ) -> Result<(), DecodeError> {
        let form = cursor.error(Kind::UnknownForm);
        match cursor.u8()? {
            DISCLOSED => {
                let salt = Salt(cursor.array()?);
                let put = |field| put(Self::Disclosed { salt, field });
                Field::decode(cursor, own, FieldClass::Private, put)
            }
            WITHHELD => {
                put(Self::Withheld(Digest(cursor.array()?)));
                Ok(())
            }
            // [FRM-6] `form` MUST be 0 or 1.
            _ => Err(form),
        }
    }

    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        match self {
            Self::Disclosed { salt, field } => {
                out.put_u8(DISCLOSED);
                out.put_slice(&salt.0);
                field.encode(out);
            }
            Self::Withheld(leaf) => {
                out.put_u8(WITHHELD);
                out.put_slice(&leaf.0);
            }
        }
    }

    /// Bytes that [`Private::encode`] writes.
    pub(crate) fn encoded_length(&self) -> usize {
        match self {
            Self::Disclosed { salt, field } => 1 + salt.0.len() + field.encoded_length(),
            Self::Withheld(leaf) => 1 + leaf.0.len(),
        }
    }
}

/// Watches over a layer's fields: CMTP's own stand once, each in the list that is its.
#[derive(Default)]
pub(crate) struct OwnFields {
    seen: u64,
}

impl OwnFields {
    pub(crate) fn admit(&mut self, field: &Field, class: FieldClass) -> Result<(), Kind> {
        field.own().map_or(Ok(()), |own| self.admit_own(&own, class))
    }

    #[inline]
    fn admit_own(&mut self, own: &cmtp_spec::Field, class: FieldClass) -> Result<(), Kind> {
        // [FLD-5] It MUST stand in the list that its `class` names.
        if own.class != class {
            return Err(Kind::FieldClass);
        }
        // [FLD-4] One of CMTP's own fields MUST stand at most once in a layer.
        let bit = 1 << (own.index.0 % u64::from(u64::BITS));
        if self.seen & bit != 0 {
            return Err(Kind::RepeatedField);
        }
        self.seen |= bit;
        Ok(())
    }
}

fn check_literal(name: &[u8]) -> Result<(), Kind> {
    if name.len() as u64 > limits::FIELD_NAME_MAX {
        return Err(Kind::LimitExceeded);
    }
    // [FLD-1] A name with a byte outside that set MUST be treated as malformed.
    if name.is_empty() || !name.iter().all(|&byte| TOKEN[usize::from(byte)]) {
        return Err(Kind::BadName);
    }
    // [FLD-2] A literal that is in the static table MUST be treated as malformed.
    match std::str::from_utf8(name).map(FieldIndex::from_name) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(Kind::LiteralHasNumber),
        Err(_not_ascii) => Err(Kind::BadName),
    }
}

fn check_kind(value: &[u8], kind: FieldKind) -> Result<(), Kind> {
    // [FLD-6] The value of one of CMTP's own fields MUST be of its kind.
    if is_of_kind(value, kind) { Ok(()) } else { Err(Kind::FieldValue) }
}

fn is_of_kind(value: &[u8], kind: FieldKind) -> bool {
    match kind {
        FieldKind::Bytes => true,
        FieldKind::Text => std::str::from_utf8(value).is_ok(),
        FieldKind::Json => {
            std::str::from_utf8(value).is_ok_and(|args| Fqmn::check_args(args).is_ok())
        }
        FieldKind::Flag => value.is_empty(),
        FieldKind::Number => value.len() == 8,
        FieldKind::Time => {
            <[u8; 8]>::try_from(value).is_ok_and(|time| u64::from_be_bytes(time) <= varint::MAX)
        }
        FieldKind::Id => {
            // RFC 9562 section 5.7: version 7, variant 10.
            value.len() == 16 && value[6] >> 4 == 7 && value[8] >> 6 == 0b10
        }
        FieldKind::Key | FieldKind::Digest => value.len() == 32,
        FieldKind::Mode | FieldKind::Kind | FieldKind::Scheme => value.len() == 1,
    }
}

/// In place of an index: the name itself follows.
const LITERAL: u64 = 0;
const DISCLOSED: u8 = 0;
pub(crate) const WITHHELD: u8 = 1;

/// RFC 9110 section 5.6.2, lower case.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let allowed = b"abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < allowed.len() {
        table[allowed[at] as usize] = true;
        at += 1;
    }
    table
};
