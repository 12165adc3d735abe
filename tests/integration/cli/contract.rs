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

#[test]
fn every_command_prints_one_document() {
    let site = Site::new();
    site.apply();
    for (verb, done, ctid) in [
        (&["set", "901", "memory=512"][..], "set", json!(901)),
        (&["stop", "901"], "stop", json!(901)),
        (&["start", "901"], "start", json!(901)),
        (&["unmount", "901", "/srv/site"], "unmount", json!(901)),
        (&["lock", "903"], "lock", json!(903)),
        (&["unlock", "903"], "unlock", json!(903)),
        (&["snapshot", "903", "mine"], "snapshot", json!(903)),
        (
            &["delsnapshot", "903", "mine"],
            "delete_snapshot",
            json!(903),
        ),
        (&["stop", "902"], "stop", json!(902)),
        (&["destroy", "902"], "destroy", json!(902)),
        (&["reboot"], "reboot", json!(null)),
        (&["reset"], "reset", json!(null)),
    ] {
        let printed = site.ok(&[&["sim", "--format", "json"], verb].concat());
        assert_eq!(printed.json(), json!({ "done": done, "ctid": ctid }));
        assert_eq!(printed.err, "");
    }
    let graph = site.ok(&["graph", "901", "--format", "json"]).json();
    let expected = json!({ "containers": [
        { "ctid": 900, "name": "base", "needs": [], "clone_of": null, "externals": [] },
        { "ctid": 901, "name": "web", "needs": [900], "clone_of": 900, "externals": [] },
    ] });
    assert_eq!(graph, expected);
}

#[test]
fn the_history_of_an_unknown_run_names_the_known_ones() {
    let site = Site::new();
    let named = &["history", "901", "--run", "zzz"];
    site.run(named)
        .code(2)
        .says("the journal has nothing about container 901");
    let run = site.apply()["run"].as_str().expect("a run").to_owned();
    site.run(named)
        .code(2)
        .says("no run that begins with 'zzz' worked on container 901")
        .says(&format!("those that did are {run}"));
    site.run(&["history", "950", "--run", &run])
        .code(2)
        .says("the journal has nothing about container 950");
    let upper = run.to_uppercase();
    assert!(!site.ok(&["history", "901", "--run", &upper]).out.is_empty());
}

#[test]
fn what_is_declared_no_more_is_said_and_left() {
    let mut site = Site::new();
    site.apply();
    let declared = site.lxc["lxc_configs"].as_object_mut().expect("an object");
    declared.shift_remove("903");
    site.write();
    let words = "Made by phoenix and declared no more, left as they are: 903 (running)\n";
    assert!(site.ok(&["plan", "--exit-code"]).out.ends_with(words));
    let plan = site.ok(&["plan", "--format", "json"]).json();
    assert_eq!(
        plan["undeclared"],
        json!([{ "ctid": 903, "status": "running" }])
    );
    let status = site.ok(&["status", "--format", "json"]).json();
    let row = &status["containers"][3];
    assert_eq!(row["ctid"], 903);
    assert_eq!(row["name"], "lone");
    assert_eq!(row["desired"], "absent");
    assert_eq!(row["observed"], "running");
    assert_eq!(row["drift"], false);
    site.ok(&["status"]).prints("903   lone  absent   running");
    assert_eq!(site.apply()["mutations"], 0);
}

#[test]
fn too_many_names_are_refused() {
    let site = Site::new();
    let names = |number: usize| vec!["903"; number];
    site.ok(&[&["plan"][..], &names(5000)].concat());
    for command in ["plan", "apply"] {
        site.run(&[&[command][..], &names(5001)].concat())
            .code(2)
            .says("5001 containers are named; the limit is 5000")
            .says("name none");
    }
}
