//! CMTP client.
