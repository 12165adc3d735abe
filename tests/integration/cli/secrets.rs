//! Secrets of the configuration reach the host and nothing else: a unique value in every place
//! where one can be, every command, and then a search through all that was written and printed.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Done, Site};

const MARKED: &str = "Zq1marked0vK2pWxT8rLm";
const AT_THE_TOP: &str = "Zq2topmost4hJ9sYcE3bN";
const BY_NAME: &str = "Zq3named00fG7dQaU6iOp";
const NUMBER: &str = "918273645546372819";
const VARIABLE: &str = "Zq4envir0ntB5vCxZ1lKj";
const ARGUMENT: &str = "Zq5argum3ntH8gFdS2aPo";
const LINE: &str = "Zq6lxcenv1rI9uYtR4eWq";
const PLAIN_LINE: &str = "Zq7lxcpl41nM6nBvC0xZl";
const MOUNT: &str = "Zq8cifsm0uK3jHgF7dSap";
const BEARER: &str = "Zq9bearer5oO1iUyT6rEw";
const ADDRESS: &str = "Zr0addres5qL4kJhG9fDs";
const HOST_FILE: &str = "Zr1hyperv1aA7sDfG2hJk";
const LINES: &str = "Zr2firstl1neQ8wErT\nZr3secondl1nY5uIoP";
const CHANGED: &str = "Zr4changed0zX3cVbN6mAs";
const BY_HAND: &str = "Zr5byhand00lK9jHgF2dSa";

const ALL: [&str; 15] = [
    MARKED, AT_THE_TOP, BY_NAME, NUMBER, VARIABLE, ARGUMENT, LINE, PLAIN_LINE, MOUNT, BEARER,
    ADDRESS, HOST_FILE, LINES, CHANGED, BY_HAND,
];

/// Neither one of them nor a half of one is in it.
#[track_caller]
fn holds_none(what: &str, bytes: &[u8]) {
    for secret in ALL.iter().flat_map(|secret| secret.lines()) {
        let (first, second) = secret.split_at(secret.len() / 2);
        for part in [first, second] {
            let found = bytes.windows(part.len()).any(|at| at == part.as_bytes());
            assert!(
                !found,
                "{part} of {secret} is in {what}:\n{}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}

/// Every file below a directory, but for the simulated host: that is the host's own disk.
fn files_hold_none(dir: &Path) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("sim") {
            files_hold_none(&path);
        } else if path.is_file() {
            let bytes = std::fs::read(&path).expect("a file");
            holds_none(&path.display().to_string(), &bytes);
        }
    }
}

fn site() -> Site {
    let mut site = Site::new();
    site.hypervisor["portainer_api"] = json!({ "url": "https://host:9443", "password": HOST_FILE });
    site.lxc["nvidia_repo_url"] = json!(AT_THE_TOP);
    site.lxc["secrets"] = json!(["nvidia_repo_url"]);
    site.set(
        900,
        "bootstrap_ca_url",
        json!(format!("https://u:{ADDRESS}@ca/r")),
    );
    site.set(
        901,
        "bootstrap_ca_url",
        json!(format!("https://u:{ADDRESS}@ca/r")),
    );
    for (key, value) in [
        ("blob", json!({ "deep": ["x", MARKED] })),
        ("secrets", json!(["blob.deep[1]"])),
        (
            "database",
            json!({ "db_password": BY_NAME, "pinToken": 918_273_645_546_372_819_u64 }),
        ),
        ("private_key", json!(LINES)),
        ("env", json!({ "ORDINARY": VARIABLE, "MODE": "db" })),
        (
            "vllm_args",
            json!(format!("--port 80 --api-key {ARGUMENT}")),
        ),
        ("lxc_options", lines(LINE)),
        (
            "health_check",
            json!({ "command": ["curl", "-H", format!("Authorization: Bearer {BEARER}"), "x"] }),
        ),
    ] {
        site.set(902, key, value);
    }
    site.write();
    site
}

fn lines(secret: &str) -> Value {
    json!([
        format!("lxc.environment=APP_TOKEN={secret}"),
        format!("lxc.environment=PLAIN={PLAIN_LINE}"),
        format!("lxc.mount.entry: //srv/a mnt/a cifs username=u,password={MOUNT},ro 0 0"),
    ])
}

#[track_caller]
fn quiet(command: &mut Command, code: i32) -> Done {
    let output = command.output().expect("it starts");
    holds_none(&format!("the output of {command:?}"), &output.stdout);
    holds_none(&format!("the errors of {command:?}"), &output.stderr);
    Done::of(&output).code(code)
}

/// Everything that only looks.
fn looks(site: &Site) {
    for arguments in [
        &["validate"][..],
        &["validate", "--format", "json"],
        &["plan"],
        &["plan", "--all", "--format", "json"],
        &["-vvv", "status"],
        &["status", "--format", "json"],
        &["history", "902"],
        &["history", "902", "--format", "json"],
        &["history", "901"],
        &["runs"],
        &["graph", "--format", "json"],
        &["journal", "verify"],
        &["journal", "stat", "--format", "json"],
        &["journal", "export"],
    ] {
        quiet(&mut site.command(arguments), 0);
    }
    files_hold_none(&site.state());
}

/// A tool that says all of them: as they are, and so that some are cut off.
fn says_all() -> String {
    // The last two are not declared yet.
    let all = ALL[..13].join(" and ");
    let rest = "-".repeat(4096 - 2 * all.len());
    format!("{all} {rest} {all} {all}")
}

#[test]
fn no_secret_is_written_or_printed_whatever_happens() {
    let mut site = site();
    quiet(&mut site.command(&["plan"]), 0).prints("APP_TOKEN=***");
    let refused = json!([
        { "kind": "run_script", "ctid": 902, "fault": "permanent", "message": says_all() },
    ]);
    quiet(
        &mut site.with_faults(&["-vvv", "apply", "--jobs", "1"], &refused),
        5,
    );
    looks(&site);
    let unseen = json!([{ "kind": "observe", "fault": "permanent", "message": says_all() }]);
    quiet(
        &mut site.with_faults(&["-vvv", "plan", "--format", "json"], &unseen),
        6,
    );

    // Killed after the effect: what is known of it is what is declared now.
    site.set(902, "lxc_options", lines(CHANGED));
    site.write();
    let killed = json!([{ "kind": "configure", "ctid": 902, "fault": "exit-after" }]);
    let output = site
        .with_faults(&["apply"], &killed)
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), None, "it was not killed");
    holds_none(
        "the output of what was killed",
        &[output.stdout, output.stderr].concat(),
    );
    files_hold_none(&site.state());
    quiet(
        &mut site.command(&["-vvv", "resume", "--format", "json"]),
        0,
    );
    let adopted = site.ok(&["history", "902", "--format", "json"]);
    assert!(adopted.out.contains("\"adopted\""), "{}", adopted.out);
    looks(&site);
    quiet(&mut site.command(&["plan", "--exit-code"]), 0);

    let export = site.ok(&["journal", "export"]).out;
    for kept in [
        "APP_TOKEN=***",
        "PLAIN=***",
        "password=***,ro",
        "Bearer ***",
    ] {
        assert!(export.contains(kept), "no {kept} in {export}");
    }
    let host = std::fs::read_to_string(site.state().join("sim/log.jsonl")).expect("a log");
    for given in [LINE, CHANGED, PLAIN_LINE, MOUNT, ADDRESS] {
        assert!(host.contains(given), "{given} has not reached the host");
    }
    quiet(&mut site.command(&["journal", "compact", "--keep", "1"]), 0);
    looks(&site);
    quiet(&mut site.command(&["-vvv", "destroy", "902", "--yes"]), 0);
    files_hold_none(&site.state());
}

#[test]
fn a_changed_secret_is_found_and_put_there_and_then_nothing_is_done() {
    let mut site = site();
    site.apply();
    assert_eq!(
        site.apply()["mutations"],
        0,
        "a second apply changes nothing"
    );
    site.change(902, "lxc_options", lines(CHANGED));
    quiet(&mut site.command(&["plan", "--exit-code"]), 4);
    let before = site.effects().len();
    quiet(&mut site.command(&["apply"]), 0);
    let done = site.effects().split_off(before);
    assert_eq!(done[0], (Some(902), "configure".to_owned()), "{done:?}");
    assert_eq!(site.apply()["mutations"], 0);

    // Changed by hand, it is set right, and what is declared no more goes.
    let by_hand = format!("lxc.environment=APP_TOKEN={BY_HAND}");
    quiet(&mut site.command(&["sim", "set", "902", &by_hand]), 0);
    quiet(&mut site.command(&["plan", "--exit-code"]), 4);
    site.apply();
    site.change(902, "lxc_options", json!([]));
    quiet(&mut site.command(&["apply"]), 0);
    let world = std::fs::read_to_string(site.state().join("sim/log.jsonl")).expect("a log");
    let last = world
        .lines()
        .rfind(|line| line.contains("\"changes\":{\"lxc.environment"))
        .expect("one");
    assert!(last.contains("\"lxc.environment\":null"), "{last}");
    assert_eq!(site.apply()["mutations"], 0);
    looks(&site);

    // The application is handed it, so it runs again; which digest is kept does not tell it.
    site.change(902, "database", json!({ "db_password": CHANGED }));
    let before = site.effects().len();
    site.apply();
    let done = site.effects().split_off(before);
    assert_eq!(done, [(Some(902), "run_script".to_owned())]);
    looks(&site);
}

/// What a journal keeps is the same whatever the secrets are: so nothing in it tells a guess from
/// another.
#[test]
fn what_is_kept_does_not_depend_on_the_secrets() {
    let mut site = site();
    let mut kept = |password: &str| {
        let variable = format!("lxc.environment=PIN={password}");
        site.set(902, "database", json!({ "db_password": password }));
        site.set(902, "lxc_options", json!([variable]));
        site.set(
            902,
            "health_check",
            json!({ "shell": format!("test --token {password}") }),
        );
        site.set(
            901,
            "bootstrap_ca_url",
            json!(format!("https://u:{password}@ca/r")),
        );
        site.write();
        site.ok(&["apply", "--jobs", "1"]);
        let mut kept = Vec::new();
        for line in site.ok(&["journal", "export"]).lines() {
            kept.push(line["desired"].clone());
            for action in line["actions"].as_array().into_iter().flatten() {
                let mut action = action.clone();
                action["mark"] = Value::Null;
                kept.push(action);
            }
            kept.push(line["claims"].clone());
        }
        std::fs::remove_dir_all(site.state()).expect("removed");
        kept
    };
    let (one, other) = (kept("one-of-them"), kept("another-one"));
    assert!(
        one.iter().any(|value| value["inputs"].is_string()),
        "{one:?}"
    );
    assert!(
        one.iter().any(|value| value["do"] == "check_health"),
        "{one:?}"
    );
    let differ: Vec<_> = one
        .iter()
        .zip(&other)
        .filter(|(one, other)| one != other)
        .collect();
    assert!(differ.is_empty() && one.len() == other.len(), "{differ:#?}");
}

#[test]
fn mistakes_are_told_without_secrets() {
    let mut site = site();
    for (key, value) in [
        ("memory_mb", json!(BY_NAME)),
        ("features", json!({ "token": ARGUMENT })),
        (
            "health_check",
            json!({ "command": { "password": BEARER }, "retries": BEARER }),
        ),
        ("application_script", json!(MARKED)),
    ] {
        site.set(902, key, value);
    }
    site.write();
    for arguments in [&["validate"][..], &["plan"], &["-vvv", "apply"]] {
        quiet(&mut site.command(arguments), 3).says("is the text \"***\"");
        let arguments = [arguments, &["--format", "json"]].concat();
        let told = quiet(&mut site.command(&arguments), 3).json();
        assert_eq!(told["error"]["code"], 3);
    }
    assert!(!site.state().join("journal").exists(), "nothing began");
}

#[test]
fn a_path_that_marks_nothing_is_an_error() {
    let mut site = site();
    for (path, message, help) in [
        (
            "blob.deeper",
            "there is no 'deeper' in 'blob'",
            "there are: deep",
        ),
        (
            "blob.deep[2]",
            "there is no '[2]' in 'blob.deep'",
            "there are 2 elements",
        ),
        (
            "nowhere",
            "there is no 'nowhere' here",
            "there are: name, memory_mb",
        ),
        ("blob..deep", "is not a path", "separate keys by dots"),
        ("name", "'name' cannot be secret", "take the path away"),
        (
            "lxc_options[2]",
            "no line that sets a variable",
            "lxc.environment",
        ),
        ("short", "shorter than 4 characters", "make it longer"),
        ("flag", "holds neither text nor number", "mark a text"),
    ] {
        site.set(902, "short", json!("abc"));
        site.set(902, "flag", json!(true));
        site.change(902, "secrets", json!(["blob.deep[1]", path]));
        let place = "lxc_configs.902.secrets[1]";
        quiet(&mut site.command(&["validate"]), 3)
            .says(message)
            .says(help)
            .says(place);
    }
    site.set(902, "secrets", json!(["blob.deep[1]"]));
    site.lxc["secrets"] = json!(["lxc_configs.902.blob"]);
    site.write();
    let help = "in the list \"secrets\" of the container";
    quiet(&mut site.command(&["validate"]), 3).says(help);
    site.lxc["secrets"] = json!("nvidia_repo_url");
    site.write();
    site.run(&["validate"]).code(3).says("must be a list");
}
