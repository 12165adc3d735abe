//! The clock, and what is made of it and of chance: everything else takes these as arguments.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, Utc};
use uuid::Uuid;

use crate::domain::ids::{JournalId, RunId};
use crate::engine::Clock;

/// The time, to the millisecond: what the journal keeps of it.
#[expect(clippy::disallowed_methods, reason = "this is the clock's one home")]
pub(super) fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}

#[expect(clippy::disallowed_methods, reason = "this is the ids' one home")]
pub(super) fn new_uuid() -> Uuid {
    Uuid::now_v7()
}

pub(super) fn new_run() -> RunId {
    RunId(new_uuid())
}

pub(super) fn new_journal() -> JournalId {
    JournalId(new_uuid())
}

/// The clock of this machine. Its pauses end early when the flag is set.
#[derive(Debug)]
pub(super) struct SystemClock<'a> {
    /// Set when the person wants phoenix to stop.
    pub(super) stop: &'a AtomicBool,
}

impl Clock for SystemClock<'_> {
    fn now(&self) -> DateTime<Utc> {
        now()
    }

    fn pause(&self, duration: Duration) {
        /// How long a person waits at most before the pause ends.
        const SLICE: Duration = Duration::from_millis(50);
        let mut left = duration;
        while !left.is_zero() && !self.stop.load(Ordering::SeqCst) {
            let slice = left.min(SLICE);
            std::thread::sleep(slice);
            left -= slice;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_when_the_person_wants_to_stop() {
        let stop = AtomicBool::new(true);
        // Without the end this takes longer than anybody waits.
        SystemClock { stop: &stop }.pause(Duration::MAX);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let pause = scope.spawn(|| SystemClock { stop: &stop }.pause(Duration::MAX));
            stop.store(true, Ordering::SeqCst);
            assert!(pause.join().is_ok());
        });
    }
}
