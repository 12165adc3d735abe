//! Scripts that print what they were handed: it reaches them as it is, and nothing else.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::fleet::Fleet;

const HANDED: &str = "Zq1handed0vK2pWxT8rLm";
const ARGUMENT: &str = "Zq2argum3nt4hJ9sYcE3bN";
const VARIABLE: &str = "Zq3variab1eG7dQaU6iOp";
const ALL: [&str; 3] = [HANDED, ARGUMENT, VARIABLE];

#[track_caller]
fn holds_none(what: &str, bytes: &[u8]) {
    for secret in ALL {
        let (first, second) = secret.split_at(secret.len() / 2);
        for part in [first, second] {
            let found = bytes.windows(part.len()).any(|at| at == part.as_bytes());
            assert!(
                !found,
                "{part} is in {what}:\n{}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}

fn files_hold_none(dir: &Path) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_hold_none(&path);
        } else if path.is_file() {
            let bytes = fs::read(&path).expect("a file");
            holds_none(&path.display().to_string(), &bytes);
        }
    }
}

/// What a command says, and everything that the journal has, after it.
#[track_caller]
fn quiet(fleet: &Fleet, arguments: &[&str], code: i32) {
    let output = fleet.command(arguments).output().expect("it starts");
    holds_none(&format!("the output of {arguments:?}"), &output.stdout);
    holds_none(&format!("the errors of {arguments:?}"), &output.stderr);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    files_hold_none(&fleet.state());
}

/// Prints everything, then one secret and so many bytes behind it, and ends so.
fn script(fleet: &Fleet, name: &str, behind: usize, code: u8) {
    let text = format!(
        r#"#!/bin/sh
all="$* $(cat "${{0%/*}}/phoenix_lxc_configs.json" 2>/dev/null)"
echo "$all" >>/root/handed
echo "$all"
echo "$all" >&2
one=${{all#*Zq}}
printf 'Zq%s%{behind}s' "${{one%%[\"@]*}}" end
exit {code}
"#
    );
    fleet.site.write(&format!("fleet/bin/{name}"), &text);
}

/// What scripts wrote down in the containers.
fn handed(dir: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            all.push_str(&handed(&path));
        } else if path.ends_with("root/handed") {
            all.push_str(&fs::read_to_string(&path).expect("a text"));
        }
    }
    all
}

pub fn what_scripts_print_is_kept_without_them() {
    let mut fleet = Fleet::new();
    fleet.set(
        0,
        "bootstrap_ca_url",
        json!(format!("https://u:{ARGUMENT}@ca")),
    );
    fleet.set(2, "secrets", json!(["blob[1]"]));
    fleet.set(2, "blob", json!(["x", HANDED]));
    let line = format!("lxc.environment=ORDINARY={VARIABLE}");
    fleet.set(2, "lxc_options", json!([line]));
    let check = "cat /root/handed; echo $0 >&2; exit 1";
    let check = json!({ "shell": format!("t={HANDED}; {check}"), "retries": 1 });
    fleet.set(2, "health_check", check);
    fleet.write();
    script(&fleet, "features/tools.sh", 10, 0);
    script(&fleet, "setup.sh", 10, 3);
    quiet(&fleet, &["-vvv", "apply"], 5);
    // Wherever it is cut off.
    for behind in 4096 - 3 - HANDED.len()..4096 {
        script(&fleet, "setup.sh", behind, 4);
        quiet(&fleet, &["-vvv", "apply", "--format", "json"], 5);
    }
    script(&fleet, "setup.sh", 4000, 0);
    quiet(&fleet, &["-vvv", "apply"], 5);
    fleet.change(2, "health_check", serde_json::Value::Null);
    quiet(&fleet, &["-vvv", "apply"], 0);
    for look in ["0", "2"].map(|at| fleet.id(at.parse().expect("a number"))) {
        quiet(&fleet, &["history", &look, "--format", "json"], 0);
    }
    quiet(&fleet, &["journal", "export"], 0);
    quiet(&fleet, &["plan", "--exit-code"], 0);
    // It has reached them.
    let handed = handed(fleet.site.dir.path());
    for secret in [HANDED, ARGUMENT] {
        assert!(handed.contains(secret), "{secret} was not handed over");
    }
    assert!(fleet.site.conf(&fleet.id(2)).contains(VARIABLE));
    fleet.settled();
}
