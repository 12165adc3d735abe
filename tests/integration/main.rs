//! Tests of the whole.
mod support {}
