//! phoenix brings Linux containers to the state that JSON files declare, and never loses its
//! place. `docs/architecture.md` is the map.

pub mod beside;
pub mod cli;
pub mod config;
pub mod domain;
pub mod engine;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod host;
pub mod journal;
pub mod plan;
pub mod report;
pub mod steps;
