//! What is wrong with the files, or with what they want of the host, is said before any change.

use serde_json::{Value, json};

use crate::support::{Done, LXC, Site, read};

/// `apply`, `plan` and `validate` (which looks at no host) must refuse, and nothing is made.
#[track_caller]
fn refused(site: &Site, by_itself: bool, expected: &str) -> Value {
    let mut commands = vec![&["apply"][..], &["plan"], &["status"], &["resume"]];
    if by_itself {
        commands.extend([&["validate"][..], &["graph"]]);
    } else {
        commands.truncate(2);
    }
    for command in commands {
        site.run(command).code(3).says("error: ").says(expected);
    }
    let document = site.run(&["apply", "--format", "json"]).code(3).json();
    assert_eq!(document["error"]["code"], 3);
    assert_eq!(document["error"]["kind"], "configuration");
    if by_itself {
        assert!(!site.state().exists(), "nothing is made");
        let found = site.run(&["validate", "--format", "json"]).code(3).json();
        assert_eq!(found["error"]["code"], 3);
    } else {
        let runs = site.ok(&["runs", "--format", "json"]).json();
        assert_eq!(runs, json!([]), "no run begins");
        assert!(site.effects().is_empty(), "nothing is done");
    }
    document["error"]["diagnostics"][0].clone()
}

#[test]
fn a_missing_file() {
    let site = Site::new();
    std::fs::remove_file(site.path(LXC)).expect("removed");
    site.run(&["apply"])
        .code(3)
        .says("phoenix_lxc_configs.json' is missing");
    let document = site.run(&["plan", "--format", "json"]).code(3).json();
    assert_eq!(document["error"]["kind"], "configuration");
    let nowhere = site.run(&["plan", "--config", "/nowhere/at/all"]);
    nowhere.code(3).says("'/nowhere/at/all' is not a directory");
}

#[test]
fn broken_json_has_line_and_column() {
    let site = Site::new();
    let broken = read(&site.path(LXC)).replacen("\"cores\": 1,", "\"cores\": ,", 1);
    let line = broken.lines().position(|line| line.contains(": ,"));
    let line = line.expect("the broken line") + 1;
    site.text(LXC, &broken);
    let found = refused(&site, true, &format!("{LXC}:{line}:"));
    assert_eq!(found["line"], line);
    assert!(found["column"].as_u64().expect("a number") > 1);
}

#[test]
fn a_wrong_type() {
    let mut site = Site::new();
    site.change(901, "memory_mb", json!("much"));
    let found = refused(&site, true, "lxc_configs.901.memory_mb");
    assert_eq!(found["path"], "lxc_configs.901.memory_mb");
    let line = read(&site.path(LXC))
        .lines()
        .position(|line| line.contains("\"much\""))
        .expect("the line");
    assert_eq!(found["line"], line + 1);
}

#[test]
fn a_near_miss_of_a_key() {
    let mut site = Site::new();
    site.change(901, "memory_mbb", json!(512));
    let found = refused(&site, true, "did you mean");
    let message = found.to_string();
    assert!(message.contains("memory_mb"), "{message}");
}

#[test]
fn a_cycle() {
    let mut site = Site::new();
    site.set(901, "dependencies", json!(["902"]));
    site.write();
    let found = refused(&site, true, "901");
    let message = found["message"].as_str().expect("a message");
    assert!(
        message.contains("901") && message.contains("902"),
        "{message}"
    );
}

#[test]
fn an_undefined_parent() {
    let mut site = Site::new();
    site.change(901, "clone_from_ctid", json!("950"));
    refused(&site, true, "950");
}

#[test]
fn an_address_twice() {
    let mut site = Site::new();
    site.lxc["lxc_configs"]["903"]["network_config"]["ip"] = json!("10.20.0.102/24");
    site.write();
    refused(&site, true, "10.20.0.102");
}

#[test]
fn a_disk_smaller_than_its_sources() {
    let mut site = Site::new();
    site.change(901, "storage_size_gb", json!(2));
    refused(&site, true, "storage_size_gb");
}

#[test]
fn a_missing_script() {
    let site = Site::new();
    std::fs::remove_file(site.path("bin/setup.sh")).expect("removed");
    refused(&site, true, "setup.sh");
}

#[test]
fn all_mistakes_are_said_at_once() {
    let mut site = Site::new();
    site.set(901, "memory_mb", json!("much"));
    site.set(902, "cores", json!(0));
    site.set(903, "storage_pol", json!("x"));
    site.write();
    let document = site.run(&["validate", "--format", "json"]).code(3).json();
    assert_eq!(document["valid"], false);
    assert_eq!(document["errors"], 3);
    let done = site.run(&["plan"]).code(3);
    assert_eq!(done.err.matches("error: /").count(), 3, "{}", done.err);
}

#[test]
fn a_valid_configuration_is_said_to_be_so() {
    let mut site = Site::new();
    site.change(901, "firewall", json!({ "enabled": true }));
    site.ok(&["validate"])
        .prints("note: ")
        .prints("firewall")
        .prints("The configuration of 4 containers is valid: 1 note.\n");
    let document = site.ok(&["validate", "--format", "json"]).json();
    assert_eq!(document["valid"], true);
    assert_eq!(document["containers"], 4);
    assert_eq!(document["errors"], 0);
    site.ok(&["plan"])
        .prints("Declared, but not managed by phoenix: firewall (901)");
}

/// With this facts file, `apply` must refuse.
#[track_caller]
fn lacking(facts: &Value, expected: &str, path: &str) {
    let site = Site::new();
    site.text("facts.json", &facts.to_string());
    let facts = site.path("facts.json");
    let run = |arguments: &[&str]| {
        let mut command = site.command(arguments);
        command.env("PHOENIX_SIM_FACTS", &facts);
        Done::of(&command.output().expect("it starts"))
    };
    for command in ["plan", "apply"] {
        run(&[command]).code(3).says(expected).says(path);
    }
    let document = run(&["apply", "--format", "json"]).code(3).json();
    assert_eq!(document["error"]["kind"], "configuration");
    let found = &document["error"]["diagnostics"][0];
    assert!(found["line"].as_u64().expect("a number") > 1, "{found}");
    assert_eq!(site.ok(&["runs", "--format", "json"]).json(), json!([]));
    assert!(site.effects().is_empty());
}

fn facts() -> Value {
    json!({
        "storages": { "tank-disks": { "kind": "zfspool" }, "local": { "kind": "dir" } },
        "bridges": ["vmbr0"],
        "templates": ["debian-12.tar.zst"],
    })
}

#[test]
fn a_storage_that_the_host_has_not() {
    let mut facts = facts();
    facts["storages"] = json!({ "other": { "kind": "zfspool" } });
    lacking(
        &facts,
        "the host has no storage 'tank-disks'",
        "lxc_configs.900.storage_pool",
    );
}

#[test]
fn a_bridge_that_the_host_has_not() {
    let mut facts = facts();
    facts["bridges"] = json!(["vmbr1"]);
    lacking(
        &facts,
        "the host has no bridge 'vmbr0'",
        "lxc_configs.900.network_config.bridge",
    );
}

#[test]
fn a_template_that_the_host_has_not() {
    let mut facts = facts();
    facts["templates"] = json!([]);
    lacking(
        &facts,
        "the host has no template 'debian-12.tar.zst'",
        "lxc_configs.900.template",
    );
}

#[test]
fn no_room_in_a_storage() {
    let mut facts = facts();
    facts["storages"]["tank-disks"]["free_gb"] = json!(3);
    lacking(&facts, "3G free", "lxc_configs.900.storage_pool");
}

#[test]
fn a_shrink() {
    let mut site = Site::new();
    site.change(903, "storage_size_gb", json!(8));
    site.apply();
    let (world, effects) = (site.world(), site.effects().len());
    site.change(903, "storage_size_gb", json!(4));
    site.set(902, "memory_mb", json!(512));
    site.write();
    let done = site.run(&["apply"]).code(3);
    done.says("lxc_configs.903.storage_size_gb");
    let plan = site.run(&["plan", "--format", "json"]).code(3).json();
    assert_eq!(plan["error"]["code"], 3);
    assert_eq!(plan["changes"], 1, "the plan for the others is still shown");
    assert_eq!(site.world(), world, "nothing at all is done");
    assert_eq!(site.effects().len(), effects);
    let runs = site.ok(&["runs", "--format", "json"]).json();
    assert_eq!(runs.as_array().expect("a list").len(), 1);
}
