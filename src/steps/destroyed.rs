//! The end of a container: it is no more, because a person asked for it by name.
//!
//! Only what phoenix made is destroyed: the journal knows that it did, and the container carries
//! this journal's mark. Who needs it is looked at before the run begins.

use super::defined::{is_creation, left_locked, locked_source, ours};
use super::{Context, Problems, Work};
use crate::domain::action::Action;
use crate::domain::diagnostic::Problem;
use crate::domain::observed::ObservedContainer;

pub(super) fn compare(cx: &Context<'_>) -> Result<Work, Problems> {
    let Some(seen) = cx.observed else {
        return Ok(Work::default());
    };
    if seen.half_created() && ours(cx, is_creation) {
        return Ok(Work::of(vec![Action::Discard {
            source: locked_source(cx),
        }]));
    }
    if !made_by_us(cx, seen) {
        return Err(vec![Problem::new(
            "",
            format!(
                "container {} was not made by phoenix with this journal, so phoenix does not \
                 destroy it",
                cx.desired.ctid
            ),
            "remove it with the host's own tool if it is to go",
        )]);
    }
    let mut actions = vec![Action::Destroy];
    if left_locked(cx, seen) {
        actions.insert(0, Action::Unlock);
    }
    Ok(Work::of(actions))
}

fn made_by_us(cx: &Context<'_>, seen: &ObservedContainer) -> bool {
    let begun = seen.half_destroyed() && ours(cx, is_destruction);
    begun || (cx.record.created && seen.mark == Some(cx.own_mark()))
}

pub(super) fn is_destruction(action: &Action) -> bool {
    *action == Action::Destroy
}
