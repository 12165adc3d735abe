//! Tests of the whole: laws over generated worlds, crashes, the program itself.
#![expect(unreachable_pub, reason = "one binary, nothing outside of it")]
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "helpers of tests fail like tests, and say what was skipped"
)]

mod architecture;
mod cli;
mod crash;
mod crash_journal;
mod laws;
mod support;
mod worlds;
