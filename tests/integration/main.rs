//! Tests of the whole: laws over generated worlds, crashes, the program itself.
#![expect(unreachable_pub, reason = "one binary, nothing outside of it")]
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that cannot go on says so by panicking, and says aloud what it skips"
)]

mod architecture;
mod beside;
mod cli;
mod coverage;
mod crash;
mod crash_journal;
mod deaths;
mod foretold;
mod hostile;
mod kill;
mod laws;
mod lxc;
mod memory;
mod schedule;
mod support;
mod survive;
mod turns;
mod wishes;
mod witness;
mod worlds;
