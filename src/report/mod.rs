//! What a person or a script is told. Pure: data in, text or JSON out; only [`progress`] draws.
//!
//! Texts carry colours as escape sequences; whoever writes them strips those where nobody would
//! see them.

pub mod describe;
pub mod findings;
pub mod graph;
pub mod history;
pub mod json;
pub mod overview;
pub mod plan;
pub mod progress;
pub mod summary;
pub mod text;
pub mod undeclared;
