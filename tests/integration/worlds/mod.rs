//! What the laws are tested on: a host that is the pure model, a recorder in memory, a bomb that
//! ends the "process" at a chosen point, and generated worlds.

pub mod arbitrary;
pub mod build;
pub mod generate;
pub mod host;
pub mod session;
