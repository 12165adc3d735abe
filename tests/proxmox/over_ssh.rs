//! The same, through `pct+ssh`: laws, crashes, and a connection that is cut.

use serde_json::json;

use crate::crash::{calls, check, every_point, in_turn, points};
use crate::fleet::Fleet;
use crate::sshd;

pub fn converges_and_then_does_nothing() {
    let (fleet, _sshd) = sshd::fleet();
    fleet.apply();
    check(&fleet, "over ssh", false);
    fleet.ok(&["plan", "--exit-code"]);
}

pub fn drift_is_corrected() {
    let (mut fleet, _sshd) = sshd::fleet();
    fleet.apply();
    let lone = fleet.id(3);
    fleet.site.pct(&[
        "set",
        &lone,
        "--memory",
        "333",
        "--net0",
        "name=eth0,bridge=vmbr0,ip=dhcp",
    ]);
    fleet.site.pct(&["stop", &fleet.id(2)]);
    fleet.run(&["plan", "--exit-code"]).code(4);
    fleet.apply();
    fleet.settled();
    fleet.set(2, "lxc_options", json!(["lxc.cap.drop=mknod"]));
    fleet.change(3, "storage_size_gb", json!(6));
    fleet.apply();
    fleet.settled();
}

/// One connection, and a look is one round trip, for however many containers.
pub fn a_look_is_one_round_trip() {
    let (fleet, sshd) = sshd::behind(Fleet::of(20));
    fleet.apply();
    let (sessions, connections) = (sshd.sessions(), sshd.connections());
    fleet.ok(&["plan", "--exit-code"]);
    // Who is there is asked once when the node is opened.
    assert_eq!(
        sshd.sessions() - sessions,
        2,
        "to open the node, and to look"
    );
    assert_eq!(
        sshd.connections(),
        connections,
        "the connection of before is used"
    );
    assert_eq!(connections, 1);
}

/// The connection is cut: nobody knows what became of the command, so it is looked at.
pub fn cut_at_every_call() {
    let mut entries = Vec::new();
    for call in 1..=calls() {
        for place in ["before", "middle", "after"] {
            if call % 3 == u32::try_from(place.len()).unwrap_or(0) % 3 || every_point() {
                entries.push((format!("{call} {place} cut"), place == "middle"));
            }
        }
    }
    in_turn(&entries, |(point, in_a_script)| {
        let (fleet, _sshd) = sshd::fleet();
        if !fleet.struck(point) {
            fleet.recover();
        }
        check(&fleet, point, *in_a_script);
    });
}

pub fn killed_and_resumed() {
    let all = points();
    let some: Vec<_> = all.into_iter().step_by(4).collect();
    in_turn(&some, |(point, in_a_script)| {
        let (fleet, _sshd) = sshd::fleet();
        fleet.struck(point);
        fleet.recover();
        check(&fleet, point, *in_a_script);
    });
}

/// A host key that is not the known one is refused, and nothing is done.
pub fn an_unknown_host_key_is_refused() {
    let (fleet, _sshd) = sshd::fleet();
    let known = fleet.site.read("ssh/known_hosts");
    let (host, _) = known.split_once(' ').expect("a host");
    let other = fleet.site.read("ssh/user.pub");
    fleet
        .site
        .write("ssh/known_hosts", &format!("{host} {other}"));
    let done = fleet.run(&["apply"]);
    assert_ne!(done.code, Some(0));
    assert!(
        done.err.to_lowercase().contains("host key") || done.err.contains("IDENTIFICATION"),
        "{}",
        done.err
    );
    assert!(fleet.log().is_empty());
}
