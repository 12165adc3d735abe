//! What a command of Proxmox VE says, and what that means. Exit codes say nothing: the same
//! cause ends with 1, 2, 4, 39 or 255, and some failures end with 0.

use crate::domain::refusal::FailureKind;

/// Texts of what can pass by itself: somebody else's lock, a change in between, a thing that is
/// in use, a cluster that is not there.
const PASSING: [&str; 24] = [
    " - got timeout",
    "CT is locked (",
    "detected modified configuration",
    "already running",
    " not running",
    "startup for container '",
    "received interrupt",
    "interrupted by signal",
    "got signal",
    "broken pipe",
    "is busy",
    "resource busy",
    "resource temporarily unavailable",
    "connection timed out",
    "connection refused",
    "connection reset",
    "temporary failure in name resolution",
    "cluster not ready",
    "no quorum",
    "is not online",
    "command 'lxc-device ",
    "phoenix: still at work",
    "phoenix: a task of Proxmox VE",
    "phoenix: the container stopped",
];

/// Texts of what is wrong however often it is tried, although something of it sounds passing.
const LASTING: [&str; 3] = [
    "400 Parameter verification failed",
    "400 unable to parse option",
    "does not exist",
];

/// A command that its deadline ended.
const STOPPED: [i32; 2] = [124, 137];

/// Whether a failure can pass by itself.
pub(super) fn kind(code: i32, said: &str) -> FailureKind {
    if STOPPED.contains(&code) {
        return FailureKind::UnknownOutcome;
    }
    let said = said.to_lowercase();
    let says = |text: &str| said.contains(&text.to_lowercase());
    let hotplug = said.contains("command 'lxc-device ");
    if !hotplug && LASTING.iter().any(|text| says(text)) {
        return FailureKind::Permanent;
    }
    if PASSING.iter().any(|text| says(text)) {
        FailureKind::Transient
    } else {
        FailureKind::Permanent
    }
}

/// The sentence of an output that tells what is wrong.
pub(super) fn reason(said: &str) -> Option<String> {
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !is_noise(line))
        .collect();
    if let Some(at) = lines.iter().position(|line| line.starts_with("400 ")) {
        let behind: Vec<&str> = lines[at + 1..].iter().copied().take(2).collect();
        let before = at.checked_sub(1).map(|before| lines[before]);
        let why = if behind.is_empty() {
            before.unwrap_or(lines[at]).to_owned()
        } else {
            behind.join("; ")
        };
        return Some(why);
    }
    let last = lines.last()?;
    Some(last.strip_prefix("phoenix: ").unwrap_or(last).to_owned())
}

/// Lines that stand beside the reason.
fn is_noise(line: &str) -> bool {
    line.is_empty()
        || line == "OK"
        || line == "trying to acquire lock..."
        || (line.starts_with("pct ") && line.ends_with("[OPTIONS]"))
        || (line.starts_with("vm ") && line.contains(" - unable to parse value of "))
}

/// What a `pct resize` says whose file system did not follow.
const FILE_SYSTEM: &str = "failed to update the container's filesystem";

/// Texts of failures that end with exit code 0.
const UNOWNED: [&str; 6] = [
    "can't resize this image format",
    FILE_SYSTEM,
    "failed to create file:",
    "failed to open ",
    "clone failed:",
    "unable to create ct ",
];

/// What went wrong in a command that claims to have succeeded.
pub(super) fn unowned(said: &str) -> Option<String> {
    let found = said.lines().find(|line| {
        let line = line.trim().to_lowercase();
        UNOWNED.iter().any(|text| line.starts_with(text))
    });
    found.map(|line| line.trim().to_owned())
}

/// Whether a failure that ends with exit code 0 leaves something undone that no configuration
/// shows: the disk has grown, and the file system on it has not.
pub(super) fn unseen(why: &str) -> bool {
    why.to_lowercase().starts_with(FILE_SYSTEM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureKind::{Permanent, Transient, UnknownOutcome};

    /// Recorded from Proxmox VE 8.4: exit code, output, what it means, the reason in it.
    const RECORDED: [(i32, &str, FailureKind, &str); 30] = [
        (
            255,
            "CT is locked (backup)",
            Transient,
            "CT is locked (backup)",
        ),
        (
            255,
            "CT is locked (disk)\n",
            Transient,
            "CT is locked (disk)",
        ),
        (
            4,
            "trying to acquire lock...\ncan't lock file '/run/lock/lxc/pve-config-700.lock' - got timeout\n",
            Transient,
            "can't lock file '/run/lock/lxc/pve-config-700.lock' - got timeout",
        ),
        (
            255,
            "detected modified configuration - file changed by other user? Try again.",
            Transient,
            "detected modified configuration - file changed by other user? Try again.",
        ),
        (
            255,
            "CT 100 already running",
            Transient,
            "CT 100 already running",
        ),
        (255, "CT 100 not running", Transient, "CT 100 not running"),
        (
            255,
            "container '100' not running!",
            Transient,
            "container '100' not running!",
        ),
        (
            255,
            "run_buffer: 322 Script exited with status 2\nlxc_init: 844 Failed to run lxc.hook.pre-start for container \"100\"\n__lxc_start: 2027 Failed to initialize container \"100\"\nstartup for container '100' failed\n",
            Transient,
            "startup for container '100' failed",
        ),
        (
            255,
            "clone failed: interrupted by signal",
            Transient,
            "clone failed: interrupted by signal",
        ),
        (
            1,
            "lxc-device: 100: ../src/lxc/tools/lxc_device.c: main: 151 Failed to add veth100i0p to 100\n400 Parameter verification failed.\nnet0: unable to hotplug net0: command 'lxc-device -n 100 add veth100i0p eth0' failed: exit code 1\n\npct set <vmid> [OPTIONS]\n",
            Transient,
            "net0: unable to hotplug net0: command 'lxc-device -n 100 add veth100i0p eth0' failed: exit code 1",
        ),
        (
            2,
            "400 Parameter verification failed.\nnet2: unable to hotplug net2: bridge 'nobridge' does not exist\n\npct set <vmid> [OPTIONS]\n",
            Permanent,
            "net2: unable to hotplug net2: bridge 'nobridge' does not exist",
        ),
        (
            39,
            "400 Parameter verification failed.\nmp0: unable to hotplug mp0: failed to change apparmor profile: Invalid argument\n\npct set <vmid> [OPTIONS]\n",
            Permanent,
            "mp0: unable to hotplug mp0: failed to change apparmor profile: Invalid argument",
        ),
        (
            2,
            "400 Parameter verification failed.\nmp5: invalid format - format error\nmp5.mp: property is missing and it is not optional\n\npct set <vmid> [OPTIONS]\n",
            Permanent,
            "mp5: invalid format - format error; mp5.mp: property is missing and it is not optional",
        ),
        (
            2,
            "Unknown option: bogus\n400 unable to parse option\npct set <vmid> [OPTIONS]\n",
            Permanent,
            "Unknown option: bogus",
        ),
        (
            2,
            "Configuration file 'nodes/vm/lxc/999.conf' does not exist",
            Permanent,
            "Configuration file 'nodes/vm/lxc/999.conf' does not exist",
        ),
        (
            255,
            "unable to modify read-only option: 'unprivileged'",
            Permanent,
            "unable to modify read-only option: 'unprivileged'",
        ),
        (
            255,
            "can't remove CT 100 drive 'mp2' - protection mode enabled",
            Permanent,
            "can't remove CT 100 drive 'mp2' - protection mode enabled",
        ),
        (
            255,
            "unable to shrink disk size",
            Permanent,
            "unable to shrink disk size",
        ),
        (
            255,
            "disk is already at specified size",
            Permanent,
            "disk is already at specified size",
        ),
        (
            255,
            "snapshot feature is not available",
            Permanent,
            "snapshot feature is not available",
        ),
        (
            255,
            "snapshot name 's3' already used",
            Permanent,
            "snapshot name 's3' already used",
        ),
        (
            2,
            "Cannot do full clones on a running container without snapshots",
            Permanent,
            "Cannot do full clones on a running container without snapshots",
        ),
        (
            2,
            "unable to clone mountpoint 'mp1' (type bind)",
            Permanent,
            "unable to clone mountpoint 'mp1' (type bind)",
        ),
        (
            255,
            "storage 'nosuch' does not exist",
            Permanent,
            "storage 'nosuch' does not exist",
        ),
        (
            255,
            "trying to acquire lock...\n OK\nunable to create CT 700 - CT 700 already exists on node 'vm'\n",
            Permanent,
            "unable to create CT 700 - CT 700 already exists on node 'vm'",
        ),
        (
            2,
            "Use of uninitialized value $bridge in concatenation (.) or string at /usr/share/perl5/PVE/Network.pm line 130.\nbridge '' does not exist\n",
            Permanent,
            "bridge '' does not exist",
        ),
        (
            255,
            "vm 103 - unable to parse value of 'bogus' - unknown setting 'bogus'\nmissing 'arch' - internal error at /usr/share/perl5/PVE/LXC.pm line 676.\n",
            Permanent,
            "missing 'arch' - internal error at /usr/share/perl5/PVE/LXC.pm line 676.",
        ),
        (
            255,
            "you can't start a CT if it's a template",
            Permanent,
            "you can't start a CT if it's a template",
        ),
        (
            75,
            "phoenix: still at work on 100",
            Transient,
            "still at work on 100",
        ),
        (
            124,
            "Formatting '/var/lib/vz/images/300/vm-300-disk-0.raw'",
            UnknownOutcome,
            "Formatting '/var/lib/vz/images/300/vm-300-disk-0.raw'",
        ),
    ];

    #[test]
    fn recorded_failures_are_told_apart() {
        for (code, said, expected, why) in RECORDED {
            assert_eq!(kind(code, said), expected, "{said}");
            assert_eq!(reason(said).as_deref(), Some(why), "{said}");
        }
    }

    #[test]
    fn failures_without_an_exit_code_are_seen() {
        for (said, expected) in [
            (
                "can't resize this image format\n",
                "can't resize this image format",
            ),
            (
                "Image resized.\nresize2fs 1.47.0 (5-Feb-2023)\nFailed to update the container's filesystem: command 'unshare -m -- sh -c 'mount --make-rprivate / && mount /dev/loop1 /tmp && resize2fs /dev/loop1'' failed: exit code 1\n\n",
                "Failed to update the container's filesystem: command 'unshare -m -- sh -c 'mount --make-rprivate / && mount /dev/loop1 /tmp && resize2fs /dev/loop1'' failed: exit code 1",
            ),
        ] {
            assert_eq!(unowned(said).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_success_says_beside_is_no_failure() {
        for said in [
            "trying to acquire lock...\n OK\n",
            "vm 103 - unable to parse value of 'bogus' - unknown setting 'bogus'\n",
            "Formatting '/var/lib/vz/images/300/vm-300-disk-0.raw', fmt=raw size=268435456 preallocation=off\ncontainer does not have /usr/share/zoneinfo/Etc/UTC, timezone can not be modified\n",
            "delete ips from net1\n",
            "command 'btrfs subvolume delete -- /mnt/btr/images/105/vm-105-disk-0@k2' failed: ERROR: Could not statfs: No such file or directory\n",
        ] {
            assert_eq!(unowned(said), None, "{said}");
        }
    }
}
