//! Directories of the host that nobody gave an owner: they are the container's from the beginning,
//! whenever phoenix or the node's shell is killed.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::json;

use crate::crash::in_turn;
use crate::fleet::Fleet;
use crate::standin::files;

/// The root of an unprivileged container, on the host.
const ROOT: u32 = 100_000;

/// So many containers, each with a directory that is missing, as is the one that all are to be in.
fn missing(count: u32) -> Fleet {
    let mut fleet = Fleet::of(count);
    fleet.site.install(&files::PROGRAMS);
    for at in 0..count {
        let name = format!("own{at}");
        let path = fleet.site.path(&format!("srv/made/{name}"));
        fleet.hypervisor["shared_volumes"][name] = json!({
            "host_path": path.display().to_string(),
            "mode": "2750",
            "mounts": { fleet.id(at): "/srv/own" },
        });
    }
    fleet.write();
    fleet
}

/// The directories are the containers', the one that they are in is the host's, and nothing else
/// is there.
#[track_caller]
fn check(fleet: &Fleet, count: u32, what: &str) {
    let state = |path: &Path| {
        let found = fs::metadata(path).unwrap_or_else(|error| panic!("{what}: {error}"));
        (
            found.uid(),
            found.gid(),
            format!("{:o}", found.mode() & 0o7777),
        )
    };
    let names = |path: &Path| {
        let entries = fs::read_dir(path).expect("a directory").flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let made = fleet.site.path("srv/made");
    assert_eq!(state(&made), (0, 0, "755".to_owned()), "{what}");
    let expected: Vec<String> = (0..count).map(|at| format!("own{at}")).collect();
    assert_eq!(names(&made), expected, "{what}");
    for own in expected.iter().map(|name| made.join(name)) {
        assert_eq!(state(&own), (ROOT, ROOT, "2750".to_owned()), "{what}");
        assert!(names(&own).is_empty(), "{what}");
    }
}

/// The calls by which an uninterrupted run makes the directory.
fn steps() -> Vec<u32> {
    let fleet = missing(1);
    fleet.apply();
    check(&fleet, 1, "uninterrupted");
    let log = fleet.log();
    let begun = log.iter().filter_map(|line| line.split_once("\tbegin\t"));
    begun
        .filter(|(_, call)| call.contains("/srv/made") && !call.starts_with("pct\t"))
        .filter_map(|(number, _)| number.parse().ok())
        .collect()
}

/// Before and after each of the programs that make it: with the shell that runs them, and while
/// it goes on and another phoenix is there already.
pub fn killed_at_every_step() {
    let mut points = Vec::new();
    let steps = steps();
    assert!(steps.len() >= 3, "only {steps:?}");
    for step in steps {
        for place in ["before", "after"] {
            for what in ["kill-all", "kill-phoenix"] {
                points.push(format!("{step} {place} {what}"));
            }
        }
    }
    in_turn(&points, |point| {
        let fleet = missing(1);
        if point.ends_with("kill-phoenix") {
            fleet.site.write("standin/call", "100");
        }
        fleet.struck(point);
        fleet.recover();
        check(&fleet, 1, point);
        fleet.settled();
    });
}

/// Two containers' in one place: neither takes away what is begun for the other.
pub fn made_two_at_a_time() {
    let fleet = missing(2);
    fleet.site.write("standin/call", "100");
    fleet.ok(&["--jobs", "2", "apply"]);
    check(&fleet, 2, "two at a time");
    fleet.settled();
}

/// A directory that hands its group on to what is made in it does not change the mode that is
/// declared.
pub fn in_one_with_a_set_group_id() {
    let mut fleet = missing(1);
    let srv = fleet.site.path("srv");
    fs::set_permissions(&srv, fs::Permissions::from_mode(0o2755)).expect("set");
    fleet.hypervisor["shared_volumes"]["own0"]["mode"] = json!("0750");
    fleet.write();
    fleet.apply();
    fleet.settled();
    let found = fs::metadata(srv.join("made/own0")).expect("a directory");
    assert_eq!(found.mode() & 0o7777, 0o750);
}
