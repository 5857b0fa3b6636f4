//! Tests that cross modules.

mod vectors;
mod wycheproof;
