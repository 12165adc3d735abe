//! State 10, `run_health_check`: the check passed, and nothing was changed since. No check
//! declared is told apart from healthy: there is nothing to hold then.

use super::{Context, Problems, Work};
use crate::domain::action::Action;

pub(super) fn compare(cx: &Context<'_>) -> Result<Work, Problems> {
    cx.existing()?;
    let Some(check) = &cx.desired.health else {
        return Ok(Work::default());
    };
    let passed = cx.record.healthy.is_some_and(|(digest, run)| {
        check.has_recorded_digest(digest) && (!cx.options.check_health || run == cx.run)
    });
    if passed && !cx.disturbed {
        return Ok(Work::default());
    }
    Ok(Work::of(vec![Action::CheckHealth(Box::new(check.clone()))]))
}
