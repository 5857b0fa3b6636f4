//! CMTP codec.
