//! State 9, `run_application_script`: it has run in this container, with this content and these
//! inputs.

use super::{Context, Problems, Work, features};

pub(super) fn compare(cx: &Context<'_>) -> Result<Work, Problems> {
    cx.existing()?;
    let action = match &cx.desired.application {
        Some(script) => features::run(cx, script)?,
        None => None,
    };
    Ok(Work::of(action.into_iter().collect()))
}
