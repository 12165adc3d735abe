//! Plan, apply, drift, failure, reboot: the main job.

use serde_json::{Value, json};

use crate::support::{Done, Site};

#[test]
fn looking_makes_nothing() {
    let site = Site::new();
    let plan = site.ok(&["plan", "--format", "json"]).json();
    assert_eq!(plan["containers"].as_array().expect("a list").len(), 4);
    assert!(plan["changes"].as_u64().expect("a number") > 8);
    for command in [
        &["status"][..],
        &["history", "901"],
        &["runs"],
        &["apply", "--dry-run"],
        &["resume"],
        &["validate"],
        &["graph"],
        &["journal", "verify"],
        &["journal", "export"],
        &["journal", "stat"],
    ] {
        site.ok(command);
        let json = [command, &["--format", "json"]].concat();
        site.ok(&json);
    }
    assert!(!site.state().exists());
    assert_eq!(
        site.ok(&["runs", "--format", "json"]).json(),
        Value::Array(vec![])
    );
}

#[test]
fn apply_does_what_plan_said_and_then_nothing() {
    let site = Site::new();
    let planned = site.ok(&["plan", "--format", "json"]).json();
    let done = site.ok(&["apply"]);
    assert!(done.out.contains("901 web  converged in "), "{}", done.out);
    let changes = planned["changes"].as_u64().expect("a number");
    let last = done.out.lines().last().expect("a summary");
    assert!(
        last.starts_with(&format!(
            "Converged 4 containers (4 changed, 0 unchanged), 0 failed, 0 skipped; \
             {changes} changes in "
        )),
        "{last}"
    );
    let world = site.world();

    site.ok(&["apply"])
        .prints("Nothing changed: 4 containers are as declared.\n");
    let again = site.apply();
    assert_eq!(again["mutations"], 0);
    assert_eq!(again["converged"], 4);
    assert_eq!(again["unchanged"], 4);
    assert_eq!(again["observations"], 1, "one look for all containers");
    assert!(again["durable_batches"].as_u64().expect("a number") <= 3);
    site.ok(&["plan", "--exit-code"])
        .prints("No changes. 4 containers are as declared.\n");
    let plan = site.ok(&["plan", "--format", "json"]).json();
    assert_eq!(
        plan,
        json!({ "changes": 0, "containers": [], "undeclared": [] })
    );
    assert_eq!(site.world(), world);
}

#[test]
fn a_directory_in_another_is_made_after_it() {
    let mut site = Site::new();
    let paths = ["/srv/media/films/new", "/srv/media"];
    let mounts = paths.map(|path| json!({ "host_path": path, "container_path": path }));
    site.change(903, "mount_points", json!(mounts));
    let plan = site.ok(&["plan", "903"]).out;
    let made = paths.map(|path| {
        let place = plan.find(&format!("directory {path}"));
        place.unwrap_or_else(|| panic!("{path} in {plan}"))
    });
    assert!(made[1] < made[0], "{plan}");
}

#[test]
fn drift_is_shown_and_exactly_that_is_corrected() {
    let site = Site::new();
    site.apply();
    let world = site.world();
    site.ok(&["sim", "set", "901", "memory=1024"]);
    assert_ne!(site.world(), world);

    site.run(&["plan", "--exit-code"])
        .code(4)
        .prints("# 901 web\n  ~ apply_configurations        memory: 1024 → 256\n")
        .prints("Plan: 0 to create, 1 to change, 0 restarts, 0 scripts to run; 3 unchanged.\n");
    let plan = site
        .run(&["plan", "--exit-code", "--format", "json"])
        .code(4)
        .json();
    assert_eq!(plan["changes"], 1);
    assert_eq!(plan["containers"][0]["ctid"], 901);
    let action = &plan["containers"][0]["steps"][0]["actions"][0];
    assert_eq!(action["action"], "configure");
    assert_eq!(
        action["diff"],
        json!([{ "key": "memory", "from": "1024", "to": "256" }])
    );
    let status = site.ok(&["status", "901", "--format", "json"]).json();
    assert_eq!(status["containers"][0]["drift"], true);
    assert_eq!(status["containers"][0]["pending"], 1);

    let done = site.apply();
    assert_eq!(done["mutations"], 1);
    assert_eq!(done["unchanged"], 3);
    assert_eq!(
        done["containers"],
        json!([{ "ctid": 901, "outcome": "converged" }])
    );
    site.ok(&["plan", "--exit-code"]);
    assert_eq!(site.world(), world);
}

#[test]
fn every_kind_of_drift_by_hand_is_cured() {
    let site = Site::new();
    site.apply();
    let world = site.world();
    for drift in [
        &["stop", "902"][..],
        &["set", "903", "delete=net0"],
        &["set", "901", "cores=3", "onboot=0"],
    ] {
        site.ok(&[&["sim"], drift].concat());
        site.run(&["plan", "--exit-code"]).code(4);
        assert_eq!(site.apply()["failed"], 0, "{drift:?}");
        site.ok(&["plan", "--exit-code"]);
    }
    assert_eq!(site.world(), world);
    for drift in [&["unmount", "901", "/srv/site"][..], &["stop", "903"]] {
        site.ok(&[&["sim"], drift].concat());
    }
    site.ok(&["sim", "destroy", "903"]);
    site.apply();
    site.ok(&["plan", "--exit-code"]);
}

#[test]
fn after_a_reboot_only_what_is_down_is_started() {
    let site = Site::new();
    site.apply();
    let before = site.effects().len();
    site.ok(&["sim", "reboot"]);
    let done = site.apply();
    assert_eq!(done["mutations"], 3, "901 starts at boot");
    let mut effects = site.effects().split_off(before);
    effects.sort();
    let expected = [
        (None, "reboot"),
        (Some(900), "start"),
        (Some(902), "start"),
        (Some(903), "start"),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(ctid, kind)| (ctid, kind.to_owned()))
        .collect();
    assert_eq!(effects, expected);
}

#[test]
fn a_failure_skips_its_dependents_only_and_can_be_resumed() {
    let site = Site::new();
    let faults = json!([{ "kind": "start", "ctid": 901, "fault": "permanent",
                          "message": "no such device" }]);
    let output = site.with_faults(&["apply"], &faults).output();
    let failed = Done::of(&output.expect("it starts")).code(5);
    let failed = failed
        .prints("901 web  FAILED in start_container after ")
        .prints(": no such device\n")
        .prints("902 db  skipped: 901 did not converge\n")
        .prints("903 lone  converged in ");
    let end: Vec<&str> = failed.out.lines().rev().take(2).collect();
    assert!(end[1].contains("2 containers (2 changed, 0 unchanged), 1 failed, 1 skipped"));
    assert!(end[0].contains("`phoenix history 901`") && end[0].contains("`phoenix resume`"));

    site.ok(&["history", "901"]).prints("no such device");
    site.ok(&["status"]).prints("failed").prints("skipped");
    let runs = site.ok(&["runs", "--format", "json"]).json();
    assert_eq!(runs[0]["outcome"], "failed");
    assert_eq!(runs[0]["resumable"], true);

    let resumed = site.ok(&["resume", "--format", "json"]).json();
    assert_eq!(resumed["run"], runs[0]["run"]);
    assert_eq!(resumed["converged"], 4);
    assert_eq!(resumed["unchanged"], 2);
    site.ok(&["plan", "--exit-code"]);
    let nothing = site.ok(&["resume", "--format", "json"]).json();
    assert_eq!(nothing["run"], Value::Null);
    site.ok(&["resume"]).prints("Nothing to resume: run ");
}

#[test]
fn failures_are_counted_in_the_document() {
    let site = Site::new();
    let faults = json!([{ "kind": "clone", "fault": "permanent" }]);
    let mut command = site.with_faults(&["apply", "--format", "json"], &faults);
    let failed = Done::of(&command.output().expect("it starts"))
        .code(5)
        .json();
    for (key, value) in [("converged", 2), ("failed", 1), ("skipped", 1)] {
        assert_eq!(failed[key], value, "{key}");
    }
    assert_eq!(failed["interrupted"], false);
    let containers = failed["containers"].as_array().expect("a list");
    let skipped = json!({ "ctid": 902, "outcome": "skipped", "because": 901 });
    assert!(containers.contains(&skipped));
}

#[test]
fn what_passes_by_itself_is_tried_again() {
    let site = Site::new();
    let faults = json!([{ "kind": "start", "ctid": 903, "fault": "transient",
                          "message": "can't lock file - got timeout" }]);
    let output = site.with_faults(&["apply", "903"], &faults).output();
    Done::of(&output.expect("it starts"))
        .code(0)
        .prints("start_container: attempt 1 failed, trying again: can't lock file")
        .prints("Converged 1 container (1 changed, 0 unchanged)");
    let output = site
        .with_faults(
            &["apply", "900", "--attempts", "1"],
            &json!([
                { "kind": "start", "fault": "transient" }
            ]),
        )
        .output();
    Done::of(&output.expect("it starts")).code(5);
}

#[test]
fn named_containers_bring_what_they_need() {
    let site = Site::new();
    let done = site.ok(&["apply", "901", "--format", "json"]).json();
    assert_eq!(done["converged"], 2);
    let status = site
        .ok(&["status", "901", "903", "--format", "json"])
        .json();
    assert_eq!(status["containers"][0]["observed"], "running");
    assert_eq!(status["containers"][0]["outcome"], "converged");
    assert_eq!(status["containers"][1]["observed"], "absent");
    assert_eq!(status["containers"][1]["outcome"], Value::Null);
    assert_eq!(status["containers"].as_array().expect("a list").len(), 2);
}

#[test]
fn scripts_run_again_when_a_person_says_so() {
    let site = Site::new();
    site.apply();
    let before = site.effects().len();
    let plan = site.ok(&["plan", "--rerun", "server", "--format", "json"]);
    assert_eq!(plan.json()["changes"], 1);
    let done = site.ok(&["apply", "--rerun", "server", "--format", "json"]);
    assert_eq!(done.json()["mutations"], 1);
    let effects = site.effects().split_off(before);
    assert_eq!(effects, [(Some(901), "run_script".to_owned())]);
    site.run(&["apply", "--rerun", "nothing"])
        .code(2)
        .says("--rerun nothing: no container declares a script of that name");
}

#[test]
fn scripts_run_again_in_the_named_containers_only() {
    let mut site = Site::new();
    site.set(901, "features", json!(["tools", "server"]));
    site.write();
    site.apply();
    let before = site.effects().len();
    let plan = site.ok(&["plan", "901", "--rerun", "tools", "--format", "json"]);
    assert_eq!(plan.json()["changes"], 1);
    site.ok(&["apply", "901", "--rerun", "tools"]);
    let effects = site.effects().split_off(before);
    assert_eq!(effects, [(Some(901), "run_script".to_owned())]);
    site.ok(&["apply", "--rerun", "tools"]);
    assert_eq!(site.effects().len(), before + 3);
    site.run(&["apply", "900", "--rerun", "server"])
        .code(2)
        .says("none of the named containers declares a script of that name");
}

#[test]
fn a_restart_is_shown_and_can_be_left_waiting() {
    let mut site = Site::new();
    site.apply();
    site.set(903, "pct_options", json!(["nesting=1"]));
    site.write();
    site.ok(&["plan"])
        .prints("! start_container             restart, for features\n")
        .prints("1 restart,");
    site.ok(&["apply", "--no-restart"]);
    site.ok(&["plan", "--no-restart"])
        .prints("waits for a restart (--no-restart): features");
    let done = site.ok(&["apply", "--format", "json"]).json();
    assert_eq!(done["mutations"], 1);
    site.ok(&["plan", "--exit-code"]);
}

#[test]
fn history_tells_everything_in_order() {
    let site = Site::new();
    let run = site.apply()["run"].as_str().expect("a run").to_owned();
    site.apply();
    let lines = site.ok(&["history", "901", "--format", "json"]).lines();
    let keys = ["seq", "at", "run", "ctid", "step", "kind", "attempt"];
    for line in &lines {
        let found: Vec<&String> = line
            .as_object()
            .expect("an object")
            .keys()
            .take(7)
            .collect();
        assert_eq!(found, keys);
        let at = line["at"].as_str().expect("a time");
        chrono::DateTime::parse_from_rfc3339(at).expect("RFC 3339");
    }
    let seqs: Vec<u64> = lines
        .iter()
        .map(|line| line["seq"].as_u64().expect("a number"))
        .collect();
    assert!(seqs.is_sorted());
    let kinds: Vec<&str> = lines
        .iter()
        .map(|line| line["kind"].as_str().expect("a kind"))
        .collect();
    assert_eq!(
        kinds.iter().filter(|kind| **kind == "run_started").count(),
        2
    );
    assert!(kinds.contains(&"step_held") && !kinds.contains(&"steps_held"));
    assert!(kinds.contains(&"container_unchanged"));
    let intent = lines.iter().find(|line| line["kind"] == "step_started");
    let intent = intent.expect("an intent");
    assert_eq!(intent["step"], "ensure_container_defined");
    assert_eq!(intent["attempt"], 1);
    assert_eq!(intent["actions"][0]["do"], "clone");
    assert_eq!(intent["seen"], "absent");

    let of_run = ["history", "901", "--format", "json", "--run", &run];
    let first = site.ok(&of_run).lines();
    assert!(first.len() < lines.len());
    assert!(first.iter().all(|line| line["run"] == run.as_str()));
    let steps = [
        "history",
        "901",
        "--format",
        "json",
        "--step",
        "apply_features",
    ];
    let steps = site.ok(&steps).lines();
    assert!(steps.iter().any(|line| line["kind"] == "step_converged"));
    assert!(
        steps
            .iter()
            .all(|line| line["step"] == "apply_features" || line["kind"] == "container_unchanged")
    );
    let future = [
        "history",
        "901",
        "--since",
        "2999-01-01",
        "--format",
        "json",
    ];
    site.ok(&future)
        .says("nothing about container 901 that fits");
    assert_eq!(site.ok(&future).out, "");
    let all = site.ok(&["history", "901", "--since", "1h", "--format", "json"]);
    assert_eq!(all.lines().len(), lines.len());
    site.ok(&["history", "950"])
        .says("The journal has nothing about container 950.");
    site.ok(&["history", "901"]).prints("clone 900@ready");
}

#[test]
fn each_effect_has_its_intent() {
    let site = Site::new();
    site.apply();
    let effects = site.ok(&["sim", "log", "--format", "json"]).lines();
    let events = site.ok(&["journal", "export"]).lines();
    assert_eq!(events[0]["seq"], 1);
    for effect in effects {
        let seq = effect["intent"].as_u64().expect("an intent");
        let intent = &events[usize::try_from(seq).expect("small") - 1];
        assert_eq!(intent["seq"], seq);
        assert_eq!(intent["kind"], "step_started");
        assert_eq!(intent["ctid"], effect["ctid"]);
        assert_eq!(intent["step"], effect["step"]);
        assert_eq!(intent["attempt"], effect["attempt"]);
        let actions = intent["actions"].as_array().expect("actions");
        assert!(actions.contains(&effect["action"]), "{effect}");
    }
}
