//! Tests that cross modules.

mod vectors;
