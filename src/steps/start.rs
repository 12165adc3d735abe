//! State 7, `start_container`: it runs, and nothing that is declared waits for a restart.

use super::{Context, Problems, Work, configurations, dedicated_volumes, shared_volumes};
use crate::domain::action::Action;
use crate::domain::observed::{ObservedContainer, Status};
use crate::domain::setting::Key;

pub(super) fn compare(cx: &Context<'_>) -> Result<Work, Problems> {
    let seen = cx.existing()?;
    if seen.status == Status::Stopped {
        return Ok(Work::of(vec![Action::Start]));
    }
    let keys = waiting(cx, seen);
    if keys.is_empty() || cx.options.no_restart {
        return Ok(Work::default());
    }
    Ok(Work::of(vec![Action::Restart { keys }]))
}

/// The keys whose declared values wait for a restart. Other people's waiting changes are none of
/// ours: what is looked for is what the states before would change if nothing waited.
pub(super) fn waiting(cx: &Context<'_>, seen: &ObservedContainer) -> Vec<Key> {
    if seen.pending.is_empty() {
        return Vec::new();
    }
    let live = ObservedContainer {
        pending: std::collections::BTreeMap::new(),
        ..seen.clone()
    };
    let mut scrap = Work::default();
    let mut wanted = configurations::changes(cx, &live, &mut scrap);
    wanted.extend(shared_volumes::changes(cx, &live, &mut scrap).unwrap_or_default());
    wanted.extend(dedicated_volumes::changes(cx, &live, &mut scrap).unwrap_or_default());
    seen.pending
        .keys()
        .filter(|key| wanted.contains_key(key))
        .cloned()
        .collect()
}
