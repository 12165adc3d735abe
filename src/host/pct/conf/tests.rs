use proptest::prelude::*;

use super::*;
use crate::domain::action::Mark;
use crate::domain::ids::{Ctid, JournalId};
use crate::domain::observed::{Lock, ObservedContainer, Status};
use crate::domain::setting::{Changes, Key, Value};

/// Files as a real node had them (Proxmox VE 8.4, recorded with `cat`).
const RECORDED: [&str; 4] = [
    "#line one
#line two%3A %C3%BC %25
arch: amd64
cores: 1
hostname: newname
memory: 256
net0: name=eth0,bridge=vmbr0,gw=10.99.0.1,hwaddr=bc:24:11:aa:bb:0c,ip=10.99.0.100/24,type=veth
onboot: 1
ostype: alpine
rootfs: local:100/vm-100-disk-0.raw,size=1G
startup: order=2,up=5,down=10
swap: 512
tags: a;b

[pve:pending]
features: nesting=1
nameserver: 1.1.1.1
searchdomain: ex.org
",
    "lock: create\n",
    "arch: amd64
hostname: deb
lock: snapshot
memory: 256
net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:57:E7:2A,ip=10.99.0.105/24,type=veth
ostype: debian
parent: k1
rootfs: btr:105/vm-105-disk-0.raw,size=1G
swap: 512

[k1]
arch: amd64
hostname: deb
memory: 128
ostype: debian
rootfs: btr:105/vm-105-disk-0.raw,size=1G
snaptime: 1795373710
swap: 512

[k0]
#killed
arch: amd64
hostname: deb
memory: 256
ostype: debian
parent: k1
rootfs: btr:105/vm-105-disk-0.raw,size=1G
snapstate: prepare
snaptime: 1795373860
swap: 512
",
    "# hand comment
#second
arch: amd64
bogus: 1
hostname: sp
memory: 128
mp0: mp=/h,volume=/srv/host
net0: bridge=vmbr0,name=eth0,hwaddr=BC:24:11:00:00:99,ip=dhcp,type=veth
ostype: alpine
rootfs: local:103/subvol-103-disk-0.subvol,size=0T
swap: 512
lxc.mount.entry: /srv srv none bind,create=dir 0 0
lxc.cap.drop: sys_rawio
lxc.environment: FOO=bar
",
];

fn ctid(text: &str) -> Ctid {
    text.parse().expect("an id")
}

fn seen(text: &str) -> ObservedContainer {
    observed(&Conf::parse(text), ctid("105"), Status::Stopped, None)
}

fn shown(container: &ObservedContainer, key: &str) -> Option<String> {
    let key: Key = key.parse().expect("a key");
    container.settings.get(&key).map(ToString::to_string)
}

fn lines(values: &[&str]) -> Option<Value> {
    let values = values.iter().map(|value| (*value).to_owned());
    Some(Value::Lines(values.collect()))
}

#[test]
fn recorded_files_are_printed_byte_for_byte() {
    for text in RECORDED {
        assert_eq!(Conf::parse(text).to_string(), text);
    }
}

#[test]
fn live_and_waiting_are_told_apart() {
    let container = seen(RECORDED[0]);
    assert_eq!(
        shown(&container, "description").as_deref(),
        Some("line one\nline two: ü %")
    );
    assert_eq!(shown(&container, "nameserver"), None);
    let waiting: Vec<String> = container
        .pending
        .iter()
        .map(|(key, value)| format!("{key} {}", value.as_ref().expect("a value")))
        .collect();
    assert_eq!(
        waiting,
        [
            "nameserver 1.1.1.1",
            "features nesting=1",
            "searchdomain ex.org"
        ]
    );
}

#[test]
fn deletions_wait_under_delete() {
    let text =
        "memory: 64\nmp0: /a,mp=/b\n\n[pve:pending]\ndelete: mp0,!mp1\nfeatures: nesting=0\n";
    let container = seen(text);
    let gone: Vec<String> = container
        .pending
        .iter()
        .filter(|(_, value)| value.is_none())
        .map(|(key, _)| key.to_string())
        .collect();
    assert_eq!(gone, ["mp0", "mp1"]);
    assert!(
        !container
            .settings
            .contains_key(&Key::Other("delete".to_owned()))
    );
}

#[test]
fn snapshots_are_sorted_by_their_time_and_the_unfinished_is_told() {
    let container = seen(RECORDED[2]);
    assert_eq!(container.lock, Some(Lock::Snapshot));
    assert_eq!(shown(&container, "memory").as_deref(), Some("256"));
    let found: Vec<(&str, bool)> = container
        .snapshots
        .iter()
        .map(|snapshot| (snapshot.name.as_str(), snapshot.incomplete))
        .collect();
    assert_eq!(found, [("k1", false), ("k0", true)]);
    let memory = &container.snapshots[0].settings[&Key::Memory];
    assert_eq!(*memory, Value::Number(128));
    assert!(
        !container.snapshots[0]
            .settings
            .contains_key(&Key::Other("snaptime".to_owned()))
    );
}

#[test]
fn a_creation_under_way_is_half_created() {
    assert!(seen(RECORDED[1]).half_created());
}

#[test]
fn what_a_hand_wrote_is_read_as_proxmox_reads_it() {
    let container = seen(RECORDED[3]);
    assert_eq!(shown(&container, "mp0").as_deref(), Some("/srv/host,mp=/h"));
    assert_eq!(
        container
            .settings
            .get(&"lxc.cap.drop".parse().expect("a key")),
        lines(&["sys_rawio"]).as_ref()
    );
    assert_eq!(
        shown(&container, "description").as_deref(),
        Some(" hand comment\nsecond")
    );
    let damaged = Conf::parse("memory: lots\nno key at all\n[x]\n\nlxc.idmap = u 0 1 2\n");
    assert_eq!(
        damaged.live().damage().collect::<Vec<_>>(),
        ["no key at all", "[x]"]
    );
    assert_eq!(
        damaged.live().lxc().collect::<Vec<_>>(),
        [("lxc.idmap", "u 0 1 2")]
    );
    let container = observed(&damaged, ctid("105"), Status::Stopped, None);
    assert_eq!(
        container.settings[&Key::Memory],
        Value::Text("lots".to_owned())
    );
}

#[test]
fn what_pct_config_prints_is_read_the_same() {
    let printed = "arch: amd64\ndescription: line one%0Aline two%3A %C3%BC %25%0A\n";
    let container = seen(printed);
    assert_eq!(
        shown(&container, "description").as_deref(),
        Some("line one\nline two: ü %")
    );
}

#[test]
fn the_digest_is_the_sha1_of_the_text() {
    // `printf 'lock: create\n' | sha1sum`
    assert_eq!(
        digest("lock: create\n"),
        "a7e9f8c42935261b36fcd1d7d6cd8cd41648da49"
    );
}

#[test]
fn a_mark_is_a_line_among_a_persons_own() {
    let mark = Mark {
        journal: JournalId(uuid::Uuid::from_u128(7)),
        ctid: ctid("105"),
    };
    let line = mark_line(&mark);
    assert_eq!(
        line,
        "phoenix made container 105, journal 00000000-0000-0000-0000-000000000007"
    );
    let text = marked(Some("web\nserver"), &mark);
    assert_eq!(text, format!("web\nserver\n{line}"));
    assert_eq!(marked(Some(&text), &mark), text, "never twice");
    let file: String = text.lines().map(|line| format!("#{line}\n")).collect();
    let container = seen(&file);
    assert_eq!(container.mark, Some(mark));
    assert_eq!(
        shown(&container, "description").as_deref(),
        Some("web\nserver")
    );
    let copy = observed(&Conf::parse(&file), ctid("106"), Status::Stopped, None);
    assert_eq!(copy.mark, None, "a copy made by hand is not ours");
    assert_eq!(seen(&format!("#{line}\n")).settings.len(), 0);
}

#[test]
fn raw_lines_are_changed_in_the_live_section_only() {
    let text = "memory: 64\nlxc.cap.drop = a\nswap: 1\nlxc.cap.drop: b\n\n[k1]\nlxc.cap.drop: b\n";
    let key = |name: &str| name.parse::<Key>().expect("a key");
    let same: Changes = [(key("lxc.cap.drop"), lines(&["a", "b"]))].into();
    assert_eq!(edit_raw(text, &same), text);
    let other: Changes = [
        (key("lxc.cap.drop"), lines(&["c"])),
        (key("lxc.idmap"), lines(&["u 0 1 2", "g 0 1 2"])),
        (key("memory"), Some(Value::Number(3))),
    ]
    .into();
    assert_eq!(
        edit_raw(text, &other),
        "memory: 64\nlxc.cap.drop: c\nswap: 1\nlxc.idmap: u 0 1 2\nlxc.idmap: g 0 1 2\n\n[k1]\nlxc.cap.drop: b\n"
    );
    let none: Changes = [(key("lxc.cap.drop"), None)].into();
    assert_eq!(
        edit_raw(text, &none),
        "memory: 64\nswap: 1\n\n[k1]\nlxc.cap.drop: b\n"
    );
    let unended: Changes = [(key("lxc.a"), lines(&["1"]))].into();
    assert_eq!(edit_raw("memory: 64", &unended), "memory: 64\nlxc.a: 1\n");
}

/// Lines of every kind, in any order, also those that nobody should write.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("[pve:pending]".to_owned()),
        "\\[[a-z][a-z0-9_-]{0,3}\\]",
        "#[ -~ü]{0,12}",
        "lxc\\.[a-z.]{1,6}(:|=| = )[ -~]{0,12}",
        "(memory|mp0|net1|lock|delete|description|hostname): [ -~]{0,12}",
        "[ -~\\r\\t]{0,16}",
    ]
}

fn file() -> impl Strategy<Value = String> {
    (prop::collection::vec(line(), 0..12), any::<bool>()).prop_map(|(lines, ended)| {
        let text = lines.join("\n");
        if ended { format!("{text}\n") } else { text }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_file_is_printed_as_it_was_read(text in file()) {
        let conf = Conf::parse(&text);
        prop_assert_eq!(conf.to_string(), text.as_str());
        prop_assert_eq!(Conf::parse(&conf.to_string()), conf);
    }

    #[test]
    fn an_edit_says_what_was_wanted_and_moves_nothing_else(
        text in file(),
        wanted in prop::collection::vec("[a-z0-9 ]{0,8}[a-z]", 0..4),
    ) {
        let key: Key = "lxc.idmap".parse().expect("a key");
        let changes: Changes = [(key.clone(), Some(Value::Lines(wanted.clone())))].into();
        let edited = edit_raw(&text, &changes);
        prop_assert_eq!(edit_raw(&edited, &changes), edited.as_str(), "a second time changes nothing");
        let trimmed: Vec<String> = wanted.iter().map(|value| value.trim().to_owned()).collect();
        let mut before = seen(&text);
        let mut after = seen(&edited);
        let found = after.settings.remove(&key).unwrap_or(Value::Lines(Vec::new()));
        prop_assert_eq!(found, Value::Lines(trimmed));
        before.settings.remove(&key);
        prop_assert_eq!(before, after);
    }
}
