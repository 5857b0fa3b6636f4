//! Close codes as QUIC wants them.

use cmtp_spec::CloseCode;
use quinn::VarInt;

/// The code for RESET_STREAM, STOP_SENDING and CONNECTION_CLOSE.
pub(crate) fn varint(code: CloseCode) -> VarInt {
    // The registry's codes are far below 2^62, the only values that a varint can't hold.
    VarInt::from_u64(code.0).unwrap_or(VarInt::MAX)
}

/// The code that a peer sent.
pub(crate) const fn received(code: VarInt) -> CloseCode {
    CloseCode(code.into_inner())
}
