//! The clock, and what is made of it and of chance: everything else takes these as arguments.

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

/// The clock of this machine.
#[derive(Debug)]
pub(super) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        now()
    }

    fn pause(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}
