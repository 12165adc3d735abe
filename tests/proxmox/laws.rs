//! The laws, with the real program on the stand-in.

use serde_json::json;

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

/// A key of every kind is changed by hand, in ways that Proxmox VE allows.
pub fn drift_by_hand_is_found_and_corrected() {
    let fleet = Fleet::new();
    fleet.apply();
    let world = fleet.world();
    let [base, web, db, lone] = [0, 1, 2, 3].map(|at| fleet.id(at));
    let by_hand: &[&[&str]] = &[
        &[
            "set", &lone, "--memory", "333", "--swap", "0", "--cores", "2",
        ],
        &["set", &lone, "--hostname", "other"],
        &["set", &web, "--onboot", "0"],
        &["set", &lone, "--net0", "name=eth0,bridge=vmbr0,ip=dhcp"],
        &["set", &lone, "--startup", "order=9"],
        &["set", &lone, "--nameserver", "9.9.9.9"],
        &["set", &web, "--features", "nesting=1"],
        &["stop", &db],
        &["set", &db, "--delete", "mp0"],
    ];
    for words in by_hand {
        fleet.site.pct(words);
        let plan = fleet.run(&["plan", "--exit-code"]);
        let ours = plan.code == Some(4);
        let after = fleet.world();
        fleet.apply();
        fleet.settled();
        // What nobody declared is left, and said.
        assert!(
            ours || fleet.world() == after,
            "{words:?} was changed without a plan"
        );
    }
    let raw = fleet
        .site
        .conf(&db)
        .replace("lxc.cap.drop: sys_rawio", "lxc.cap.drop: mknod");
    fleet
        .site
        .write(&format!("etc/pve/nodes/vm/lxc/{db}.conf"), &raw);
    fleet.run(&["plan", "--exit-code"]).code(4);
    fleet.apply();
    fleet.settled();
    let now = fleet.world();
    for line in world.lines().filter(|line| !line.is_empty()) {
        assert!(now.contains(line), "{line} is not restored in:\n{now}");
    }
    let _ = base;
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
