//! Starts that others disturb, and what must not be left of them.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;

use super::able;
use super::site::{Site, run};

#[test]
fn who_loses_a_loop_device_to_another_takes_the_next() {
    if !able("who_loses_a_loop_device_to_another_takes_the_next") {
        return;
    }
    let mut site = Site::new();
    for ctid in 800..806 {
        site.declare(ctid, &json!({}));
    }
    site.write();
    assert_eq!(site.apply()["failed"], 0);
    let image = site.path("image").to_string_lossy().into_owned();
    assert!(run("truncate", &["-s", "1M", &image]));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            // One is taken and given back, again and again.
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    run("mount", &["-o", "loop", &image, "/nowhere"]);
                }
            });
        }
        for _ in 0..3 {
            site.stop_all();
            let done = site.run(&["apply", "--attempts", "1", "--jobs", "6"]);
            if done.code != Some(0) {
                over.store(true, Ordering::SeqCst);
            }
            done.code(0);
        }
        over.store(true, Ordering::SeqCst);
    });
}

#[test]
fn no_interface_is_left_of_a_start_that_was_killed() {
    if !able("no_interface_is_left_of_a_start_that_was_killed") {
        return;
    }
    let mut site = Site::new();
    site.declare(800, &json!({}));
    site.write();
    assert_eq!(site.apply()["failed"], 0);
    let names = site.interfaces();
    let [name] = names.as_slice() else {
        panic!("{names:?}")
    };
    assert!(name.starts_with("v800i0-"), "{name}");
    // Both ends on the host: so it looks when lxc-start was killed before it moved one.
    site.stop_all();
    assert_eq!(site.await_quiet(), Vec::<String>::new());
    let peer = format!("{}p", site.bridge);
    let made = ["link", "add", name, "type", "veth", "peer", "name", &peer];
    assert!(run("ip", &made));
    assert_eq!(site.apply()["failed"], 0);
    let exists = |name: &str| Path::new("/sys/class/net").join(name).exists();
    assert!(!exists(&peer), "one end of a pair that never came to be");
    assert_eq!(site.interfaces(), names);
    // The same of an interface that was to be put into a container that runs.
    let init = site.init(800).to_string();
    let own = std::process::id().to_string();
    for step in [
        ["link", "set", "dev", "eth0", "down"].as_slice(),
        ["link", "set", "dev", "eth0", "netns", &own, "name", &peer].as_slice(),
    ] {
        assert!(run(
            "nsenter",
            &[&["-t", &init, "-n", "--", "ip"], step].concat()
        ));
    }
    assert!(exists(&peer));
    site.run(&["apply"]).code(0);
    assert!(!exists(&peer) && !exists(name));
}

#[test]
fn nothing_goes_on_in_a_container_after_a_check_that_hangs() {
    if !able("nothing_goes_on_in_a_container_after_a_check_that_hangs") {
        return;
    }
    let mut site = Site::new();
    let check =
        json!({ "shell": "sleep 4242 & sleep 4243", "retries": 2, "interval": 0, "timeout": 1 });
    site.declare(800, &json!({ "health_check": check }));
    site.write();
    let done = site.run(&["apply"]).code(5);
    assert!(
        done.out.contains("not healthy after 2 tries"),
        "{}",
        done.out
    );
    let shown = site.inside(800, "ps -o args");
    assert!(!shown.contains("sleep 424"), "{shown}");
    let log = fs::read_to_string(site.path("lxc/800/start.log")).unwrap_or_default();
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn what_a_killed_phoenix_was_writing_is_swept() {
    if !able("what_a_killed_phoenix_was_writing_is_swept") {
        return;
    }
    let mut site = Site::new();
    site.declare(800, &json!({}));
    site.declare(801, &json!({}));
    site.write();
    assert_eq!(site.apply()["failed"], 0);
    assert!(site.lxc("lxc-stop", 801, &["-k"]));
    let mut halves = Vec::new();
    for ctid in [800, 801] {
        for name in ["config", "config.running", "receipts.json"] {
            let half = format!("lxc/{ctid}/.{name}.new");
            site.text(&half, "half");
            halves.push(half);
        }
    }
    site.text("lxc/800/.mine.new", "a person's");
    assert_eq!(site.apply()["mutations"], 1);
    let left = halves.iter().filter(|half| site.path(half).exists());
    assert_eq!(left.count(), 0);
    assert!(site.path("lxc/800/.mine.new").exists());
}

/// A start that is killed between two calls to the kernel leaves the disk attached to a loop
/// device that nobody uses, and that no kernel ever clears.
#[test]
fn a_loop_device_that_a_killed_start_left_is_let_go() {
    if !able("a_loop_device_that_a_killed_start_left_is_let_go") {
        return;
    }
    let mut site = Site::new();
    site.declare(800, &json!({}));
    site.write();
    assert_eq!(site.apply()["failed"], 0);
    let image = site.path("lxc/storage/pool/vm-800-disk-0.raw");
    let image = image.to_string_lossy();
    for words in [&["apply"][..], &["destroy", "800", "--yes"]] {
        site.stop_all();
        assert_eq!(site.await_quiet(), Vec::<String>::new());
        assert!(run("losetup", &["--find", &image]), "attached");
        site.run(words).code(0);
    }
    assert_eq!(site.await_quiet(), Vec::<String>::new());
}
