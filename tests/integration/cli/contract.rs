//! What scripts and careful people rely on: how a command ends, and what it prints.

use std::process::Stdio;

use serde_json::json;

use crate::support::{Done, Site};

/// How a command ends when nobody reads what it prints.
fn unheard(site: &Site, arguments: &[&str]) -> Option<i32> {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = site.command(arguments);
    command.stdout(Stdio::from(writer)).stderr(Stdio::null());
    command.status().expect("it starts").code()
}

#[test]
fn a_reader_that_goes_away_changes_no_exit_code() {
    let mut site = Site::new();
    for format in ["human", "json"] {
        let with = |arguments: &[&'static str]| {
            let all = [arguments, &["--format", format]].concat();
            unheard(&site, &all)
        };
        assert_eq!(with(&["plan", "--exit-code"]), Some(4), "{format}");
        assert_eq!(with(&["plan"]), Some(0), "{format}");
        assert_eq!(with(&["history", "zero"]), Some(2), "{format}");
    }
    site.apply();
    assert_eq!(unheard(&site, &["journal", "export"]), Some(0));
    site.change(903, "storage_size_gb", json!(1));
    for format in ["human", "json"] {
        let code = unheard(&site, &["plan", "--format", format]);
        assert_eq!(code, Some(3), "{format}");
    }
}

#[test]
fn looking_at_the_host_is_tried_again_too() {
    let mut site = Site::new();
    site.apply();
    site.change(903, "memory_mb", json!(512));
    for command in [&["status"][..], &["plan"], &["apply"], &["resume"]] {
        if command == ["resume"] {
            let faults = json!([{ "kind": "start", "ctid": 903, "fault": "permanent" }]);
            site.ok(&["sim", "stop", "903"]);
            let output = site.with_faults(&["apply"], &faults).output();
            Done::of(&output.expect("it starts")).code(5);
        }
        let faults = json!([{ "kind": "observe", "fault": "transient" }]);
        let run = |arguments: &[&str]| {
            let output = site.with_faults(arguments, &faults).output();
            Done::of(&output.expect("it starts"))
        };
        run(&[command, &["--attempts", "1"]].concat()).code(6);
        run(command).code(0);
    }
}
