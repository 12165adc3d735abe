//! Looking on beside a run: the process that has the journal answers others, over a socket in
//! the state directory.
//!
//! Invariants:
//! - only what is durable is told;
//! - no client can hold the run up: requests are small, everything has a time-out, and at the end
//!   whoever still listens is cut off after a moment;
//! - only the owner of the state directory, and root, are answered.

mod client;
mod protocol;
mod server;
mod socket;
#[cfg(test)]
mod tests;

pub use client::{Answer, AskError, ask};
pub use protocol::{About, Ask, End, Reply};
pub use server::Server;
