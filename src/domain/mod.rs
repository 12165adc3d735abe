//! The vocabulary of phoenix and its pure core.
//!
//! Nothing here reads a clock, a file, a random number or a process: ids and times come in as
//! arguments. Nothing here imports another module of the crate.

pub mod action;
pub mod desired;
pub mod diagnostic;
pub mod event;
pub mod ids;
pub mod model;
pub mod observed;
pub mod options;
pub mod record;
pub mod refusal;
pub mod secret;
pub mod setting;
pub mod step;
pub mod units;
