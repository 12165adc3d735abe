//! The command line itself.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::json;

use crate::support::{Done, Site, phoenix};

fn run(arguments: &[&str]) -> Done {
    Done::of(&phoenix().args(arguments).output().expect("it starts"))
}

#[test]
fn help_and_version() {
    let help = run(&["--help"]).code(0);
    for word in ["plan", "resume", "Exit codes", "PHOENIX_CONFIG", "Examples"] {
        assert!(help.out.contains(word), "{word}");
    }
    run(&["--version"]).code(0).prints("phoenix 0");
    for command in ["apply", "history", "sim", "journal"] {
        run(&[command, "--help"]).code(0);
    }
    run(&[]).code(2);
}

#[test]
fn what_there_is_not() {
    for (arguments, expected) in [
        (&["aply"][..], "apply"),
        (&["plan", "--frobnicate"], "--frobnicate"),
        (&["plan", "12"], "'12' is not a container id"),
        (&["apply", "--jobs", "0"], "--jobs"),
        (&["--host", "pct:x", "plan"], "pct+ssh://[USER@]NODE[:PORT]"),
        (
            &["--host", "pct+ssh://", "plan"],
            "the node's name is missing",
        ),
        (
            &["--timeout", "begin=1", "plan"],
            "there is no limit 'begin'",
        ),
        (&["--host", "sim:", "plan"], "wants a directory"),
        (&["history", "900", "--step", "nothing"], "apply_features"),
        (
            &["history", "900", "--since", "soon"],
            "'soon' is no moment",
        ),
        (&["schema", "vm"], "hypervisor"),
        (&["plan", "--format", "xml"], "human"),
    ] {
        run(arguments).code(2).says(expected);
        let json = [arguments, &["--format", "json"]].concat();
        if !arguments.contains(&"--format") {
            let document = run(&json).code(2).json();
            assert_eq!(document["error"]["code"], 2);
            assert_eq!(document["error"]["kind"], "usage");
        }
    }
}

#[test]
fn an_undeclared_container_is_named_with_the_declared_ones() {
    let site = Site::new();
    for command in ["plan", "apply", "status", "graph"] {
        site.run(&[command, "955"])
            .code(2)
            .says("container 955 is not declared")
            .says("declared are 900, 901, 902, 903");
    }
    assert!(!site.state().exists());
}

#[test]
fn global_options_stand_before_or_after_the_command_or_in_the_environment() {
    let site = Site::new();
    let (config, state) = (site.dir.path(), site.state());
    let mut before = phoenix();
    before
        .arg("--config")
        .arg(config)
        .arg("--state")
        .arg(&state);
    before.args(["--host=sim", "--format=json", "--jobs=2", "plan"]);
    let mut after = phoenix();
    after.args(["plan", "--host=sim", "--format=json", "--jobs=2"]);
    after.arg("--config").arg(config).arg("--state").arg(&state);
    let mut environment = phoenix();
    environment
        .arg("plan")
        .env("PHOENIX_CONFIG", config)
        .env("PHOENIX_STATE", &state)
        .env("PHOENIX_HOST", "sim")
        .env("PHOENIX_FORMAT", "json")
        .env("PHOENIX_JOBS", "2");
    let mut plans = Vec::new();
    for mut command in [before, after, environment] {
        let done = Done::of(&command.output().expect("it starts")).code(0);
        assert!(done.json()["changes"].is_u64());
        plans.push(done.out);
    }
    assert_eq!(plans[0], plans[1]);
    assert_eq!(plans[0], plans[2]);
    site.apply();
    let nested = site.ok(&["--format", "json", "sim", "show"]).out;
    assert_eq!(nested, site.world());
}

#[test]
fn the_etc_directory_itself_is_a_configuration_too() {
    let site = Site::new();
    let mut command = phoenix();
    command.args(["validate", "--config"]).arg(site.path("etc"));
    Done::of(&command.output().expect("it starts")).code(0);
}

#[test]
fn a_host_that_nobody_named_is_said() {
    let site = Site::new();
    let command = |path: &std::path::Path| {
        let mut command = phoenix();
        command.args(["plan", "--config"]).arg(site.dir.path());
        command.arg("--state").arg(site.state()).env("PATH", path);
        command
    };
    let empty = site.path("empty");
    let done = Done::of(&command(&empty).output().expect("it starts")).code(0);
    let done = done.says("Working on the simulated host in ");
    done.says("offers the storages, bridges and templates that the configuration names");
    let quiet = command(&empty).arg("-q").output().expect("it starts");
    assert_eq!(Done::of(&quiet).code(0).err, "");

    // Beside a `pct` the node is meant, and this machine is none.
    site.text("tools/pct", "#!/bin/sh\n");
    let pct = site.path("tools/pct");
    std::fs::set_permissions(&pct, std::fs::Permissions::from_mode(0o755)).expect("set");
    let tools = site.path("tools");
    let done = Done::of(&command(&tools).output().expect("it starts")).code(6);
    done.says("Working on this Proxmox VE node (no --host was given).");
    let named = command(&tools).args(["--host", "sim"]).output();
    Done::of(&named.expect("it starts")).code(0);
}

#[test]
fn colours_are_for_terminals() {
    let mut site = Site::new();
    assert!(!site.ok(&["plan"]).out.contains('\x1b'));
    site.change(901, "memory_mb", json!("x"));
    assert!(!site.run(&["plan"]).err.contains('\x1b'));
    let mut forced = site.command(&["plan"]);
    forced.env("CLICOLOR_FORCE", "1");
    let forced = Done::of(&forced.output().expect("it starts"));
    assert!(forced.err.contains('\x1b'), "{}", forced.err);
}

#[test]
fn a_reader_that_goes_away_is_no_trouble() {
    let site = Site::new();
    site.apply();
    for arguments in [
        &["schema", "lxc"][..],
        &["journal", "export"],
        &["completions", "bash"],
        &["apply"],
    ] {
        let mut command = site.command(arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert!(Done::of(&output).code(0).err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn what_needs_no_configuration_needs_none() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        run(&["completions", shell]).code(0).prints("phoenix");
    }
    for file in ["lxc", "hypervisor"] {
        let schema = run(&["schema", file]).code(0).json();
        assert!(schema["$schema"].is_string(), "{file}");
    }
}

#[test]
fn graphs_for_both_programs() {
    let site = Site::new();
    site.ok(&["graph"])
        .prints("digraph phoenix {")
        .prints("\"900\" -> \"901\";")
        .prints("\"901\" -> \"902\" [style=dashed];");
    site.ok(&["graph", "--as", "mermaid"])
        .prints("flowchart LR")
        .prints("c901 -.-> c902");
    let one = site.ok(&["graph", "901"]).out;
    assert!(one.contains("900") && !one.contains("902"));
}

#[test]
fn the_simulated_host_answers_by_hand() {
    let site = Site::new();
    site.run(&["sim", "show"])
        .code(2)
        .says("there is no simulated host in ");
    site.apply();
    site.ok(&["sim", "show", "901"]).prints("\"memory\"");
    site.run(&["sim", "set", "901", "memory=lots"])
        .code(2)
        .says("memory");
    site.run(&["sim", "set", "901", "memory"]).code(2);
    site.run(&["sim", "start", "901"])
        .code(5)
        .says("CT 901 already running");
    site.run(&["sim", "stop", "999"])
        .code(5)
        .says("does not exist");
    site.ok(&["sim", "lock", "901", "backup"]);
    site.run(&["sim", "stop", "901"])
        .code(5)
        .says("CT is locked (backup)");
    site.run(&["sim", "lock", "901", "nothing"]).code(2);
    site.ok(&["sim", "unlock", "901"]);
    site.ok(&["sim", "snapshot", "902", "mine"]);
    site.ok(&["sim", "delsnapshot", "902", "mine"]);
    site.ok(&["sim", "log"]).prints("clone 900@ready");
    site.ok(&["sim", "reset"]);
    site.ok(&["status"]).prints("absent");
}

#[test]
fn an_unusable_host_is_said() {
    let site = Site::new();
    site.text("file", "");
    let below = format!("sim:{}", site.path("file/host").display());
    site.run(&["apply", "--host", &below]).code(6);
    let document = site.run(&["apply", "--host", &below, "--format", "json"]);
    assert_eq!(document.code(6).json()["error"]["kind"], "host");
    site.text("facts.json", "{ \"storage\": {} }");
    let mut command = site.command(&["plan"]);
    command.env("PHOENIX_SIM_FACTS", site.path("facts.json"));
    Done::of(&command.output().expect("it starts"))
        .code(6)
        .says("facts.json");
    let mut command = site.command(&["apply"]);
    command.env("PHOENIX_SIM_LATENCY", "soon");
    Done::of(&command.output().expect("it starts"))
        .code(2)
        .says("PHOENIX_SIM_LATENCY");
}
