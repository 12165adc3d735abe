//! Actions as command lines of Proxmox VE. Pure: held against what was recorded.

use super::conf;
use crate::domain::action::{CloneSpec, CreateSpec, Mark};
use crate::domain::ids::Ctid;
use crate::domain::observed::ObservedContainer;
use crate::domain::options::{Mount, Net, Source};
use crate::domain::setting::{Changes, Key, Value};
use crate::domain::units::DiskSize;

/// A command with its arguments.
pub(super) type Argv = Vec<String>;

fn words<const N: usize>(words: [&str; N]) -> Argv {
    words.map(str::to_owned).to_vec()
}

fn option(argv: &mut Argv, name: &str, value: impl Into<String>) {
    argv.push(format!("--{name}"));
    argv.push(value.into());
}

const GIB: u64 = 1024 * 1024 * 1024;

/// A size as the GiB that an allocation asks for, to the last byte: `1.5` for 1536M.
fn gib(size: DiskSize) -> String {
    let whole = size.get() / GIB;
    let mut rest = size.get() % GIB;
    let mut digits = String::new();
    while rest > 0 {
        rest *= 10;
        digits.push(char::from(b'0' + u8::try_from(rest / GIB).unwrap_or(0)));
        rest %= GIB;
    }
    if digits.is_empty() {
        whole.to_string()
    } else {
        format!("{whole}.{digits}")
    }
}

/// A value as `pct` takes it; none where it says nothing, so that the key is deleted.
fn value(value: &Value) -> Option<String> {
    let text = match value {
        Value::Mount(mount) => mount_value(mount),
        other => other.to_string(),
    };
    (!text.is_empty()).then_some(text)
}

/// A volume without a name is asked for by its size.
fn mount_value(mount: &Mount) -> String {
    match &mount.source {
        Source::Volume(volume) if volume.name.is_none() => {
            let size = gib(mount.size.unwrap_or_default());
            let mut text = format!("{}:{size},mp={}", volume.storage, mount.path);
            for (key, value) in &mount.other {
                text.push_str(&format!(",{key}={value}"));
            }
            text
        }
        _ => mount.to_string(),
    }
}

const DESCRIPTION: &str = "description";

fn described(value: Option<&Value>) -> Option<String> {
    value.map(Value::to_string)
}

/// `pct create`.
pub(super) fn create(ctid: Ctid, spec: &CreateSpec, archive: &str) -> Argv {
    let mut argv = words(["pct", "create"]);
    argv.extend([ctid.to_string(), archive.to_owned()]);
    let rootfs = format!("{}:{}", spec.storage, gib(spec.disk));
    option(&mut argv, "rootfs", rootfs);
    for (key, set) in &spec.settings {
        let own = matches!(key, Key::Rootfs | Key::Lxc(_));
        if own || *key == Key::Other(DESCRIPTION.to_owned()) {
            continue;
        }
        if let Some(text) = value(set) {
            option(&mut argv, &key.to_string(), text);
        }
    }
    let unprivileged = if spec.unprivileged { "1" } else { "0" };
    option(&mut argv, "unprivileged", unprivileged);
    let own = described(spec.settings.get(&Key::Other(DESCRIPTION.to_owned())));
    option(
        &mut argv,
        DESCRIPTION,
        conf::marked(own.as_deref(), &spec.mark),
    );
    argv
}

/// `pct clone`, of a snapshot, which is always a full copy.
pub(super) fn clone(ctid: Ctid, spec: &CloneSpec) -> Argv {
    let mut argv = words(["pct", "clone"]);
    argv.extend([spec.source.to_string(), ctid.to_string()]);
    option(&mut argv, "snapname", &spec.snapshot);
    option(&mut argv, "hostname", &spec.hostname);
    option(&mut argv, "storage", &spec.storage);
    option(&mut argv, "full", "1");
    // The snapshot's description would come with it, and somebody's mark.
    option(&mut argv, DESCRIPTION, conf::mark_line(&spec.mark));
    argv
}

/// What `pct set` is to be told of some changes; none if all of them are raw lines.
pub(super) fn set(
    ctid: Ctid,
    changes: &Changes,
    seen: &ObservedContainer,
    digest: Option<&str>,
) -> Option<Argv> {
    let mut argv = words(["pct", "set"]);
    argv.push(ctid.to_string());
    let bare = argv.len();
    let mut deleted = Vec::new();
    for (key, change) in changes {
        let text = match (key, change) {
            (Key::Lxc(_), _) => continue,
            (Key::Other(name), change) if name == DESCRIPTION => {
                description(change.as_ref(), seen.mark.as_ref())
            }
            (Key::Net(_), Some(Value::Net(net))) => Some(with_address(net, seen, key)),
            (_, Some(change)) => value(change),
            (_, None) => None,
        };
        match text {
            Some(text) => option(&mut argv, &key.to_string(), text),
            None => deleted.push(key.to_string()),
        }
    }
    if !deleted.is_empty() {
        option(&mut argv, "delete", deleted.join(","));
    }
    if argv.len() == bare {
        return None;
    }
    if let Some(digest) = digest {
        option(&mut argv, "digest", digest);
    }
    Some(argv)
}

/// A person's words, and the mark that stands among them.
fn description(change: Option<&Value>, mark: Option<&Mark>) -> Option<String> {
    let own = described(change);
    match mark {
        Some(mark) => Some(conf::marked(own.as_deref(), mark)),
        None => own.filter(|own| !own.is_empty()),
    }
}

/// Without the address that an interface has, Proxmox VE would give it a new one.
fn with_address(net: &Net, seen: &ObservedContainer, key: &Key) -> String {
    let mut net = net.clone();
    if net.hwaddr.is_none()
        && let Some(Value::Net(live)) = seen.settings.get(key)
    {
        net.hwaddr.clone_from(&live.hwaddr);
    }
    net.to_string()
}

/// `pct resize`.
pub(super) fn resize(ctid: Ctid, disk: &Key, size: DiskSize) -> Argv {
    let mut argv = words(["pct", "resize"]);
    argv.extend([ctid.to_string(), disk.to_string(), size.to_string()]);
    argv
}

/// `pct start`.
pub(super) fn start(ctid: Ctid) -> Argv {
    words(["pct", "start", &ctid.to_string()])
}

/// `pct shutdown`: its init is asked, and it is stopped hard when that does not help.
pub(super) fn shutdown(ctid: Ctid, seconds: u32) -> Argv {
    let mut argv = words(["pct", "shutdown", &ctid.to_string()]);
    option(&mut argv, "timeout", seconds.to_string());
    option(&mut argv, "forceStop", "1");
    argv
}

/// `pct snapshot`.
pub(super) fn snapshot(ctid: Ctid, name: &str) -> Argv {
    words(["pct", "snapshot", &ctid.to_string(), name])
}

/// `pct unlock`.
pub(super) fn unlock(ctid: Ctid) -> Argv {
    words(["pct", "unlock", &ctid.to_string()])
}

/// `pct delsnapshot`, of one that was never finished: its disks may not exist.
pub(super) fn remove_snapshot(ctid: Ctid, name: &str) -> Argv {
    let mut argv = words(["pct", "delsnapshot", &ctid.to_string(), name]);
    option(&mut argv, "force", "1");
    argv
}

/// `pveam download`.
pub(super) fn download(storage: &str, file: &str) -> Argv {
    words(["pveam", "download", storage, file])
}
