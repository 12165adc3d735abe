//! The layouts of control groups that kernels have. This machine's own is what all other tests
//! run on; the others are mounted for phoenix and LXC alone, as far as this kernel lets them be.

use std::fs;

use serde_json::json;

use super::able;
use super::site::{Site, run};

/// Everything that control groups are needed for: limits, start, freezing, stop, and what the
/// host sees of them.
fn lives_on(machine: &str) {
    let mut site = Site::new();
    site.machine = Some(machine.to_owned());
    site.feature("base", "echo base >/etc/base");
    site.declare(
        800,
        &json!({ "features": ["base"], "template_snapshot_name": "golden", "cores": 2 }),
    );
    site.declare(801, &json!({ "clone_from_ctid": "800" }));
    site.write();
    assert_eq!(site.apply()["failed"], 0);
    let again = site.apply();
    assert_eq!(
        (&again["mutations"], &again["processes"]),
        (&json!(0), &json!(0)),
        "{again}"
    );
    // At once, and drift is seen: in the kernel's files where it has them, in notes elsewhere.
    site.change(800, "memory_mb", json!(80));
    site.change(800, "cores", json!(1));
    let init = site.init(800);
    assert_eq!(site.apply()["mutations"], 1);
    assert_eq!(site.init(800), init, "it was restarted");
    site.run(&["plan", "--exit-code"]).code(0);
    // A request to stop, and a start.
    site.change(801, "pct_options", json!(["nesting=1"]));
    assert_eq!(site.apply()["failed"], 0);
    site.run(&["plan", "--exit-code"]).code(0);
    assert_eq!(site.inside(801, "cat /etc/base /etc/ran"), "base\nbase 800");
    site.stop_all();
    assert_eq!(site.await_quiet(), Vec::<String>::new());
}

#[test]
fn on_the_first_version_of_control_groups_alone() {
    if !able("on_the_first_version_of_control_groups_alone") {
        return;
    }
    let memory = fs::metadata("/sys/fs/cgroup/memory/memory.limit_in_bytes").is_ok();
    if !memory {
        eprintln!("not tried: this kernel's memory controller is not of version 1");
        return;
    }
    lives_on("if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi");
}

#[test]
fn on_the_second_version_of_control_groups_alone() {
    if !able("on_the_second_version_of_control_groups_alone") {
        return;
    }
    if run("sh", &["-c", "! unshare -m mount -t cgroup2 none /mnt"]) {
        eprintln!("not tried: this kernel has no control groups of version 2");
        return;
    }
    lives_on("umount -l /sys/fs/cgroup\nmount -t cgroup2 none /sys/fs/cgroup");
}
