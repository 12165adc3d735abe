//! How many processes of Proxmox VE's tools phoenix starts: the figures of `docs/proxmox.md`.
//! `cargo test --test proxmox counts -- --nocapture` prints them.

use serde_json::json;

use crate::fleet::Fleet;

/// The programs that an apply started: `pct`, and everything else.
fn started(fleet: &Fleet) -> (usize, usize) {
    let before = fleet.log().len();
    fleet.apply();
    fleet.processes(before)
}

pub fn of_processes() {
    println!("containers  apply      pct  other tools");
    for count in [1, 100] {
        let mut fleet = Fleet::of(count);
        let fresh = started(&fleet);
        let unchanged = started(&fleet);
        for at in 0..count {
            fleet.set(at, "memory_mb", json!(512));
            fleet.set(at, "cores", json!(2));
            fleet.set(at, "start_at_boot", json!(true));
        }
        fleet.write();
        let changed = started(&fleet);
        for (name, (pct, others)) in [
            ("fresh", fresh),
            ("changed", changed),
            ("unchanged", unchanged),
        ] {
            println!("{count:>10}  {name:<9}  {pct:>3}  {others:>11}");
        }
        let count = usize::try_from(count).expect("small");
        // To create it and to start it; whether its init answers is asked of `lxc-attach`.
        assert_eq!(fresh.0, 2 * count);
        assert_eq!(changed.0, count);
        assert_eq!(unchanged.0, 0);
        assert!(
            unchanged.1 <= 1,
            "more than one `pvesm status`: {}",
            unchanged.1
        );
    }
}
