//! A journal that cannot be used is said, with exit code 7, and nothing is done.

use std::path::Path;

use phoenix::journal::Journal;
use serde_json::{Value, json};

use crate::support::{Done, Site, read, tool};

#[track_caller]
fn unusable(site: &Site, arguments: &[&str], expected: &str) {
    let before = site.path("state/sim").exists().then(|| site.effects());
    site.run(arguments).code(7).says(expected).says("help: ");
    let json = [arguments, &["--format", "json"]].concat();
    let document = site.run(&json).code(7).json();
    assert_eq!(document["error"]["code"], 7);
    assert_eq!(document["error"]["kind"], "journal");
    assert!(document["error"]["help"].is_string());
    if let Some(before) = before {
        assert_eq!(site.effects(), before, "nothing is done");
    }
}

#[test]
fn of_another_host() {
    let site = Site::new();
    site.apply();
    let other = format!("sim:{}", site.path("other").display());
    for command in ["apply", "plan", "status"] {
        unusable(&site, &[command, "--host", &other], "belongs to host 'sim:");
    }
}

#[test]
fn of_another_host_when_resumed() {
    let site = Site::new();
    let faults = json!([{ "kind": "clone", "fault": "permanent" }]);
    let output = site.with_faults(&["apply"], &faults).output();
    Done::of(&output.expect("it starts")).code(5);
    let other = format!("sim:{}", site.path("other").display());
    unusable(&site, &["resume", "--host", &other], "belongs to host");
}

#[test]
fn from_a_newer_version() {
    let site = Site::new();
    site.apply();
    let path = site.path("state/journal/meta.json");
    let mut meta: Value = serde_json::from_str(&read(&path)).expect("JSON");
    meta["format"] = json!(99);
    std::fs::write(&path, meta.to_string()).expect("written");
    for command in [
        &["apply"][..],
        &["plan"],
        &["history", "901"],
        &["runs"],
        &["journal", "verify"],
    ] {
        unusable(&site, command, "has format 99");
    }
}

#[test]
fn held_by_another_process() {
    let site = Site::new();
    site.apply();
    let held = Journal::open_existing(&site.state())
        .expect("a journal")
        .expect("there is one");
    let holder = format!("process {}", std::process::id());
    for command in [
        &["apply"][..],
        &["resume"],
        &["plan"],
        &["history", "901"],
        &["journal", "verify"],
    ] {
        unusable(&site, command, &holder);
    }
    held.close().expect("closed");
    site.ok(&["plan"]);
}

#[test]
fn in_a_state_directory_that_cannot_be_written_to() {
    let site = Site::new();
    site.text("file", "");
    let below = site.path("file/state");
    let below = below.to_str().expect("UTF-8");
    unusable(&site, &["apply", "--state", below], "is not writable");
    let host = format!("sim:{}", site.path("host").display());
    let elsewhere = ["apply", "--state", below, "--host", &host];
    unusable(&site, &elsewhere, "is not writable");
}

#[test]
fn that_was_altered() {
    let site = Site::new();
    site.apply();
    site.ok(&["journal", "verify"])
        .prints("The journal is whole: ");
    let verified = site.ok(&["journal", "verify", "--format", "json"]).json();
    assert_eq!(verified["whole"], true);
    let stat = site.ok(&["journal", "stat", "--format", "json"]).json();
    assert_eq!(stat["events"], verified["events"]);
    let exported = site.ok(&["journal", "export"]).lines();
    let closing = exported.last().expect("a line");
    assert_eq!(closing["kind"], "journal");
    assert_eq!(closing["events"], stat["events"]);
    assert_eq!(Some(exported.len() as u64 - 1), stat["events"].as_u64());
    site.ok(&["journal", "stat"]).prints("Events ");

    let path = site.path("state/journal/meta.json");
    let mut meta: Value = serde_json::from_str(&read(&path)).expect("JSON");
    meta["host"] = json!("sim:somebody-else");
    std::fs::write(&path, meta.to_string()).expect("written");
    unusable(&site, &["journal", "verify"], "damaged");
}

/// A small file system of its own; none where mounting is not permitted.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn new(path: &'a Path, mib: u32) -> Option<Self> {
        std::fs::create_dir_all(path).expect("a directory");
        let size = format!("size={mib}m");
        let arguments = ["-t", "tmpfs", "-o", &size, "tmpfs"].map(AsRef::as_ref);
        if tool("mount", &[&arguments[..], &[path.as_os_str()]].concat()) {
            return Some(Self(path));
        }
        eprintln!("SKIPPED: a small tmpfs cannot be mounted here (root is needed)");
        None
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        tool("umount", &[self.0.as_os_str()]);
    }
}

#[test]
fn on_a_full_disk() {
    let site = Site::new();
    let mount = site.path("small");
    let Some(_disk) = SmallDisk::new(&mount, 16) else {
        return;
    };
    let state = mount.join("state");
    let state = state.to_str().expect("UTF-8");
    site.ok(&["apply", "--state", state]);
    let filler = mount.join("filler");
    std::fs::write(&filler, vec![0; 10 << 20]).expect("room for it");
    let apply = ["apply", "--state", state];
    unusable(&site, &apply, "too little space");
    std::fs::remove_file(&filler).expect("removed");
    site.ok(&apply).prints("Nothing changed");
    site.ok(&["journal", "verify", "--state", state]);
}
