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

/// `pct snapshot`, described by what is to be known of it.
pub(super) fn snapshot(ctid: Ctid, name: &str, told: &str) -> Argv {
    let mut argv = words(["pct", "snapshot", &ctid.to_string(), name]);
    if !told.is_empty() {
        option(&mut argv, DESCRIPTION, told);
    }
    argv
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

#[cfg(test)]
mod tests {
    use super::super::quote::line;
    use super::*;
    use crate::domain::desired::Template;
    use crate::domain::ids::JournalId;
    use crate::domain::observed::Status;
    use crate::domain::setting::Settings;

    fn id(number: u32) -> Ctid {
        number.try_into().expect("an id")
    }

    fn mark(ctid: u32) -> Mark {
        Mark {
            journal: JournalId(uuid::Uuid::nil()),
            ctid: id(ctid),
        }
    }

    const MARK: &str = "phoenix made container 300, journal 00000000-0000-0000-0000-000000000000";

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let pair = |(key, text): &(&str, &str)| {
            let key: Key = key.parse().expect("a key");
            let value = key.parse_value(text).expect("a value");
            (key, value)
        };
        pairs.iter().map(pair).collect()
    }

    fn changes(pairs: &[(&str, &str)], gone: &[&str]) -> Changes {
        let set = settings(pairs)
            .into_iter()
            .map(|(key, value)| (key, Some(value)));
        let gone = gone.iter().map(|key| (key.parse().expect("a key"), None));
        set.chain(gone).collect()
    }

    fn seen(pairs: &[(&str, &str)], mark: Option<Mark>) -> ObservedContainer {
        let text: String = pairs
            .iter()
            .map(|(key, value)| format!("{key}: {value}\n"))
            .collect();
        let conf = conf::Conf::parse(&text);
        ObservedContainer {
            mark,
            ..conf::observed(&conf, id(300), Status::Running, None)
        }
    }

    /// The words as the recordings write them, options in any order.
    fn sorted(argv: &[String]) -> (Vec<String>, Vec<String>) {
        let fixed = argv.iter().take_while(|word| !word.starts_with("--"));
        let fixed: Vec<String> = fixed.cloned().collect();
        let mut pairs: Vec<String> = argv[fixed.len()..].chunks(2).map(line).collect();
        pairs.sort();
        (fixed, pairs)
    }

    #[test]
    fn a_creation_is_the_recorded_command() {
        let spec = CreateSpec {
            template: Template {
                file: "alpine-bb_3.19_amd64.tar.gz".to_owned(),
                storage: None,
            },
            storage: "local".to_owned(),
            disk: "256M".parse().expect("a size"),
            unprivileged: true,
            settings: settings(&[
                ("hostname", "Full.Example.ORG"),
                ("memory", "256"),
                ("swap", "0"),
                ("cores", "1"),
                ("onboot", "yes"),
                ("startup", "order=1"),
                ("tags", "z,a"),
                ("features", "nesting=1"),
                (
                    "net0",
                    "name=eth0,bridge=vmbr0,firewall=1,hwaddr=bc:24:11:00:00:01,ip=10.99.0.30/24,gw=10.99.0.1",
                ),
                ("nameserver", "10.99.0.1"),
                ("mp0", "local:0.1,mp=/data"),
                ("lxc.idmap", "u 0 100000 65536"),
                ("description", "a b"),
            ]),
            mark: mark(300),
        };
        let argv = create(id(300), &spec, "local:vztmpl/alpine-bb_3.19_amd64.tar.gz");
        let (fixed, options) = sorted(&argv);
        assert_eq!(
            fixed,
            [
                "pct",
                "create",
                "300",
                "local:vztmpl/alpine-bb_3.19_amd64.tar.gz"
            ]
        );
        let mut expected = vec![
            "--cores 1".to_owned(),
            format!("--description 'a b\n{MARK}'"),
            "--features 'nesting=1'".to_owned(),
            "--hostname Full.Example.ORG".to_owned(),
            "--memory 256".to_owned(),
            // 0.1 G is allocated as 102 MiB, and asked for as what it will be.
            "--mp0 'local:0.099609375,mp=/data'".to_owned(),
            "--nameserver 10.99.0.1".to_owned(),
            "--net0 'name=eth0,bridge=vmbr0,firewall=1,gw=10.99.0.1,hwaddr=bc:24:11:00:00:01,ip=10.99.0.30/24'".to_owned(),
            "--onboot 1".to_owned(),
            "--rootfs local:0.25".to_owned(),
            "--startup 'order=1'".to_owned(),
            "--swap 0".to_owned(),
            "--tags 'a;z'".to_owned(),
            "--unprivileged 1".to_owned(),
        ];
        expected.sort();
        assert_eq!(options, expected);
    }

    #[test]
    fn a_clone_is_of_a_snapshot_and_full() {
        let spec = CloneSpec {
            source: id(101),
            snapshot: "s1".to_owned(),
            hostname: "cl3".to_owned(),
            storage: "local".to_owned(),
            mark: mark(300),
        };
        assert_eq!(
            line(clone(id(203), &spec)),
            format!(
                "pct clone 101 203 --snapname s1 --hostname cl3 --storage local --full 1 --description '{MARK}'"
            )
        );
    }

    #[test]
    fn a_change_is_one_guarded_command() {
        let found = seen(
            &[("net0", "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:99")],
            None,
        );
        let wanted = changes(
            &[
                ("memory", "256"),
                ("cores", "1"),
                ("net0", "name=eth0,bridge=vmbr1,ip=dhcp"),
                ("mp1", "/srv/host,mp=/mnt/h,ro=1"),
                ("mp2", "local:0.5,mp=/d2,backup=1,ro=1"),
                ("tags", ""),
                ("lxc.cap.drop", "sys_rawio"),
            ],
            &["mp0", "net1"],
        );
        let argv = set(id(300), &wanted, &found, Some("d1")).expect("a command");
        assert_eq!(
            line(argv),
            "pct set 300 --memory 256 --cores 1 \
             --net0 'name=eth0,bridge=vmbr1,hwaddr=BC:24:11:00:00:99,ip=dhcp' \
             --mp1 '/srv/host,mp=/mnt/h,ro=1' --mp2 'local:0.5,mp=/d2,backup=1,ro=1' \
             --delete net1,mp0,tags --digest d1"
        );
    }

    #[test]
    fn raw_lines_alone_are_no_command() {
        let found = seen(&[], None);
        let wanted = changes(&[("lxc.cap.drop", "sys_rawio")], &["lxc.idmap"]);
        assert_eq!(set(id(300), &wanted, &found, Some("d1")), None);
    }

    #[test]
    fn a_description_keeps_the_mark() {
        let ours = seen(&[], Some(mark(300)));
        let argv = |wanted: &Changes, found| set(id(300), wanted, found, None).map(line);
        let changed = changes(&[("description", "two\nlines")], &[]);
        assert_eq!(
            argv(&changed, &ours),
            Some(format!("pct set 300 --description 'two\nlines\n{MARK}'"))
        );
        let gone = changes(&[], &["description"]);
        assert_eq!(
            argv(&gone, &ours),
            Some(format!("pct set 300 --description '{MARK}'"))
        );
        let foreign = seen(&[], None);
        assert_eq!(
            argv(&gone, &foreign),
            Some("pct set 300 --delete description".to_owned())
        );
    }

    #[test]
    fn the_rest_is_as_recorded() {
        let size = "1536M".parse().expect("a size");
        let mp0 = "mp0".parse().expect("a key");
        assert_eq!(
            line(resize(id(100), &mp0, size)),
            "pct resize 100 mp0 1536M"
        );
        assert_eq!(line(start(id(100))), "pct start 100");
        assert_eq!(
            line(shutdown(id(300), 3)),
            "pct shutdown 300 --timeout 3 --forceStop 1"
        );
        assert_eq!(line(snapshot(id(101), "s1", "")), "pct snapshot 101 s1");
        assert_eq!(
            line(snapshot(id(101), "s1", "first snap")),
            "pct snapshot 101 s1 --description 'first snap'"
        );
        assert_eq!(line(unlock(id(105))), "pct unlock 105");
        assert_eq!(
            line(remove_snapshot(id(105), "k2")),
            "pct delsnapshot 105 k2 --force 1"
        );
    }

    #[test]
    fn sizes_are_asked_for_to_the_last_byte() {
        for (size, expected) in [
            ("1G", "1"),
            ("512M", "0.5"),
            ("1536M", "1.5"),
            ("102M", "0.099609375"),
            ("2T", "2048"),
            ("0T", "0"),
        ] {
            let size: DiskSize = size.parse().expect("a size");
            assert_eq!(gib(size), expected);
        }
    }
}
