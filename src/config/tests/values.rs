//! What the files mean, when they are sound.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::domain::desired::{DesiredContainer, OnUnknown, Origin, Place, Template};
use crate::domain::ids::{Ctid, Digest};

fn container(loaded: &Loaded, number: u32) -> &DesiredContainer {
    let ctid = Ctid::try_from(number).expect("an id");
    loaded.desired.containers.get(&ctid).expect("declared")
}

fn settings(container: &DesiredContainer) -> Vec<String> {
    container
        .settings
        .iter()
        .map(|(key, value)| format!("{key}: {value}"))
        .collect()
}

fn id(number: u32) -> Ctid {
    Ctid::try_from(number).expect("an id")
}

#[test]
fn everything_that_is_declared_arrives() {
    let (dir, loaded) = changed(&[
        (
            'l',
            "\"ports\": [\"80:80\"],",
            "\"ports\": [\"80:80\"], \"swap_mb\": 0, \"start_at_boot\": true, \"boot_order\": 3, \"boot_delay\": 5, \"pct_options\": [\"keyctl=yes\"], \"lxc_options\": [\"lxc.mount.auto=sys:rw\", \"lxc.cap.drop: mknod\", \"lxc.cap.drop:sys_time\"], \"apparmor_profile\": \"unconfined\", \"id_maps\": [{\"type\": \"u\", \"container_id\": 0, \"host_id\": 100000, \"size\": 65536}, {\"type\": \"g\", \"container_id\": 0, \"host_id\": 100000, \"size\": 65536}], \"gpu_assignment\": \"0, 1\", \"bootstrap_ca_url\": \"https://ca\", \"node\": \"pve2\", \"on_unknown\": \"stop\",",
        ),
        (
            'l',
            "\"gw\": \"10.0.0.1\" },\n      \"mac_address\"",
            "\"nameservers\": \"10.0.0.1, 9.9.9.9\" },\n      \"mac_address\"",
        ),
        (
            'l',
            "[\"base\", \"gpu\"]",
            "[\"base\", \"gpu\", \"docker\"]",
        ),
    ]);
    let web = container(&loaded, 101);
    assert!(serious(&loaded).is_empty(), "{:?}", loaded.diagnostics);
    assert_eq!(
        settings(web),
        [
            "hostname: web",
            "memory: 1024",
            "swap: 0",
            "cores: 2",
            "onboot: 1",
            "startup: order=3,up=5,down=5",
            "nameserver: 10.0.0.1 9.9.9.9",
            "features: keyctl=1,nesting=1",
            "net0: name=eth0,bridge=vmbr0,hwaddr=52:54:00:00:00:01,ip=10.0.0.101/24",
            "lxc.apparmor.profile: unconfined",
            "lxc.cap.drop: mknod | sys_time",
            "lxc.idmap: u 0 100000 65536 | g 0 100000 65536",
            "lxc.mount.auto: sys:rw",
        ]
    );
    assert_eq!(web.gpus, [0, 1].into());
    assert_eq!(web.node.as_deref(), Some("pve2"));
    assert_eq!(web.on_unknown, OnUnknown::Stop);
    assert_eq!(
        (web.boot_order, web.disk.to_string()),
        (Some(3), "8G".to_owned())
    );
    let bin = dir.path().canonicalize().expect("a directory").join("bin");
    let features: Vec<_> = web
        .features
        .iter()
        .map(|f| (f.name.as_str(), f.place))
        .collect();
    assert_eq!(
        features,
        [
            ("base", Place::Container),
            ("gpu", Place::Host),
            ("docker", Place::Container)
        ]
    );
    assert_eq!(web.features[0].path, bin.join("features/base.sh"));
    assert_eq!(web.features[0].content, Digest::of(b"#!/bin/sh\n# base\n"));
    assert_eq!(web.features[0].arguments, ["https://ca"]);
    assert_eq!(
        web.features[0].inputs,
        Digest::of_parts([b"https://ca".as_slice()])
    );
    assert_eq!(
        web.application.as_ref().map(|script| script.name.as_str()),
        Some("app.sh")
    );
}

#[test]
fn origins_mounts_and_storages() {
    let (_dir, loaded) = changed(&[('l', "\"command\"", "\"timeout\": 2, \"command\"")]);
    let (base, web) = (container(&loaded, 100), container(&loaded, 101));
    assert_eq!(
        base.origin,
        Origin::Template(Template {
            file: "debian-12.tar.zst".to_owned(),
            storage: Some("local".to_owned())
        })
    );
    assert_eq!(
        web.origin,
        Origin::Clone {
            source: id(100),
            snapshot: "ready".to_owned()
        }
    );
    assert_eq!(web.needs().collect::<Vec<_>>(), [id(102), id(100)]);
    let binds: Vec<_> = web
        .binds
        .iter()
        .map(|b| {
            (
                b.host_path.as_str(),
                b.path.as_str(),
                b.owner,
                b.mode,
                b.declared_at.as_str(),
            )
        })
        .collect();
    assert_eq!(
        binds,
        [
            (
                "/srv/certificates",
                "/certificates",
                None,
                None,
                "shared_volumes.certificates"
            ),
            (
                "/srv/site",
                "/site",
                Some((33, 33)),
                Some(0o750),
                "mount_points[0]"
            ),
        ]
    );
    assert_eq!(web.volumes[0].size.to_string(), "2G");
    let health = web.health.as_ref().expect("a check");
    assert_eq!(
        (health.retries, health.interval_s, health.timeout_s),
        (3, 5, 2)
    );
    let storages: Vec<_> = loaded.desired.storages.iter().collect();
    let zfs = Some("zfspool".to_owned());
    assert_eq!(
        storages,
        [
            (&"local".to_owned(), &None),
            (&"tank-containers".to_owned(), &zfs),
            (&"tank-volumes".to_owned(), &zfs)
        ]
    );
}

#[test]
fn a_template_given_as_a_path_lies_on_the_storage_of_archives() {
    let (_dir, loaded) = changed(&[(
        'l',
        "\"local:vztmpl/debian-12.tar.zst\"",
        "\"/tank/cache/debian-12.tar.zst\"",
    )]);
    let storage = Some("tank-files".to_owned());
    let file = "debian-12.tar.zst".to_owned();
    assert_eq!(
        container(&loaded, 100).origin,
        Origin::Template(Template { file, storage })
    );
    assert_eq!(
        loaded.desired.storages.get("tank-files"),
        Some(&Some("dir".to_owned()))
    );
}

#[test]
fn what_a_clone_does_not_declare_it_inherits() {
    let (_dir, loaded) = changed(&[
        ('l', "\"unprivileged\": true", "\"unprivileged\": false"),
        (
            'l',
            "\"unprivileged\": true,\n      \"features\"",
            "\"features\"",
        ),
        ('l', ",\n      \"unprivileged\": true\n", "\n"),
    ]);
    assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
    assert!(!container(&loaded, 101).unprivileged);
}

#[test]
fn declared_nesting_wins_over_docker() {
    let (_dir, loaded) = changed(&[(
        'l',
        "[\"base\", \"gpu\"]",
        "[\"docker\"], \"pct_options\": [\"nesting=0\"]",
    )]);
    assert!(settings(container(&loaded, 101)).contains(&"features: nesting=0".to_owned()));
}

#[test]
fn the_same_said_twice_is_one_line() {
    let (_dir, loaded) = changed(&[(
        'l',
        "\"ports\": [\"80:80\"]",
        "\"lxc_options\": [\"lxc.apparmor.profile=unconfined\"], \"apparmor_profile\": \"unconfined\"",
    )]);
    assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
    assert!(
        settings(container(&loaded, 101)).contains(&"lxc.apparmor.profile: unconfined".to_owned())
    );
}

#[test]
fn a_command_is_split_at_spaces_and_shell_is_a_shell() {
    for (declared, expected) in [
        (
            "\"command\": \"curl -s  --fail\\thttp://x\"",
            vec!["curl", "-s", "--fail", "http://x"],
        ),
        ("\"shell\": \"a | b\"", vec!["/bin/sh", "-c", "a | b"]),
    ] {
        let (_dir, loaded) = changed(&[('l', "\"command\": [\"/usr/bin/true\"]", declared)]);
        assert_eq!(
            container(&loaded, 101)
                .health
                .as_ref()
                .expect("a check")
                .command,
            expected
        );
    }
}

#[test]
fn virtual_machines_are_outside() {
    let (_dir, loaded) = changed(&[('l', "[\"102\"]", "[\"102\", 200]")]);
    assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
    assert_eq!(
        loaded.desired.externals,
        [(id(200), "router".to_owned())].into()
    );
    assert_eq!(container(&loaded, 101).dependencies, [id(102)].into());
}

#[test]
fn the_document_is_what_was_declared() {
    let (_dir, loaded) = changed(&[(
        'l',
        "\"lxc_configs\"",
        "\"nvidia_driver_version\": \"580\", \"$schema\": \"x\", \"other\": [], \"lxc_configs\"",
    )]);
    let document: Value =
        serde_json::from_str(container(&loaded, 101).document.expose()).expect("JSON");
    assert_eq!(document["nvidia_driver_version"], "580");
    assert_eq!(document["lxc_configs"]["101"]["ports"][0], "80:80");
    assert_eq!(document.as_object().map(serde_json::Map::len), Some(2));
}

#[test]
fn an_application_is_run_again_for_what_it_is_handed_and_for_nothing_else() {
    let inputs = |changes: &[(char, &str, &str)]| {
        let (_dir, loaded) = changed(changes);
        container(&loaded, 101)
            .application
            .as_ref()
            .expect("a script")
            .inputs
    };
    let same = inputs(&[]);
    assert_eq!(
        inputs(&[('l', "\"memory_mb\": 1024", "\"memory_mb\": 2048")]),
        same
    );
    assert_eq!(
        inputs(&[('l', "\"ports\"", "\"firewall\": {}, \"ports\"")]),
        same
    );
    assert_eq!(
        inputs(&[('l', "\"ports\"", "\"_note\": \"x\", \"ports\"")]),
        same
    );
    assert_ne!(inputs(&[('l', "\"80:80\"", "\"81:80\"")]), same);
    assert_ne!(
        inputs(&[('l', "\"ports\"", "\"traefik_service\": {}, \"ports\"")]),
        same
    );
    let nested = |text: &str| inputs(&[('l', "\"ports\"", text)]);
    assert_eq!(
        nested("\"app\": {\"x\": {\"a\": 1, \"b\": 2}, \"y\": 3}, \"ports\""),
        nested("\"app\": {\"y\": 3, \"x\": {\"b\": 2, \"a\": 1}}, \"ports\"")
    );
    assert_ne!(
        nested("\"app\": {\"x\": {\"a\": 1, \"b\": 2}, \"y\": 3}, \"ports\""),
        nested("\"app\": {\"x\": {\"a\": 1, \"b\": 9}, \"y\": 3}, \"ports\"")
    );
}

#[test]
fn the_files_may_lie_beside_their_scripts() {
    let (dir, above) = changed(&[]);
    let etc = load(&dir.path().join("etc")).expect("etc itself");
    assert_eq!(
        etc.desired.digest, above.desired.digest,
        "bin/ beside etc/ is found"
    );
    let flat = TempDir::new().expect("a directory");
    std::fs::create_dir_all(flat.path().join("in/bin/features")).expect("bin");
    for name in ["phoenix_lxc_configs.json", "phoenix_hypervisor_config.json"] {
        std::fs::copy(
            dir.path().join("etc").join(name),
            flat.path().join("in").join(name),
        )
        .expect("a copy");
    }
    let loaded = load(&flat.path().join("in")).expect("files");
    let help = loaded.diagnostics.iter().find_map(|found| {
        found
            .help
            .clone()
            .filter(|h| h.contains("features/base.sh"))
    });
    assert!(
        help.expect("base.sh is missing")
            .contains("/in/bin/features/base.sh")
    );
}

#[test]
fn the_example_fleet_is_sound() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/fleet");
    let loaded = load(&dir).expect("the fleet");
    assert_eq!(loaded.diagnostics, [], "not even a note");
    assert_eq!(loaded.desired.containers.len(), 15);
    let all = || loaded.desired.containers.values();
    let places: Vec<Place> = all().flat_map(|c| &c.features).map(|f| f.place).collect();
    assert!(places.contains(&Place::Host) && places.contains(&Place::Container));
    assert!(all().any(|c| !c.gpus.is_empty()) && all().any(|c| !c.volumes.is_empty()));
    assert!(all().any(|c| !c.binds.is_empty()) && all().any(|c| c.health.is_some()));
}

/// Writes JSON with the members of every object in another order.
fn shuffled(value: &Value, seed: u64, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut all: Vec<_> = members.iter().collect();
            all.sort_by_key(|(key, _)| Digest::of(format!("{seed}{key}").as_bytes()).to_string());
            out.push('{');
            for (position, (key, value)) in all.into_iter().enumerate() {
                out.push_str(if position == 0 { "" } else { " ,\n" });
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push_str(": ");
                shuffled(value, seed, out);
            }
            out.push('}');
        }
        Value::Array(list) => {
            out.push('[');
            for (position, value) in list.iter().enumerate() {
                out.push_str(if position == 0 { "" } else { "," });
                shuffled(value, seed, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// One change that somebody's editor could have made.
#[derive(Clone, Debug)]
enum Mutation {
    Cut(usize, usize),
    Insert(usize, String),
    Null(usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let tokens = r#"[\[\]{}",:0-9a-z\\ \n\u{e9}-]{1,6}|null|true|-1|1e400|\{\}|\[\]|"x""#;
    prop_oneof![
        (any::<usize>(), 1..40_usize).prop_map(|(at, length)| Mutation::Cut(at, length)),
        (any::<usize>(), tokens).prop_map(|(at, text)| Mutation::Insert(at, text)),
        any::<usize>().prop_map(Mutation::Null),
    ]
}

fn mutate(text: &str, mutations: &[Mutation]) -> String {
    let mut all: Vec<char> = text.chars().collect();
    for mutation in mutations {
        let place = |at: usize| at % all.len().max(1);
        match mutation {
            Mutation::Cut(at, length) => {
                let start = place(*at);
                all.drain(start..(start + length).min(all.len()));
            }
            Mutation::Insert(at, text) => {
                let start = place(*at).min(all.len());
                all.splice(start..start, text.chars());
            }
            // Sound JSON with another value: what follows the n-th colon.
            Mutation::Null(nth) => {
                let colons: Vec<usize> = (0..all.len())
                    .filter(|at| all[*at..].starts_with(&['"', ':']))
                    .collect();
                if let Some(at) = colons.get(nth % colons.len().max(1)) {
                    all.splice(at + 2..at + 2, " null, \"z\":".chars());
                }
            }
        }
    }
    all.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_is_written_makes_it_panic(
        lxc in prop::collection::vec(mutation(), 0..4),
        hypervisor in prop::collection::vec(mutation(), 0..3),
        vms in prop::collection::vec(mutation(), 0..3),
    ) {
        let (_dir, loaded) =
            written(&mutate(LXC, &lxc), &mutate(HYPERVISOR, &hypervisor), Some(&mutate(VMS, &vms)));
        for found in &loaded.diagnostics {
            prop_assert!(found.line > 0 && found.column > 0, "{found:?}");
        }
    }

    #[test]
    fn the_order_of_keys_changes_nothing(seed in any::<u64>()) {
        let (dir, first) = changed(&[]);
        for (name, text) in [("lxc_configs", LXC), ("hypervisor_config", HYPERVISOR)] {
            let value: Value = serde_json::from_str(text).expect("JSON");
            let mut other = String::new();
            shuffled(&value, seed, &mut other);
            std::fs::write(dir.path().join(format!("etc/phoenix_{name}.json")), other).expect("a file");
        }
        let second = load(dir.path()).expect("files");
        prop_assert!(!second.has_errors());
        prop_assert_eq!(first.desired.digest, second.desired.digest);
    }
}

#[test]
fn another_declaration_has_another_digest() {
    let (dir, first) = changed(&[]);
    let path = dir.path().join("etc/phoenix_lxc_configs.json");
    for (from, to) in [
        ("512", "513"),
        ("/data", "/other"),
        ("80:80", "80:81"),
        ("tank-volumes", "local"),
    ] {
        std::fs::write(&path, LXC.replacen(from, to, 1)).expect("a file");
        let second = load(dir.path()).expect("files");
        assert_ne!(first.desired.digest, second.desired.digest, "{from}");
    }
}
