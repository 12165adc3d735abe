//! Every mistake: its place, its severity, its words.

use super::*;
use crate::config::ConfigError;
use crate::domain::diagnostic::Problem;
use crate::domain::ids::Ctid;

/// Changes of the fixture, and exactly the errors and warnings that they make.
type Case<'a> = (&'a [(char, &'a str, &'a str)], &'a [(&'a str, &'a str)]);

fn check(cases: &[Case<'_>]) {
    for (changes, expected) in cases {
        let (_dir, loaded) = changed(changes);
        let found = serious(&loaded);
        let places: Vec<String> = found.iter().map(|found| place(found)).collect();
        let wanted: Vec<&str> = expected.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, wanted, "{changes:?}: {found:#?}");
        for (found, (_, words)) in found.iter().zip(*expected) {
            assert!(found.message.contains(words), "{changes:?}: {found:#?}");
            assert!(found.help.is_some(), "no help: {found:#?}");
        }
    }
}

#[test]
fn the_fixture_itself_has_none() {
    check(&[(&[], &[])]);
}

#[test]
fn broken_files() {
    check(&[
        (
            &[('l', "\"cores\": 1,", "\"cores\": 1")],
            &[("error lxc 7", "is not JSON: expected `,` or `}`")],
        ),
        (
            &[('h', "{\n  \"version\"", "[{\n \"version\"")],
            &[("error host 20", "is not JSON")],
        ),
        (&[('v', "\"vms\"", "vms")], &[("error vm 2", "is not JSON")]),
        (
            &[('l', "\"cores\": 1,", "\"cores\": 1,\n      \"cores\": 2,")],
            &[("error lxc 7 lxc_configs.100.cores", "a second time")],
        ),
        (
            &[('l', "\"102\": {", "\"101\": {")],
            &[("error lxc 37 lxc_configs.101", "a second time")],
        ),
        (
            &[('h', "\"host_path\"", "\"mounts\": {}, \"host_path\"")],
            &[(
                "error host 14 shared_volumes.certificates.mounts",
                "a second time",
            )],
        ),
    ]);
}

#[test]
fn broken_json_names_the_column() {
    let (_dir, loaded) = changed(&[('l', "\"cores\": 1,", "\"cores\": 1;")]);
    let found = serious(&loaded)[0];
    assert_eq!((found.line, found.column), (6, 17), "{found:?}");
}

#[test]
fn wrong_types_are_all_found_at_once() {
    check(&[(
        &[
            ('l', "\"memory_mb\": 512", "\"memory_mb\": \"512\""),
            ('l', "\"cores\": 2", "\"cores\": 1.5"),
            ('l', "\"unprivileged\": true", "\"unprivileged\": \"true\""),
            (
                'l',
                "\"size_gb\": 2, \"mount_point\": \"/data\"",
                "\"size_gb\": -1, \"mount_point\": 5",
            ),
            (
                'l',
                "\"features\": [\"base\", \"gpu\"]",
                "\"features\": [\"base\", 7]",
            ),
            (
                'l',
                "\"dependencies\": [\"102\"]",
                "\"dependencies\": [\"102\", {}, null]",
            ),
            ('h', "\"/srv/certificates\"", "[]"),
        ],
        &[
            (
                "error host 13 shared_volumes.certificates.host_path",
                "must be a text, but is a list",
            ),
            (
                "error lxc 5 lxc_configs.100.memory_mb",
                "must be a whole number from 0 to 4294967295, but is the text \"512\"",
            ),
            (
                "error lxc 11 lxc_configs.100.unprivileged",
                "must be true or false",
            ),
            ("error lxc 18 lxc_configs.101.cores", "but is 1.5"),
            (
                "error lxc 25 lxc_configs.101.features[1]",
                "must be a text, but is 7",
            ),
            (
                "error lxc 28 lxc_configs.101.dependencies[1]",
                "must be the id of a container",
            ),
            (
                "error lxc 28 lxc_configs.101.dependencies[2]",
                "must not be null",
            ),
            (
                "error lxc 30 lxc_configs.101.volumes[0].size_gb",
                "but is -1",
            ),
            (
                "error lxc 30 lxc_configs.101.volumes[0].mount_point",
                "must be a text, but is 5",
            ),
        ],
    )]);
    check(&[
        (
            &[(
                'l',
                "\"network_config\": {",
                "\"network_config\": [], \"x\": {",
            )],
            &[(
                "error lxc 10 lxc_configs.100.network_config",
                "must be an object, but is a list",
            )],
        ),
        (
            &[(
                'l',
                "\"health_check\": { \"command\": [\"/usr/bin/true\"] }",
                "\"health_check\": 5",
            )],
            &[(
                "error lxc 35 lxc_configs.101.health_check",
                "must be an object, but is 5",
            )],
        ),
    ]);
}

/// A list of values is no object, however well the values fit.
#[test]
fn lists_are_no_objects() {
    check(&[
        (
            &[(
                'l',
                "{ \"name\": \"data\", \"pool\": \"tank-volumes\", \"size_gb\": 2, \"mount_point\": \"/data\" }",
                "[\"data\", \"tank-volumes\", 2, \"/data\"]",
            )],
            &[(
                "error lxc 30 lxc_configs.101.volumes[0]",
                "must be an object, but is a list",
            )],
        ),
        (
            &[(
                'h',
                "{\n      \"host_path\"",
                "[\"/a\", {}, null, null], \"x\": {\n      \"host_path\"",
            )],
            &[(
                "error host 12 shared_volumes.certificates",
                "must be an object, but is a list",
            )],
        ),
    ]);
}

#[test]
fn keys_that_are_misspelt_or_missing() {
    check(&[
        (
            &[('l', "\"memory_mb\": 512", "\"memroy_mb\": 512")],
            &[
                ("error lxc 3 lxc_configs.100.memory_mb", "is missing"),
                (
                    "error lxc 5 lxc_configs.100.memroy_mb",
                    "did you mean 'memory_mb'?",
                ),
            ],
        ),
        (
            &[('l', "\"ports\"", "\"firewal\"")],
            &[(
                "error lxc 27 lxc_configs.101.firewal",
                "did you mean 'firewall'?",
            )],
        ),
        (
            &[('l', "\"bridge\"", "\"brigde\"")],
            &[
                (
                    "error lxc 10 lxc_configs.100.network_config.bridge",
                    "is missing",
                ),
                (
                    "error lxc 10 lxc_configs.100.network_config.brigde",
                    "did you mean 'bridge'?",
                ),
            ],
        ),
        (
            &[('l', "\"gw\": \"10.0.0.1\"", "\"vlan\": 5")],
            &[(
                "warning lxc 10 lxc_configs.100.network_config.vlan",
                "nothing reads it",
            )],
        ),
        (
            &[('l', "\"lxc_configs\"", "\"lxc_config\"")],
            &[
                (
                    "warning host 15 shared_volumes.certificates.mounts.101",
                    "no container 101",
                ),
                ("error lxc 1 lxc_configs", "no container is declared"),
                ("error lxc 2 lxc_config", "did you mean 'lxc_configs'?"),
            ],
        ),
        (
            &[('h', "\"shared_volumes\"", "\"shared_volume\"")],
            &[(
                "error host 11 shared_volume",
                "did you mean 'shared_volumes'?",
            )],
        ),
        (
            &[('h', "\"version\"", "\"colour\"")],
            &[("warning host 2 colour", "is not a known section")],
        ),
        (
            &[(
                'h',
                "\"shared_volumes\": {",
                "\"shared_volumes\": {\n    \"firewall\": { \"enabled\": true },",
            )],
            &[(
                "warning host 12 shared_volumes.firewall",
                "has no effect here",
            )],
        ),
        (
            &[('h', "\"101\": \"/c", "\"999\": \"/c")],
            &[(
                "warning host 15 shared_volumes.certificates.mounts.999",
                "no container 999",
            )],
        ),
    ]);
}

#[test]
fn an_empty_file_declares_nothing() {
    let (_dir, loaded) = written("{\"lxc_configs\": {}}", "{}", None);
    let places: Vec<String> = serious(&loaded).into_iter().map(place).collect();
    assert_eq!(places, ["error lxc 1 lxc_configs"]);
    let (_dir, loaded) = written("[]", "3", Some("{}"));
    let places: Vec<String> = serious(&loaded).into_iter().map(place).collect();
    assert_eq!(places, ["error host 1", "error lxc 1"]);
}

#[test]
fn values_outside_of_their_range() {
    check(&[
        (
            &[('l', "\"base\",", "\"bad_name\",")],
            &[(
                "error lxc 4 lxc_configs.100.name",
                "'bad_name' is not a host name",
            )],
        ),
        (
            &[('l', "\"memory_mb\": 512", "\"memory_mb\": 8")],
            &[(
                "error lxc 5 lxc_configs.100.memory_mb",
                "must be 16 or more, but is 8",
            )],
        ),
        (
            &[('l', "\"memory_mb\": 512", "\"memory_mb\": 4294967296")],
            &[(
                "error lxc 5 lxc_configs.100.memory_mb",
                "must be a whole number from 0 to 4294967295, but is 4294967296",
            )],
        ),
        (
            &[(
                'l',
                "\"memory_mb\": 512",
                "\"memory_mb\": 4294967295, \"swap_mb\": 18446744073709551615",
            )],
            &[(
                "error lxc 5 lxc_configs.100.swap_mb",
                "must be a whole number from 0 to 4294967295, but is 18446744073709551615",
            )],
        ),
        (
            &[('l', "\"cores\": 1", "\"cores\": 8193")],
            &[("error lxc 6 lxc_configs.100.cores", "must be 8192 or less")],
        ),
        (
            &[('l', "\"storage_size_gb\": 4", "\"storage_size_gb\": 0")],
            &[(
                "error lxc 9 lxc_configs.100.storage_size_gb",
                "must be 1 or more",
            )],
        ),
        (
            &[('l', "\"tank-containers\"", "\"tank containers\"")],
            &[(
                "error lxc 8 lxc_configs.100.storage_pool",
                "not the name of a storage",
            )],
        ),
        (
            &[(
                'l',
                "\"template_snapshot_name\": \"ready\"",
                "\"template_snapshot_name\": \"1st\"",
            )],
            &[(
                "error lxc 13 lxc_configs.100.template_snapshot_name",
                "cannot be the name",
            )],
        ),
        (
            &[(
                'l',
                "\"template_snapshot_name\": \"ready\"",
                "\"template_snapshot_name\": \"current\"",
            )],
            &[(
                "error lxc 13 lxc_configs.100.template_snapshot_name",
                "reserved",
            )],
        ),
        (
            &[(
                'l',
                "\"local:vztmpl/debian-12.tar.zst\"",
                "\"local:vztmpl/\"",
            )],
            &[(
                "error lxc 7 lxc_configs.100.template",
                "does not name a template",
            )],
        ),
        (
            &[('l', "\"52:54:00:00:00:01\"", "\"53:54:00:00:00:01\"")],
            &[(
                "error lxc 23 lxc_configs.101.mac_address",
                "not the hardware address",
            )],
        ),
        (
            &[('l', "\"ports\"", "\"gpu_assignment\": \"0,x\",\n\"ports\"")],
            &[(
                "error lxc 27 lxc_configs.101.gpu_assignment",
                "'x' is not the index of a GPU",
            )],
        ),
        (
            &[(
                'l',
                "\"ports\"",
                "\"node\": \"a b\", \"on_unknown\": \"maybe\",\n\"ports\"",
            )],
            &[
                (
                    "error lxc 27 lxc_configs.101.node",
                    "not the name of a node",
                ),
                (
                    "error lxc 27 lxc_configs.101.on_unknown",
                    "unknown variant `maybe`",
                ),
            ],
        ),
        (
            &[('l', "\"102\": {", "\"99\": {"), ('l', "[\"102\"]", "[]")],
            &[("error lxc 37 lxc_configs.99", "'99' is not a container id")],
        ),
        (
            &[('l', "\"102\": {", "\"0102\": {"), ('l', "[\"102\"]", "[]")],
            &[("error lxc 37 lxc_configs.0102", "not a container id")],
        ),
    ]);
}

#[test]
fn mistakes_of_the_network() {
    check(&[
        (
            &[('l', "\"eth0\"", "\"a-name-of-sixteen\"")],
            &[(
                "error lxc 10 lxc_configs.100.network_config.name",
                "name of an interface",
            )],
        ),
        (
            &[('l', "10.0.0.100/24", "10.0.0.100")],
            &[(
                "error lxc 10 lxc_configs.100.network_config.ip",
                "not an address",
            )],
        ),
        (
            &[('l', "\"gw\": \"10.0.0.1\"", "\"gw\": \"router\"")],
            &[(
                "error lxc 10 lxc_configs.100.network_config.gw",
                "not an IPv4 address",
            )],
        ),
        (
            &[('l', "\"gw\": \"10.0.0.1\"", "\"gw\": \"10.0.1.1\"")],
            &[(
                "warning lxc 10 lxc_configs.100.network_config.gw",
                "not in the network",
            )],
        ),
        (
            &[('l', "\"gw\": \"10.0.0.1\"", "\"gw\": \"10.0.0.100\"")],
            &[(
                "error lxc 10 lxc_configs.100.network_config.gw",
                "own address",
            )],
        ),
        (
            &[('l', "10.0.0.100/24", "dhcp")],
            &[(
                "warning lxc 10 lxc_configs.100.network_config.gw",
                "no effect together with dhcp",
            )],
        ),
        (
            &[(
                'l',
                "\"gw\": \"10.0.0.1\"",
                "\"nameservers\": [\"9.9.9.9\", \"dns\"]",
            )],
            &[(
                "error lxc 10 lxc_configs.100.network_config.nameservers",
                "'dns' is not the address",
            )],
        ),
        (
            &[('l', "\"gw\": \"10.0.0.1\"", "\"type\": \"macvlan\"")],
            &[(
                "error lxc 10 lxc_configs.100.network_config.type",
                "only bridged",
            )],
        ),
        (
            &[('l', "10.0.0.102/24", "10.0.0.101/16")],
            &[(
                "error lxc 44 lxc_configs.102.network_config.ip",
                "also the address of container 101",
            )],
        ),
        (
            &[
                ('l', "52:54:00:00:00:01", "52:54:00:00:00:0a"),
                ('l', "52:54:00:00:00:02", "52:54:00:00:00:0A"),
            ],
            &[(
                "error lxc 45 lxc_configs.102.mac_address",
                "also the hardware address of container 101",
            )],
        ),
        (
            &[('l', "\"db\"", "\"WEB\"")],
            &[(
                "warning lxc 38 lxc_configs.102.name",
                "also the name of container 101",
            )],
        ),
    ]);
    // Addresses that are no addresses cannot be the same one.
    check(&[(
        &[
            ('l', "10.0.0.101/24\", \"gw\": \"10.0.0.1\"", "dhcp\""),
            ('l', "10.0.0.102/24\", \"gw\": \"10.0.0.1\"", "dhcp\""),
        ],
        &[],
    )]);
}

#[test]
fn mistakes_about_where_a_container_comes_from() {
    check(&[
        (
            &[('l', "\"template\": \"local:vztmpl/debian-12.tar.zst\",", "")],
            &[(
                "error lxc 3 lxc_configs.100",
                "neither template nor clone_from_ctid",
            )],
        ),
        (
            &[(
                'l',
                "\"clone_from_ctid\": \"100\"",
                "\"clone_from_ctid\": \"100\", \"template\": \"x\"",
            )],
            &[(
                "error lxc 19 lxc_configs.101.clone_from_ctid",
                "both declared",
            )],
        ),
        (
            &[(
                'l',
                "\"clone_from_ctid\": \"100\"",
                "\"clone_from_ctid\": \"777\"",
            )],
            &[(
                "error lxc 19 lxc_configs.101.clone_from_ctid",
                "container 777 is not declared",
            )],
        ),
        (
            &[(
                'l',
                "\"clone_from_ctid\": \"100\"",
                "\"clone_from_ctid\": \"200\"",
            )],
            &[(
                "error lxc 19 lxc_configs.101.clone_from_ctid",
                "the virtual machine router",
            )],
        ),
        (
            &[(
                'l',
                "\"clone_from_ctid\": \"100\"",
                "\"clone_from_ctid\": \"base\"",
            )],
            &[(
                "error lxc 19 lxc_configs.101.clone_from_ctid",
                "'base' is not the id",
            )],
        ),
        (
            &[(
                'l',
                "\"clone_from_ctid\": \"100\"",
                "\"clone_from_ctid\": \"102\"",
            )],
            &[(
                "error lxc 19 lxc_configs.101.clone_from_ctid",
                "102 has no template_snapshot_name",
            )],
        ),
        (
            &[
                ('l', "\"storage_size_gb\": 4", "\"storage_size_gb\": 16"),
                ('l', "\"storage_size_gb\": 8", "\"storage_size_gb\": 32"),
            ],
            &[(
                "error lxc 43 lxc_configs.102.storage_size_gb",
                "8 GiB is less than the 16 GiB of its clone source 100",
            )],
        ),
        (
            &[(
                'l',
                "\"unprivileged\": true,\n      \"features\": [\"base\", \"gpu\"]",
                "\"unprivileged\": false",
            )],
            &[(
                "error lxc 24 lxc_configs.101.unprivileged",
                "is false, but that of its clone source 100 is true",
            )],
        ),
        (
            &[('l', "\"unprivileged\": true,", "")],
            &[("error lxc 3 lxc_configs.100.unprivileged", "is missing")],
        ),
        (
            &[('v', "\"vmid\": 200", "\"vmid\": 102")],
            &[(
                "error lxc 37 lxc_configs.102",
                "also the id of the virtual machine router",
            )],
        ),
        (
            &[('v', "\"vmid\": 200", "\"vmid\": 20")],
            &[("error vm 3 vms[0].vmid", "'20' is not the id")],
        ),
    ]);
}

#[test]
fn dependencies_and_cycles() {
    check(&[
        (
            &[('l', "[\"102\"]", "[\"102\", \"555\", \"x\"]")],
            &[
                (
                    "error lxc 28 lxc_configs.101.dependencies[1]",
                    "555 is neither a declared container",
                ),
                (
                    "error lxc 28 lxc_configs.101.dependencies[2]",
                    "'x' is not the id of a guest",
                ),
            ],
        ),
        (
            &[('l', "[\"102\"]", "[101]")],
            &[(
                "error lxc 28 lxc_configs.101.dependencies[0]",
                "101 depends on 101",
            )],
        ),
        (
            &[(
                'l',
                "\"features\": [\"base\"],",
                "\"dependencies\": [\"101\"],",
            )],
            &[(
                "error lxc 12 lxc_configs.100.dependencies[0]",
                "none of these can be first: 100 depends on 101, 101 is cloned from 100",
            )],
        ),
        (
            &[('l', "[\"102\"]", "[\"102\", \"201\"]")],
            &[(
                "error lxc 28 lxc_configs.101.dependencies[1]",
                "101 depends on 201, virtual machine 201 needs 101",
            )],
        ),
        // Two machines that need each other are not phoenix's to judge.
        (
            &[('v', "\"dependencies\": []", "\"dependencies\": [\"201\"]")],
            &[],
        ),
        // Whoever cannot read the machines cannot know which ids are none.
        (
            &[('v', "\"vms\"", "vms"), ('l', "[\"102\"]", "[\"201\"]")],
            &[("error vm 2", "is not JSON")],
        ),
    ]);
}

#[test]
fn mistakes_of_mounts() {
    check(&[
        (
            &[(
                'l',
                "\"container_path\": \"/site\"",
                "\"container_path\": \"/data/\"",
            )],
            &[(
                "error lxc 30 lxc_configs.101.volumes[0]",
                "mounted twice, by mount_points[0] and by volumes[0]",
            )],
        ),
        (
            &[(
                'l',
                "\"container_path\": \"/site\"",
                "\"container_path\": \"//certificates\"",
            )],
            &[(
                "error lxc 33 lxc_configs.101.mount_points[0]",
                "by shared_volumes.certificates and by mount_points[0]",
            )],
        ),
        (
            &[(
                'l',
                "\"mount_point\": \"/data\"",
                "\"mount_point\": \"data\"",
            )],
            &[(
                "error lxc 30 lxc_configs.101.volumes[0].mount_point",
                "'data' is not absolute",
            )],
        ),
        (
            &[('l', "\"/srv/site\"", "\"/srv/../etc\"")],
            &[(
                "error lxc 33 lxc_configs.101.mount_points[0].host_path",
                "has '.' or '..' in it",
            )],
        ),
        (
            &[('h', "\"/certificates\"", "\"/a,b\"")],
            &[(
                "error host 15 shared_volumes.certificates.mounts.101",
                "comma",
            )],
        ),
        (
            &[(
                'h',
                "\"/srv/certificates\",",
                "\"/srv/certificates\", \"mode\": \"rwx\",",
            )],
            &[(
                "error host 13 shared_volumes.certificates.mode",
                "'rwx' is not a mode",
            )],
        ),
        (
            &[('h', "\"host_path\": \"/srv/certificates\",", "")],
            &[(
                "error host 12 shared_volumes.certificates.host_path",
                "is missing",
            )],
        ),
        (
            &[('l', ", \"owner_gid\": 33", "")],
            &[(
                "error lxc 33 lxc_configs.101.mount_points[0].owner_gid",
                "is missing beside",
            )],
        ),
        (
            &[('l', "\"name\": \"data\", ", "")],
            &[("error lxc 30 lxc_configs.101.volumes[0].name", "is missing")],
        ),
        (
            &[('l', "\"size_gb\": 2", "\"size_gb\": 0")],
            &[(
                "error lxc 30 lxc_configs.101.volumes[0].size_gb",
                "must be 1 or more",
            )],
        ),
        (
            &[('h', "\"101\": \"/c", "\"100\": \"/c")],
            &[(
                "error host 15 shared_volumes.certificates.mounts.100",
                "snapshot feature is not available",
            )],
        ),
        (
            &[
                (
                    'l',
                    "\"ports\": [\"80:80\"]",
                    "\"template_snapshot_name\": \"mine\"",
                ),
                ('h', "\"101\": \"/c", "\"102\": \"/c"),
            ],
            &[(
                "error lxc 33 lxc_configs.101.mount_points[0]",
                "the bind mount '/site'",
            )],
        ),
        (
            &[('l', "\"tank-containers\"", "\"tank-files\"")],
            &[("error lxc 8 lxc_configs.100.storage_pool", "of type dir")],
        ),
        (
            &[(
                'l',
                "\"features\": [\"base\"],",
                "\"volumes\": [{\"name\": \"v\", \"pool\": \"tank-files\", \"size_gb\": 1, \"mount_point\": \"/v\"}],",
            )],
            &[(
                "error lxc 12 lxc_configs.100.volumes[0].pool",
                "of type dir",
            )],
        ),
    ]);
}

#[test]
fn mistakes_of_options() {
    check(&[
        (
            &[(
                'l',
                "\"ports\": [\"80:80\"]",
                "\"pct_options\": [\"nesting\", \"rainbow=1\", \"fuse=maybe\", \"fuse=1\", \"fuse=0\"]",
            )],
            &[
                (
                    "error lxc 27 lxc_configs.101.pct_options[0]",
                    "'nesting' is not an option",
                ),
                (
                    "error lxc 27 lxc_configs.101.pct_options[1]",
                    "'rainbow' is not an option of",
                ),
                (
                    "error lxc 27 lxc_configs.101.pct_options[2]",
                    "neither 0 nor 1",
                ),
                (
                    "error lxc 27 lxc_configs.101.pct_options[4]",
                    "both 1 and 0",
                ),
            ],
        ),
        (
            &[(
                'l',
                "\"ports\": [\"80:80\"]",
                "\"lxc_options\": [\"memory: 5\", \"lxc.a: b\\nmemory: 1\"]",
            )],
            &[
                (
                    "error lxc 27 lxc_configs.101.lxc_options[0]",
                    "not a raw option",
                ),
                (
                    "error lxc 27 lxc_configs.101.lxc_options[1]",
                    "not a raw option",
                ),
            ],
        ),
        (
            &[(
                'l',
                "\"ports\": [\"80:80\"]",
                "\"lxc_options\": [\"lxc.apparmor.profile: a\"], \"apparmor_profile\": \"b\"",
            )],
            &[(
                "error lxc 27 lxc_configs.101.apparmor_profile",
                "is 'b', but lxc_options say",
            )],
        ),
        (
            &[(
                'l',
                "\"ports\": [\"80:80\"]",
                "\"lxc_options\": [\"lxc.apparmor.profile=a\", \"lxc.apparmor.profile=b\"]",
            )],
            &[(
                "error lxc 27 lxc_configs.101.lxc_options[1]",
                "both 'a' and 'b'",
            )],
        ),
        (
            &[(
                'l',
                "\"ports\": [\"80:80\"]",
                "\"id_maps\": [{\"type\": \"gid\", \"host_id\": 33, \"container_id\": 33, \"size\": 1}]",
            )],
            &[("error lxc 27 lxc_configs.101.id_maps", "maps no root")],
        ),
        (
            &[(
                'l',
                "\"ports\": [\"80:80\"]",
                "\"id_maps\": [{\"type\": \"u\", \"host_id\": 33, \"container_id\": 0, \"size\": 1}]",
            )],
            &[("error lxc 27 lxc_configs.101.id_maps", "maps no root")],
        ),
        (
            &[(
                'l',
                "\"ports\": [\"80:80\"]",
                "\"id_maps\": [{\"type\": \"x\", \"host_id\": 0, \"container_id\": 0}, {\"type\": \"u\", \"host_id\": 0, \"container_id\": 0, \"size\": 0}]",
            )],
            &[
                (
                    "error lxc 27 lxc_configs.101.id_maps[0].type",
                    "'x' is not a kind of id",
                ),
                (
                    "error lxc 27 lxc_configs.101.id_maps[1].size",
                    "must be 1 or more",
                ),
            ],
        ),
    ]);
}

#[test]
fn a_map_ends_with_the_last_id() {
    let maps = |container: u32, host: u32, size: u32| {
        let map = |kind: &str, container: u32, host: u32, size: u32| {
            format!(
                "{{\"type\": \"{kind}\", \"container_id\": {container}, \"host_id\": {host}, \
                 \"size\": {size}}}"
            )
        };
        let all = [
            map("g", 0, 100_000, 65_536),
            map("u", 0, 100_000, 1),
            map("u", container, host, size),
        ];
        format!("\"id_maps\": [{}]", all.join(", "))
    };
    let ports = "\"ports\": [\"80:80\"]";
    check(&[(&[('l', ports, &maps(1, u32::MAX - 5, 5))], &[])]);
    check(&[(
        &[('l', ports, &maps(1, u32::MAX - 5, 6))],
        &[(
            "error lxc 27 lxc_configs.101.id_maps[2].host_id",
            "with a size of 6 reaches beyond the last id",
        )],
    )]);
    check(&[(
        &[('l', ports, &maps(u32::MAX, 7, 1))],
        &[(
            "error lxc 27 lxc_configs.101.id_maps[2].container_id",
            "with a size of 1 reaches beyond the last id",
        )],
    )]);
}

#[test]
fn mistakes_of_scripts_and_checks() {
    check(&[
        (
            &[(
                'l',
                "[\"base\", \"gpu\"]",
                "[\"base\", \"missing\", \"base\", \"../app\"]",
            )],
            &[
                (
                    "error lxc 25 lxc_configs.101.features[1]",
                    "the script of the feature 'missing' is missing",
                ),
                ("error lxc 25 lxc_configs.101.features[2]", "declared twice"),
                (
                    "error lxc 25 lxc_configs.101.features[3]",
                    "cannot be the name of a feature",
                ),
            ],
        ),
        (
            &[('l', "\"app.sh\"", "\"gone.sh\"")],
            &[(
                "error lxc 26 lxc_configs.101.application_script",
                "the script 'gone.sh' is missing",
            )],
        ),
        (
            &[('l', "\"app.sh\"", "\"../etc/app.sh\"")],
            &[(
                "error lxc 26 lxc_configs.101.application_script",
                "not the name of a file in bin/",
            )],
        ),
        (
            &[('l', "\"app.sh\"", "\"/bin/sh\"")],
            &[(
                "error lxc 26 lxc_configs.101.application_script",
                "not the name of a file in bin/",
            )],
        ),
        (
            &[('l', "\"app.sh\"", "\"features\"")],
            &[(
                "error lxc 26 lxc_configs.101.application_script",
                "it is not a file",
            )],
        ),
        (
            &[(
                'l',
                "\"command\": [\"/usr/bin/true\"]",
                "\"command\": \" \"",
            )],
            &[("error lxc 35 lxc_configs.101.health_check", "no command")],
        ),
        (
            &[(
                'l',
                "\"command\": [\"/usr/bin/true\"]",
                "\"retries\": 0, \"timeout\": 0",
            )],
            &[
                (
                    "error lxc 35 lxc_configs.101.health_check.command",
                    "is missing",
                ),
                (
                    "error lxc 35 lxc_configs.101.health_check.retries",
                    "must be 1 or more",
                ),
                (
                    "error lxc 35 lxc_configs.101.health_check.timeout",
                    "must be 1 or more",
                ),
            ],
        ),
        (
            &[('l', "\"command\": [", "\"shell\": \"true\", \"command\": [")],
            &[(
                "error lxc 35 lxc_configs.101.health_check.shell",
                "both declared",
            )],
        ),
    ]);
}

#[test]
fn the_help_for_a_missing_script_names_both_places() {
    let (dir, loaded) = changed(&[('l', "[\"base\", \"gpu\"]", "[\"gone\"]")]);
    let help = serious(&loaded)[0].help.clone().expect("help");
    let bin = dir.path().canonicalize().expect("a directory").join("bin");
    for place in [
        "features/gone.sh",
        "lxc_setup/phoenix_hypervisor_feature_install_gone.sh",
    ] {
        assert!(
            help.contains(&bin.join(place).display().to_string()),
            "{help}"
        );
    }
}

#[test]
fn old_spellings_and_unmanaged_keys_are_noted_once() {
    let (_dir, loaded) = changed(&[
        (
            'l',
            "\"clone_from_ctid\": \"100\"",
            "\"clone_from_template_ctid\": \"100\", \"firewall\": {}",
        ),
        (
            'l',
            "\"clone_from_ctid\": 100",
            "\"clone_from_template_ctid\": 100, \"firewall\": {}",
        ),
        (
            'l',
            "\"features\": [\"base\"]",
            "\"features\": \"nesting=1\"",
        ),
        (
            'l',
            "\"command\": [\"/usr/bin/true\"]",
            "\"command\": \"a | b\"",
        ),
        ('l', "[\"102\"]", "[\"102\", \"200\"]"),
        (
            'h',
            "\"host_path\"",
            "\"owner\": \"someone\", \"host_path\"",
        ),
    ]);
    let notes: Vec<(String, &str)> = loaded
        .diagnostics
        .iter()
        .map(|note| (place(note), note.message.as_str()))
        .collect();
    let expected = [
        ("note host 1", "version"),
        (
            "note host 13 shared_volumes.certificates.owner",
            "not managed",
        ),
        ("note lxc 12 lxc_configs.100.features", "(100)"),
        (
            "note lxc 19 lxc_configs.101.clone_from_template_ctid",
            "old spelling, still accepted (101, 102)",
        ),
        (
            "note lxc 19 lxc_configs.101.firewall",
            "not managed by phoenix (101, 102)",
        ),
        (
            "note lxc 28 lxc_configs.101.dependencies",
            "200 (router) is a virtual machine",
        ),
        (
            "note lxc 35 lxc_configs.101.health_check",
            "no shell reads this command",
        ),
    ];
    assert_eq!(notes.len(), expected.len(), "{notes:#?}");
    for ((place, message), (wanted, words)) in notes.iter().zip(expected) {
        assert_eq!(place, wanted);
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn later_findings_are_placed_too() {
    let (_dir, loaded) = changed(&[]);
    let ctid = Ctid::try_from(101).expect("an id");
    for (key, wanted) in [
        ("", "error lxc 15 lxc_configs.101"),
        ("storage_pool", "error lxc 20 lxc_configs.101.storage_pool"),
        (
            "mount_points[0]",
            "error lxc 33 lxc_configs.101.mount_points[0]",
        ),
        (
            "mount_points[0].host_path",
            "error lxc 33 lxc_configs.101.mount_points[0].host_path",
        ),
        ("swap_mb", "error lxc 15 lxc_configs.101.swap_mb"),
        (
            "shared_volumes.certificates",
            "error host 12 shared_volumes.certificates",
        ),
    ] {
        let found = loaded
            .sources
            .diagnostic(ctid, &Problem::new(key, "m", "h"));
        assert_eq!(place(&found), wanted);
    }
}

#[test]
fn files_that_cannot_be_had() {
    let dir = TempDir::new().expect("a directory");
    let missing = dir.path().join("nowhere");
    assert!(matches!(load(&missing), Err(ConfigError::NoDirectory(path)) if path == missing));
    let error = load(dir.path()).expect_err("no files");
    assert!(
        error
            .to_string()
            .contains("phoenix_hypervisor_config.json' is missing"),
        "{error}"
    );
    std::fs::write(dir.path().join("phoenix_hypervisor_config.json"), "{}").expect("a file");
    let error = load(dir.path()).expect_err("one file");
    assert!(
        error
            .to_string()
            .contains("phoenix_lxc_configs.json' is missing"),
        "{error}"
    );
    std::fs::create_dir(dir.path().join("phoenix_lxc_configs.json")).expect("a directory");
    assert!(matches!(
        load(dir.path()),
        Err(ConfigError::Unreadable { .. })
    ));
}

#[test]
fn bytes_that_are_no_text() {
    let (dir, _) = changed(&[]);
    let path = dir.path().join("etc/phoenix_lxc_configs.json");
    std::fs::write(&path, b"{\n \"a\": \"\xff\"}").expect("a file");
    let loaded = load(dir.path()).expect("files");
    let found = loaded
        .diagnostics
        .iter()
        .find(|found| found.message.contains("UTF-8"));
    assert_eq!(found.map(|found| (found.line, found.column)), Some((2, 8)));
    std::fs::write(&path, format!("\u{feff}{LXC}")).expect("a file");
    let loaded = load(dir.path()).expect("files");
    assert!(
        serious(&loaded).is_empty(),
        "a byte order mark does no harm: {:?}",
        loaded.diagnostics
    );
}

#[test]
fn only_regular_files_are_read() {
    let (dir, _) = changed(&[]);
    let path = dir.path().join("etc/phoenix_lxc_configs.json");
    let real = dir.path().join("real.json");
    std::fs::rename(&path, &real).expect("moved");
    std::os::unix::fs::symlink(&real, &path).expect("a link");
    assert!(load(dir.path()).is_ok(), "a link to a file is one");
    std::fs::remove_file(&path).expect("removed");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).expect("a pipe");
    for _ in ["a pipe", "a device"] {
        let error = load(dir.path()).expect_err("no file");
        let ConfigError::Unreadable { source, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(source.to_string(), "it is not a regular file");
        std::fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink("/dev/zero", &path).expect("a link");
    }
}

#[test]
fn a_document_can_be_nested_too_deeply() {
    let deep = format!(
        "\"x\": {}{}, \"cores\": 1,",
        "[".repeat(200),
        "]".repeat(200)
    );
    check(&[(
        &[('l', "\"cores\": 1,", &deep)],
        &[("error lxc 6", "nested too deeply")],
    )]);
    let (_dir, loaded) = changed(&[('l', "\"cores\": 1,", &deep)]);
    let help = serious(&loaded)[0].help.clone();
    assert!(help.expect("a help").contains("never closed"));
}

#[test]
fn what_is_wanted_of_one_directory_goes_together() {
    let mac = "\"mac_address\": \"52:54:00:00:00:02\",";
    let with = |mount: &str| {
        format!("{mac}\n\"mount_points\": [{{\"container_path\": \"/x\", {mount}}}],")
    };
    let maps = "\"id_maps\": [{\"type\": \"u\", \"container_id\": 0, \"host_id\": 200000, \
                \"size\": 65536}, {\"type\": \"g\", \"container_id\": 0, \"host_id\": 200000, \
                \"size\": 65536}],";
    let owned = "\"owner_uid\": 33, \"owner_gid\": 33, \"mode\": \"0750\"";
    let same = with(&format!("\"host_path\": \"//srv//site/\", {owned}"));
    let none = with("\"host_path\": \"/srv/site\"");
    let other = with("\"host_path\": \"/srv/site/\", \"owner_uid\": 0, \"owner_gid\": 0");
    let mode = with("\"host_path\": \"/srv/site\", \"mode\": \"0755\"");
    for good in [&same, &none] {
        check(&[(&[('l', mac, good)], &[])]);
    }
    check(&[
        (
            &[('l', mac, &other)],
            &[(
                "error lxc 46 lxc_configs.102.mount_points[0].owner_uid",
                "100000:100000 on the host, but lxc_configs.101.mount_points[0] declares 100033:100033",
            )],
        ),
        (
            &[('l', mac, &format!("{maps}{same}"))],
            &[(
                "error lxc 46 lxc_configs.102.mount_points[0].owner_uid",
                "200033:200033 on the host",
            )],
        ),
        (
            &[('l', mac, &mode)],
            &[(
                "error lxc 46 lxc_configs.102.mount_points[0].mode",
                "0755, but lxc_configs.101.mount_points[0] declares 0750",
            )],
        ),
        (
            &[
                ('l', "\"owner_uid\": 33, \"owner_gid\": 33, ", ""),
                ('l', mac, &format!("{maps}{none}")),
            ],
            &[(
                "error lxc 46 lxc_configs.102.mount_points[0]",
                "nobody declares the owner of '/srv/site'",
            )],
        ),
    ]);
}

#[test]
fn what_is_too_large_is_refused() {
    let cores = "\"cores\": 1,";
    let list = |key: &str, element: &str, number: usize| {
        let all = vec![element; number].join(", ");
        format!("\"{key}\": [{all}], {cores}")
    };
    let health = |words: usize| {
        let all = vec!["\"12345678\""; words].join(", ");
        format!("\"health_check\": {{\"command\": [{all}]}}, {cores}")
    };
    let mounts = |number: usize| {
        let one = |n| format!("{{\"host_path\": \"/srv/{n}\", \"container_path\": \"/x{n}\"}}");
        let all: Vec<String> = (0..number).map(one).collect();
        format!("\"mount_points\": [{}], {cores}", all.join(", "))
    };
    let snapshot = ('l', ",\n      \"template_snapshot_name\": \"ready\"", "");
    let errors = |declared: &str| {
        let (_dir, loaded) = changed(&[('l', cores, declared), snapshot]);
        let all = loaded.diagnostics.into_iter();
        let here = all.filter(|found| found.message.contains("the limit is"));
        here.map(|found| format!("{}: {}", found.path, found.message))
            .collect::<Vec<_>>()
    };
    let long = |length: usize| format!("\"apparmor_profile\": \"{}\", {cores}", "a".repeat(length));
    let option = "\"lxc.cap.drop: mknod\"";
    for (fits, too_large, expected) in [
        (
            list("lxc_options", option, 1000),
            list("lxc_options", option, 1001),
            "lxc_configs.100.lxc_options: has 1001 lines; the limit is 1000",
        ),
        (
            health(2048),
            health(2049),
            "lxc_configs.100.health_check.command: is 16392 bytes long; the limit is 16384",
        ),
        (
            mounts(256),
            mounts(257),
            "lxc_configs.100: has 257 mounts; the limit is 256",
        ),
        (
            long(16384),
            long(16385),
            "lxc_configs.100.apparmor_profile: is a text of 16385 bytes; the limit is 16384",
        ),
    ] {
        assert_eq!(errors(&fits), [""; 0]);
        assert_eq!(errors(&too_large), [expected]);
    }
    let named = "\"features\": [\"base\"]";
    let features = |number| format!("\"features\": [{}]", vec!["\"base\""; number].join(", "));
    let (_dir, loaded) = changed(&[('l', named, &features(201))]);
    let found = serious(&loaded);
    assert!(
        found
            .iter()
            .any(|found| found.message == "has 201 features; the limit is 200")
    );
    let path = format!("/srv/{}", "a".repeat(20_000));
    check(&[(
        &[('h', "/srv/certificates", &path)],
        &[(
            "error host 13 shared_volumes.certificates.host_path",
            "is a text of 20005 bytes; the limit is 16384",
        )],
    )]);
    // An application's own text is its own business.
    assert_eq!(
        errors(&format!(
            "\"vllm_args\": \"{}\", {cores}",
            "a".repeat(20_000)
        )),
        [""; 0]
    );
}
