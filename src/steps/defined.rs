//! State 2, `ensure_container_defined`: the container exists, whole.

use super::destroyed::is_destruction;
use super::{Context, Problems, Work, configurations};
use crate::domain::action::{Action, CloneSpec, CreateSpec, Mark};
use crate::domain::desired::{Origin, Template};
use crate::domain::diagnostic::Problem;
use crate::domain::ids::Ctid;
use crate::domain::observed::{Lock, ObservedContainer, TemplateState};
use crate::domain::setting::{Key, Settings, Value};

pub(super) fn compare(cx: &Context<'_>) -> Result<Work, Problems> {
    let problems = problems(cx);
    if !problems.is_empty() {
        return Err(problems);
    }
    match cx.observed {
        None => make(cx),
        Some(seen) if seen.half_created() => {
            let mut work = make(cx)?;
            work.actions.insert(
                0,
                Action::Discard {
                    source: locked_source(cx),
                },
            );
            Ok(work)
        }
        Some(seen) if seen.half_destroyed() => {
            let mut work = make(cx)?;
            work.actions.insert(0, Action::Destroy);
            Ok(work)
        }
        // It would refuse everything that follows, and would not pass.
        Some(seen) if left_locked(cx, seen) => Ok(Work::of(vec![Action::Unlock])),
        Some(_) => Ok(Work::default()),
    }
}

/// What no action can cure.
pub(super) fn problems(cx: &Context<'_>) -> Problems {
    let Some(seen) = cx.observed else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    if seen.half_created() {
        if !ours(cx, is_creation) {
            problems.push(Problem::new(
                "",
                format!(
                    "container {} is half-created (CT is locked (create)), and not by phoenix",
                    cx.desired.ctid
                ),
                "wait until its creation is done; if nobody is at it, unlock and destroy it by hand",
            ));
        }
        return problems;
    }
    if seen.half_destroyed() {
        if !ours(cx, is_destruction) {
            problems.push(Problem::new(
                "",
                format!(
                    "container {} is being destroyed (CT is locked (destroyed)), and not by phoenix",
                    cx.desired.ctid
                ),
                "wait until it is gone; if nobody is at it, unlock and destroy it by hand",
            ));
        }
        return problems;
    }
    if seen.unprivileged != cx.desired.unprivileged {
        let word = |unprivileged| {
            if unprivileged {
                "unprivileged"
            } else {
                "privileged"
            }
        };
        problems.push(Problem::new(
            "unprivileged",
            format!(
                "the container is {}, and {} is declared; that cannot be changed",
                word(seen.unprivileged),
                word(cx.desired.unprivileged)
            ),
            "declare what it is, or destroy it so that it is made anew",
        ));
    }
    if seen.template {
        problems.push(Problem::new(
            "",
            "the container was turned into a Proxmox VE template, which never starts",
            "destroy it so that it is made anew, or take it out of the configuration",
        ));
    }
    problems
}

pub(super) fn is_creation(action: &Action) -> bool {
    matches!(action, Action::Create(_) | Action::Clone(_))
}

/// A snapshot, or the unlocking after one.
pub(super) fn is_snapshot(action: &Action) -> bool {
    matches!(action, Action::Snapshot { .. } | Action::Unlock)
}

/// Whether it carries a lock that an action of ours left which was killed: a clone on its source,
/// a snapshot.
pub(super) fn left_locked(cx: &Context<'_>, seen: &ObservedContainer) -> bool {
    match seen.lock {
        Some(Lock::Disk) => cx.lent,
        Some(Lock::Snapshot) => ours(cx, is_snapshot),
        _ => false,
    }
}

/// Whether such an action of ours is not known to have come to its end.
pub(super) fn ours(cx: &Context<'_>, kind: fn(&Action) -> bool) -> bool {
    cx.record.unsettled.iter().any(kind)
}

/// The source of a killed clone of ours, if it still carries that clone's lock.
pub(super) fn locked_source(cx: &Context<'_>) -> Option<Ctid> {
    cx.record.unsettled.iter().find_map(|action| match action {
        Action::Clone(spec) => {
            let source = cx.world.containers.get(&spec.source)?;
            (source.lock == Some(Lock::Disk)).then_some(spec.source)
        }
        _ => None,
    })
}

fn make(cx: &Context<'_>) -> Result<Work, Problems> {
    let mark = cx.own_mark();
    match &cx.desired.origin {
        Origin::Nothing => Ok(Work::default()),
        Origin::Template(template) => Ok(create(cx, template, mark)),
        Origin::Clone { source, snapshot } => {
            let seen = cx.world.containers.get(source).map(|seen| &**seen);
            can_be_cloned(cx, *source, snapshot, seen)?;
            let actions = vec![Action::Clone(Box::new(CloneSpec {
                source: *source,
                snapshot: snapshot.clone(),
                hostname: cx.desired.name.clone(),
                storage: cx.desired.storage.clone(),
                mark,
            }))];
            Ok(Work {
                actions,
                claims: configurations::claims(cx),
            })
        }
    }
}

fn create(cx: &Context<'_>, template: &Template, mark: Mark) -> Work {
    // Raw lines cannot be given to a creation; state 3 adds them.
    let settings: Settings = cx
        .desired
        .settings
        .iter()
        .filter(|(key, _)| !matches!(key, Key::Lxc(_)))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut actions = Vec::new();
    if cx.world.host.templates.get(&template.file) == Some(&TemplateState::Downloadable) {
        actions.push(Action::FetchTemplate(template.clone()));
    }
    actions.push(Action::Create(Box::new(CreateSpec {
        template: template.clone(),
        storage: cx.desired.storage.clone(),
        disk: cx.desired.disk,
        unprivileged: cx.desired.unprivileged,
        settings,
        mark,
    })));
    Work {
        actions,
        claims: configurations::claims(cx),
    }
}

fn can_be_cloned(
    cx: &Context<'_>,
    source: Ctid,
    name: &str,
    seen: Option<&ObservedContainer>,
) -> Result<(), Problems> {
    let problem =
        |message: String, help: &str| Err(vec![Problem::new("clone_from_ctid", message, help)]);
    let Some(seen) = seen else {
        return problem(
            format!("its clone source {source} does not exist"),
            "declare the source, so that phoenix makes it first",
        );
    };
    let Some(snapshot) = seen.snapshot(name) else {
        return problem(
            format!("its clone source {source} has no snapshot '{name}'"),
            "apply the source first; its last state takes the snapshot",
        );
    };
    if seen.unprivileged != cx.desired.unprivileged {
        return Err(vec![Problem::new(
            "unprivileged",
            format!("a clone is as privileged as its source {source}, which differs"),
            "declare the same `unprivileged` for both, or another source",
        )]);
    }
    for (key, value) in &snapshot.settings {
        match value {
            Value::Rootfs(rootfs) if rootfs.size > cx.desired.disk => {
                return Err(vec![Problem::new(
                    "storage_size_gb",
                    format!(
                        "{} is declared, and the disk of its clone source {source} has {}; \
                         disks only grow",
                        cx.desired.disk, rootfs.size
                    ),
                    "declare at least the source's size",
                )]);
            }
            Value::Mount(mount)
                if matches!(mount.source, crate::domain::options::Source::Host(_)) =>
            {
                return problem(
                    format!("unable to clone mountpoint '{key}' of {source} (type bind)"),
                    "take the bind mount off the source, and its snapshot anew",
                );
            }
            _ => {}
        }
    }
    Ok(())
}
