//! State 6, `ensure_container_disk_size`: the root disk has the declared size.

use super::{Context, Problems, Work};
use crate::domain::action::Action;
use crate::domain::diagnostic::Problem;
use crate::domain::setting::Key;

pub(super) fn compare(cx: &Context<'_>) -> Result<Work, Problems> {
    let seen = cx.existing()?;
    let problems = problems(cx);
    if !problems.is_empty() {
        return Err(problems);
    }
    let size = cx.desired.disk;
    let smaller = seen.rootfs().filter(|rootfs| rootfs.size < size);
    let resize = smaller.map(|rootfs| Action::Resize {
        was: Some(rootfs.size),
        disk: Key::Rootfs,
        size,
    });
    Ok(Work::of(resize.into_iter().collect()))
}

/// A disk that would have to shrink.
pub(super) fn problems(cx: &Context<'_>) -> Problems {
    let rootfs = cx.observed.and_then(|seen| seen.rootfs());
    let larger = rootfs.filter(|rootfs| rootfs.size > cx.desired.disk);
    let problem = larger.map(|rootfs| {
        Problem::new(
            "storage_size_gb",
            format!(
                "the root disk has {}, and {} is declared: unable to shrink disk size",
                rootfs.size, cx.desired.disk
            ),
            format!("declare at least {}", rootfs.size),
        )
    });
    problem.into_iter().collect()
}
