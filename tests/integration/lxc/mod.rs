//! Real containers: they need root, LXC's tools and a static BusyBox. Without these the tests
//! say aloud that they were skipped; where `CI=true` says that they must run, they fail instead.

mod disks;
mod drift;
mod fleet;
mod foreign;
mod kernels;
mod kills;
mod model;
mod needs;
mod network;
mod reboot;
mod remains;
mod site;
mod starts;

use std::fs;
use std::path::Path;

const BUSYBOX: &str = "/bin/busybox";

/// Why real containers cannot be made here.
fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("root is needed".to_owned());
    }
    for file in [
        "/usr/bin/lxc-start",
        "/usr/bin/lxc-usernsexec",
        BUSYBOX,
        "/dev/loop-control",
    ] {
        if !Path::new(file).exists() {
            return Some(format!(
                "{file} is missing (apt-get install lxc busybox-static uidmap iproute2)"
            ));
        }
    }
    let ids = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let root = ids.lines().any(|line| line.starts_with("root:"));
    (!root).then(|| {
        "root has no ids in /etc/subuid (usermod --add-subuids 100000-165535 --add-subgids \
         100000-165535 root)"
            .to_owned()
    })
}

/// Whether to run; says why not.
fn able(test: &str) -> bool {
    let Some(why) = obstacle() else { return true };
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "real containers must be tested in CI: {why}"
    );
    eprintln!("SKIPPED {test}: {why}");
    false
}
