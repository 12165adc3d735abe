//! The laws, with the real program on the stand-in.

use serde_json::json;

use crate::crash::same;
use crate::fleet::Fleet;

pub fn converges_and_then_does_nothing() {
    let fleet = Fleet::new();
    let first = fleet.apply();
    assert!(
        first["mutations"].as_u64().expect("a number") > 0,
        "{first}"
    );
    fleet.settled();
    fleet.ok(&["plan", "--exit-code"]);
    let world = fleet.world();
    for text in [
        "tools.sh",
        "server.sh",
        "setup.sh",
        "lxc.cap.drop: sys_rawio",
        "mp0: ROOT/srv/site,mp=/srv/site",
    ] {
        assert!(world.contains(text), "no {text} in:\n{world}");
    }
}

/// A container that declares every key that Proxmox VE has a setting for.
fn declares_everything() -> Fleet {
    let mut fleet = Fleet::of(1);
    let host = fleet.site.path("srv/host").display().to_string();
    let site = fleet.site.path("srv/site").display().to_string();
    let declared = [
        ("swap_mb", json!(128)),
        ("start_at_boot", json!(true)),
        ("boot_order", json!(3)),
        ("boot_delay", json!(7)),
        ("pct_options", json!(["nesting=1", "keyctl=1"])),
        ("lxc_options", json!(["lxc.cap.drop=mknod"])),
        ("apparmor_profile", json!("unconfined")),
        (
            "network_config",
            json!({ "name": "eth0", "bridge": "vmbr0", "ip": "10.20.0.2/24", "gw": "10.20.0.1",
                    "nameservers": "1.1.1.1 8.8.8.8" }),
        ),
        ("mac_address", json!("BC:24:11:00:00:77")),
        (
            "mount_points",
            json!([
                { "host_path": host, "container_path": "/host" },
                { "host_path": site, "container_path": "/site" },
            ]),
        ),
        (
            "volumes",
            json!([{ "name": "data", "pool": "tank-disks", "size_gb": 2, "mount_point": "/data" }]),
        ),
    ];
    for (key, value) in declared {
        fleet.set(0, key, value);
    }
    fleet.write();
    fleet
}

/// Every setting is changed by hand: it is seen, and brought back, and nothing else.
pub fn drift_by_hand_is_found_and_corrected() {
    let fleet = declares_everything();
    fleet.apply();
    fleet.settled();
    let world = fleet.world();
    let id = fleet.id(0);
    let elsewhere = format!("{},mp=/host", fleet.site.path("srv").display());
    let by_hand: &[&[&str]] = &[
        &["set", "--memory", "333"],
        &["set", "--swap", "0"],
        &["set", "--delete", "swap"],
        &["set", "--cores", "3"],
        &["set", "--delete", "cores"],
        &["set", "--hostname", "other"],
        &["set", "--onboot", "0"],
        &["set", "--delete", "onboot"],
        &["set", "--startup", "order=9"],
        &["set", "--delete", "startup"],
        &["set", "--nameserver", "9.9.9.9"],
        &["set", "--delete", "nameserver"],
        &["set", "--features", "nesting=0,keyctl=1"],
        &["set", "--delete", "features"],
        &[
            "set",
            "--net0",
            "name=eth0,bridge=vmbr0,ip=dhcp,hwaddr=BC:24:11:00:00:77",
        ],
        &[
            "set",
            "--net0",
            "name=eth0,bridge=vmbr0,gw=10.20.0.1,ip=10.20.0.2/24,hwaddr=BC:24:11:00:00:78",
        ],
        &["set", "--delete", "net0"],
        &["set", "--delete", "mp0"],
        &["set", "--mp0", &elsewhere],
        &["stop"],
    ];
    for words in by_hand {
        let whole: Vec<&str> = [&[words[0], id.as_str()], &words[1..]].concat();
        fleet.site.pct(&whole);
        let plan = fleet.run(&["plan", "--exit-code"]);
        assert_eq!(plan.code, Some(4), "{words:?} was not seen:\n{}", plan.out);
        fleet.apply();
        same(&fleet.world(), &world, &format!("{words:?}"));
    }
    for (line, other) in [
        ("lxc.cap.drop: mknod\n", "lxc.cap.drop: sys_rawio\n"),
        ("lxc.cap.drop: mknod\n", ""),
        (
            "lxc.apparmor.profile: unconfined\n",
            "lxc.apparmor.profile: generated\n",
        ),
    ] {
        let text = fleet.site.conf(&id);
        assert!(text.contains(line), "{text}");
        fleet.site.write(
            &format!("etc/pve/nodes/vm/lxc/{id}.conf"),
            &text.replace(line, other),
        );
        fleet.run(&["plan", "--exit-code"]).code(4);
        fleet.apply();
        assert!(
            fleet.site.conf(&id).contains(line),
            "{line} is not restored"
        );
    }
    fleet.settled();
    // What only looks different is left.
    let text = fleet.site.conf(&id);
    let text = text
        .replace("hwaddr=BC:24:11:00:00:77", "hwaddr=bc:24:11:00:00:77")
        .replace("onboot: 1", "onboot: yes");
    fleet
        .site
        .write(&format!("etc/pve/nodes/vm/lxc/{id}.conf"), &text);
    fleet.settled();
    assert_eq!(fleet.site.conf(&id), text);
}

/// A change of every kind is declared.
pub fn a_changed_declaration_is_one_set_a_container() {
    let mut fleet = Fleet::new();
    fleet.apply();
    fleet.set(3, "memory_mb", json!(512));
    fleet.set(3, "cores", json!(2));
    fleet.set(3, "pct_options", json!(["nesting=1"]));
    fleet.set(3, "storage_size_gb", json!(5));
    let address = fleet.hwaddr(3);
    fleet.change(
        3,
        "network_config",
        json!({ "name": "eth0", "bridge": "vmbr0", "ip": "10.20.0.77/24", "gw": "10.20.0.1" }),
    );
    let before = fleet.log().len();
    fleet.apply();
    let log = fleet.log().split_off(before);
    let begun = |text: &str| {
        log.iter()
            .filter(|line| line.contains("\tbegin\tpct\t") && line.contains(text))
            .count()
    };
    assert_eq!(begun("\tset "), 1, "{log:#?}");
    assert_eq!(begun("\tresize "), 1, "{log:#?}");
    assert!(log.iter().any(|line| line.contains("--digest")), "{log:#?}");
    assert_eq!(
        fleet.hwaddr(3),
        address,
        "the interface has another address"
    );
    assert!(fleet.site.conf(&fleet.id(3)).contains("ip=10.20.0.77/24"));
    fleet.settled();
}
