//! CMTP node.
