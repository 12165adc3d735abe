//! Tests of the whole: laws over generated worlds, crashes, the program itself.
#![expect(unreachable_pub, reason = "one binary, nothing outside of it")]

mod architecture;
mod coverage;
mod crash;
mod crash_journal;
mod hostile;
mod laws;
mod wishes;
mod worlds;
