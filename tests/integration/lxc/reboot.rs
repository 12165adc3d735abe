//! The host goes down and comes back: everything that ran is gone, and the kernel has another
//! boot id.

use std::fs;

use serde_json::json;

use super::able;
use super::drift::lines;
use super::fleet::{RAN, fleet, ran};
use super::kills::{cut_when, without_repeats};
use super::site::Site;

/// All containers are stopped hard, and whoever asks is told that the kernel has just begun.
fn reboot(site: &mut Site, number: u8) {
    site.stop_all();
    assert_eq!(site.await_quiet(), Vec::<String>::new());
    let id = format!("00000000-0000-4000-8000-0000000000{number:02}\n");
    site.text("boot_id", &id);
    let (file, whole) = (site.path("boot_id"), site.path("proc"));
    fs::create_dir_all(&whole).expect("made");
    // An unprivileged container gets a /proc only where a whole one can be seen.
    site.machine = Some(format!(
        "mount -t proc proc '{}'\nmount --bind '{}' /proc/sys/kernel/random/boot_id",
        whole.display(),
        file.display()
    ));
}

#[test]
fn after_a_reboot_what_must_run_is_started_and_nothing_is_done_again() {
    if !able("after_a_reboot_what_must_run_is_started_and_nothing_is_done_again") {
        return;
    }
    let mut site = fleet();
    assert_eq!(site.apply()["failed"], 0);
    let before = ran(&site);
    reboot(&mut site, 1);
    let plan = site.run(&["plan", "--format", "json"]).code(0).json();
    let (mut starts, mut checks) = (0, 0);
    for line in lines(&plan) {
        match line.split_once(' ').expect("an action").1 {
            "start" => starts += 1,
            "check_health" => checks += 1,
            _ => panic!("{line}"),
        }
    }
    assert_eq!((starts, checks), (8, 5), "{plan}");
    let done = site.apply();
    assert_eq!(
        (&done["failed"], &done["mutations"]),
        (&json!(0), &json!(8)),
        "{done}"
    );
    assert_eq!(site.running(), site.ids());
    assert_eq!(ran(&site), before, "a script ran again");
    assert_eq!(site.apply()["mutations"], 0);
    // What was started by hand is not started again.
    reboot(&mut site, 2);
    assert!(site.lxc("lxc-start", 810, &[]));
    let done = site.apply();
    assert_eq!(
        (&done["failed"], &done["mutations"]),
        (&json!(0), &json!(7)),
        "{done}"
    );
    assert_eq!(ran(&site), before, "a script ran again");
}

#[test]
fn a_reboot_in_the_middle_of_a_run_is_said_and_the_run_goes_on() {
    if !able("a_reboot_in_the_middle_of_a_run_is_said_and_the_run_goes_on") {
        return;
    }
    let mut site = fleet();
    // Until some containers are there and run, and others do not exist yet.
    cut_when(&site, |site| site.running().len() >= 3);
    let running = site.running().len();
    assert!(running < 8, "all run already");
    reboot(&mut site, 1);
    let done = site.run(&["resume", "--format", "json"]).code(0).json();
    assert_eq!(
        (&done["failed"], &done["converged"]),
        (&json!(0), &json!(8)),
        "{done}"
    );
    let history = site.run(&["history", "800"]).code(0);
    history.prints("run interrupted: the host was rebooted while phoenix");
    assert_eq!(site.running(), site.ids());
    // One that was cut ran again, no other.
    for ((ctid, ran), (_, once)) in ran(&site).iter().zip(RAN) {
        assert_eq!(without_repeats(ran), once, "scripts of {ctid}");
    }
    assert_eq!(site.apply()["mutations"], 0);
    site.run(&["journal", "verify"]).code(0);
}
