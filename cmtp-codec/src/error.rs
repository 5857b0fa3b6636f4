//! Why bytes are not CMTP.

use cmtp_spec::CloseCode;

/// What is wrong with the bytes, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {kind}")]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// Bytes from the beginning of the stream or file.
    pub offset: u64,
}

/// What is wrong with bytes. Each names the rule of `cmtp-spec/` that they break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// CNV-1.
    #[error("a varint is not in its shortest form")]
    NotMinimal,
    /// CNV-2.
    #[error("a time is not below 2^62 microseconds")]
    TimeTooLarge,
    /// FRM-1: the payload ends too early.
    #[error("the frame's payload ends too early")]
    PayloadTooShort,
    /// FRM-1: bytes are left over.
    #[error("bytes are left over in the frame's payload")]
    PayloadTooLong,
    /// FRM-3.
    #[error("an unknown frame of even type, which must not be skipped")]
    UnknownFrame,
    /// FRM-13.
    #[error("an unknown SEAL item of even type, which must not be skipped")]
    UnknownItem,
    /// FRM-4.
    #[error("too many unknown frames")]
    TooManyUnknown,
    /// FRM-5, FRM-7, FRM-8, FRM-9, QUI-9, QUI-15, QUI-19: a frame in the wrong place.
    #[error("a frame that has no place here")]
    Unexpected,
    /// FRM-6, FRM-9, FRM-18.
    #[error("a form byte that is not 0 or 1")]
    UnknownForm,
    /// FRM-6, FRM-9.
    #[error("something is withheld, which a request stream does not allow")]
    WithheldOnStream,
    /// FRM-8.
    #[error("an empty BODY frame")]
    EmptyBodyFrame,
    /// FRM-12.
    #[error("SEAL items are not in ascending order")]
    ItemOrder,
    /// FRM-14.
    #[error("a SEAL needs exactly one of r0 and unlogged; INTERIM needs r0 alone")]
    SealItems,
    /// FRM-15.
    #[error("a SEAL item that must be empty is not, or `heads` has not one hash a layer")]
    ItemPayload,
    /// FRM-16, STO-2.
    #[error("a SEAL item that has no place here")]
    ItemPlace,
    /// FRM-17.
    #[error("the SEAL item body-unread and the flag of layer 0 disagree")]
    BodyUnread,
    /// FRM-18.
    #[error("AUTH with an empty token")]
    EmptyToken,
    /// FRM-19.
    #[error("SETTINGS identifiers are not in ascending order")]
    SettingsOrder,
    /// LAY-1.
    #[error("layer flags that version 0 does not have")]
    UnknownFlags,
    /// LAY-2, LAY-3, FRM-11, HSH-4.
    #[error("layer flags that must not stand on this layer or not together")]
    FlagsDisagree,
    /// LAY-4.
    #[error("layer 0, and only layer 0, is an origin with status 0")]
    OriginPlace,
    /// LAY-10.
    #[error("a step above 65535")]
    StepTooLarge,
    /// LAY-5.
    #[error("a status above 999")]
    StatusTooLarge,
    /// LAY-8.
    #[error("the origin lacks message-id, audience, target or not-after")]
    OriginFields,
    /// FLD-1.
    #[error("a field name with a byte that is not a lower-case token character")]
    BadName,
    /// FLD-2: literal name.
    #[error("a literal field name that has a number in the static table")]
    LiteralHasNumber,
    /// FLD-2: index.
    #[error("a field number that the static table does not have")]
    UnknownIndex,
    /// FLD-4.
    #[error("one of CMTP's own fields stands twice")]
    RepeatedField,
    /// FLD-5.
    #[error(
        "one of CMTP's own fields stands among the public ones and must be private, or the reverse"
    )]
    FieldClass,
    /// FLD-6.
    #[error("the value of one of CMTP's own fields is not of its kind")]
    FieldValue,
    /// RCP-1, RCP-12.
    #[error("keys of a key list are not in ascending order, or there is none")]
    KeyOrder,
    /// FRM-20.
    #[error("CHECKPOINT is no consistency proof with a checkpoint behind it")]
    Checkpoint,
    /// RCP-3.
    #[error("journal mode and index of R0 disagree")]
    ReceiptIndex,
    /// RCP-14: entry type.
    #[error("the entry type of R0 is not that of this kind of seal")]
    ReceiptType,
    /// RCP-14: entry flag.
    #[error("the entry flag `async` and R0's mode disagree")]
    ReceiptFlags,
    /// RCP-13: an offset outside of its commit, or an empty commit.
    #[error("R0 names a place outside of its commit")]
    ReceiptPlace,
    /// RCP-13: a log origin with a character that it must not have, or none.
    #[error("R0 names a log origin that is empty or has a character that it must not have")]
    LogOrigin,
    /// CNV-4, FRM-4, LIM-1, LIM-2, LAY-7, RCP-6, RCP-12, STO-4.
    #[error("a length or a count above its limit")]
    LimitExceeded,
    /// QUI-18, STO-1.
    #[error("the bytes end within a message")]
    EndsEarly,
    /// QUI-19, STO-1.
    #[error("bytes follow the SEAL")]
    AfterSeal,
    /// STO-2.
    #[error("a frame of unknown type in a stored file")]
    UnknownInFile,
    /// STO-3.
    #[error("the body is not cut into full BODY frames")]
    BodyCuts,
    /// STO-10.
    #[error(
        "not a stored CMTP message: it does not begin with the magic bytes 89 43 4d 54 50 0d 0a 1a"
    )]
    BadMagic,
    /// NAT-10: version.
    #[error("a bus envelope of another version than 0")]
    EnvelopeVersion,
    /// NAT-10: kind.
    #[error("a bus envelope of a kind that is not known, or has no place here")]
    EnvelopeKind,
    /// NAT-10: scheme.
    #[error("a bus envelope of a scheme that no envelope of its kind has")]
    EnvelopeScheme,
    /// NAT-10: key id.
    #[error("a bus envelope names a key where its scheme has none")]
    EnvelopeKeyId,
    /// NAT-11, NAT-12.
    #[error("the layers of a bus envelope are not those of its kind, or not its sender's")]
    EnvelopeLayers,
    /// FRM-11, STO-6.
    #[error("stored form of another version than 0")]
    UnknownVersion,
}

impl DecodeErrorKind {
    /// The code with which a peer that sends such bytes is told so.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::UnknownFrame | Self::UnknownItem => CloseCode::UNKNOWN_CRITICAL,
            Self::TooManyUnknown | Self::LimitExceeded => CloseCode::LIMIT_EXCEEDED,
            Self::Unexpected | Self::AfterSeal => CloseCode::UNEXPECTED,
            Self::SettingsOrder => CloseCode::SETTINGS,
            _ => CloseCode::MALFORMED,
        }
    }

    pub(crate) const fn at(self, offset: u64) -> DecodeError {
        DecodeError { kind: self, offset }
    }
}
