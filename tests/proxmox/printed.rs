//! What Proxmox VE writes is read as what it was: over generated containers, by the stand-in's
//! writer, which the recordings hold to Proxmox VE's.

use std::collections::BTreeMap;

use phoenix::domain::ids::Ctid;
use phoenix::domain::model;
use phoenix::domain::observed::{HostFacts, Status, Storage};
use phoenix::domain::setting::{Changes, Key, Value};
use phoenix::host::pct::conf::{Conf, observed};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::standin::File;

/// A key with a value as somebody could type it.
fn pair() -> impl Strategy<Value = (String, String)> {
    let of = |key: &str, values: &str| {
        let key = key.to_owned();
        proptest::string::string_regex(values)
            .expect("a pattern")
            .prop_map(move |value| (key.clone(), value))
    };
    prop_oneof![
        of("memory", "0{0,2}[1-9][0-9]{2,4}"),
        of("swap", "0{0,2}[0-9]{1,4}"),
        of("cores", "[1-9][0-9]?"),
        of("hostname", "[a-zA-Z][a-zA-Z0-9]{0,8}(\\.[a-z]{1,4})?"),
        of("onboot", "(0|1|yes|no|on|off|true)"),
        of("startup", "(order=[1-9]|[1-9]|up=[1-9],order=[0-9])"),
        of("nameserver", "[1-9]\\.1\\.1\\.1[, ]8\\.8\\.8\\.[1-9]"),
        of(
            "features",
            "(nesting=(1|0|yes)|keyctl=1,nesting=1|mount=nfs;cifs,fuse=1)"
        ),
        of(
            "net0",
            "name=eth0,bridge=vmbr0(,ip=(dhcp|10\\.0\\.0\\.[1-9]/24))?(,firewall=(1|yes))?(,hwaddr=(BC|bc):24:11:[0-9a-fA-F]{2}:00:01)?"
        ),
        of("net7", "(tag=[1-9],)?bridge=vmbr0,name=eth7,rate=1\\.0"),
        of("mp0", "/srv/[a-z]{1,4}//?,mp=/[a-z]{1,5}(,ro=(1|yes))?"),
        of("mp3", "local:(0|0\\.1|0\\.5|2\\.5|3),mp=/x(,backup=1)?"),
        of("tags", "[A-Ca-c]([;, ][A-Ca-c]){0,3}"),
        of("cpulimit", "[0-9]\\.[0-9]{1,2}"),
        of("searchdomain", "[a-z]{1,5}\\.[a-z]{2}"),
        of("lxc.cap.drop", "[a-z_]{1,8}"),
    ]
}

fn facts() -> HostFacts {
    let local = Storage {
        kind: "dir".to_owned(),
        free: None,
    };
    HostFacts {
        storages: [("local".to_owned(), local)].into(),
        bridges: ["vmbr0".to_owned()].into(),
        ..HostFacts::default()
    }
}

/// Changes of a container that runs or not, and what Proxmox VE wrote after them.
fn holds(pairs: &[(String, String)], runs: bool, description: &str) -> Result<(), TestCaseError> {
    let ctid: Ctid = "100".parse().expect("an id");
    let status = if runs {
        Status::Running
    } else {
        Status::Stopped
    };
    let mut file = File::read(
        "arch: amd64\nhostname: a\nmemory: 512\nrootfs: local:100/vm-100-disk-0.raw,size=1G\n",
    );
    let (mut changes, mut given) = (Changes::new(), BTreeMap::new());
    for (name, text) in pairs {
        let key: Key = name.parse().expect("a key");
        changes.insert(key.clone(), Some(key.parse_value(text).expect("a value")));
        given.insert(key, text.clone());
    }
    let before = file.typed(ctid, status);
    let mut after = model::set(&before, &facts(), ctid, &changes).expect("it is accepted");
    file.merge(&before, &after, &given);
    // The stand-in's `pct set` knows no raw lines, as Proxmox VE's does not: they are written.
    let raw = |key: &Key, value: &Value| match (key, value) {
        (Key::Lxc(name), Value::Lines(lines)) => lines
            .iter()
            .map(|line| (name.clone(), line.clone()))
            .collect::<Vec<_>>(),
        _ => Vec::new(),
    };
    for (key, value) in changes.iter().filter(|(key, _)| matches!(key, Key::Lxc(_))) {
        let value = value.clone().expect("a value");
        file.live.lxc.extend(raw(key, &value));
        after.pending.remove(key);
        file.pending.keys.remove(&key.to_string());
        after.settings.insert(key.clone(), value);
    }
    let own = description.trim_end_matches('\n');
    if !own.is_empty() {
        file.live.description = Some(own.to_owned());
        let key = Key::Other("description".to_owned());
        after.settings.insert(key, Value::Text(own.to_owned()));
    }
    let text = file.text();
    let conf = Conf::parse(&text);
    prop_assert_eq!(conf.to_string(), text.as_str());
    prop_assert_eq!(
        File::read(&text).text(),
        text.as_str(),
        "a second writing changes nothing"
    );
    prop_assert_eq!(observed(&conf, ctid, status, None), after, "{}", text);
    Ok(())
}

pub fn what_is_written_is_read_as_it_was() {
    let pairs = prop::collection::vec(pair(), 1..8);
    let input = (pairs, any::<bool>(), "[ -~ü:%#\\n]{0,20}");
    let config = Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&input, |(pairs, runs, description)| {
        let unique: BTreeMap<String, String> = pairs.into_iter().collect();
        let pairs: Vec<(String, String)> = unique.into_iter().collect();
        holds(&pairs, runs, &description)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
