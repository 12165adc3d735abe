//! Host directories that several mounts declare: what they want of one directory must go together,
//! or each apply would undo what the one before it did.

use std::collections::HashMap;

use super::findings::{At, File, Findings};
use crate::domain::desired::{DesiredBind, DesiredContainer, DesiredState};
use crate::domain::ids::Ctid;

/// A value for a directory, and by whom it was declared first.
struct First<T> {
    value: T,
    who: String,
}

/// What is declared for one directory.
#[derive(Default)]
struct Wanted {
    owner: Option<First<(u32, u32)>>,
    mode: Option<First<u32>>,
    /// The host's ids of the root of a container that declares no owner.
    root: Option<First<(u32, u32)>>,
    /// A mount without an owner whose container has another root: where an owner is missing.
    torn: Option<(Ctid, String, String)>,
}

/// Reports what contradicts itself.
pub(super) fn check(desired: &DesiredState, findings: &mut Findings) {
    let mut wanted: HashMap<&str, Wanted> = HashMap::new();
    for container in desired.containers.values() {
        for bind in &container.binds {
            let wanted = wanted.entry(&bind.host_path).or_default();
            owner(wanted, container, bind, findings);
            mode(wanted, container, bind, findings);
        }
    }
    let mut torn: Vec<_> = wanted
        .into_iter()
        // A declared owner decides for all.
        .filter(|(_, wanted)| wanted.owner.is_none())
        .filter_map(|(path, wanted)| Some((path, wanted.torn?)))
        .collect();
    torn.sort_unstable();
    for (path, (ctid, declared_at, first)) in torn {
        let message = format!(
            "nobody declares the owner of '{path}', which would be the root of this container or \
             of the one of {first}, and on the host these are different users"
        );
        let help = "declare owner_uid and owner_gid";
        at_mount(ctid, &declared_at, "", |at| {
            findings.key_error(at, message.clone(), help)
        });
    }
}

fn owner(
    wanted: &mut Wanted,
    container: &DesiredContainer,
    bind: &DesiredBind,
    findings: &mut Findings,
) {
    let on_host = |(uid, gid)| (container.host_id('u', uid), container.host_id('g', gid));
    let who = who(container.ctid, bind);
    let Some(owner) = bind.owner.map(on_host) else {
        let root = on_host((0, 0));
        match &wanted.root {
            None => wanted.root = Some(First { value: root, who }),
            // A shared volume has no key for an owner.
            Some(first) if first.value != root && !shared(bind) && wanted.torn.is_none() => {
                let place = (container.ctid, bind.declared_at.clone(), first.who.clone());
                wanted.torn = Some(place);
            }
            Some(_) => {}
        }
        return;
    };
    match &wanted.owner {
        None => wanted.owner = Some(First { value: owner, who }),
        Some(first) if first.value != owner => {
            let message = format!(
                "{}:{} on the host, but {} declares {}:{} for '{}'",
                owner.0, owner.1, first.who, first.value.0, first.value.1, bind.host_path
            );
            let help = "a directory has one owner: declare the same one, as the host numbers it, \
                        in both places, or two directories";
            at_mount(container.ctid, &bind.declared_at, "owner_uid", |at| {
                findings.error(at, message.clone(), help);
            });
        }
        Some(_) => {}
    }
}

fn mode(
    wanted: &mut Wanted,
    container: &DesiredContainer,
    bind: &DesiredBind,
    findings: &mut Findings,
) {
    let who = who(container.ctid, bind);
    match (&wanted.mode, bind.mode) {
        (None, Some(value)) => wanted.mode = Some(First { value, who }),
        (Some(first), Some(mode)) if first.value != mode => {
            let message = format!(
                "{mode:04o}, but {} declares {:04o} for '{}'",
                first.who, first.value, bind.host_path
            );
            let help = "a directory has one mode: declare the same in both places";
            at_mount(container.ctid, &bind.declared_at, "mode", |at| {
                findings.error(at, message.clone(), help);
            });
        }
        _ => {}
    }
}

fn shared(bind: &DesiredBind) -> bool {
    bind.declared_at.starts_with("shared_volumes.")
}

fn who(ctid: Ctid, bind: &DesiredBind) -> String {
    if shared(bind) {
        bind.declared_at.clone()
    } else {
        format!("lxc_configs.{ctid}.{}", bind.declared_at)
    }
}

/// Goes to the key of a mount's declaration; empty: to the mount.
fn at_mount(ctid: Ctid, declared_at: &str, key: &str, mut report: impl FnMut(&At<'_>)) {
    let mut there = |mount: &At<'_>| {
        if key.is_empty() {
            report(mount);
        } else {
            report(&mount.key(key));
        }
    };
    if let Some(name) = declared_at.strip_prefix("shared_volumes.") {
        let file = At::File(File::Hypervisor);
        there(&file.key("shared_volumes").key(name));
    } else if let Some((list, index)) = declared_at.split_once('[') {
        let index = index.trim_end_matches(']').parse().unwrap_or_default();
        let id = ctid.to_string();
        let file = At::File(File::Lxc);
        let all = file.key("lxc_configs");
        let own = all.key(&id);
        there(&own.key(list).index(index));
    }
}
