//! What the machine lacks is said before anything is done.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::able;
use super::site::{Site, run};
use crate::support::{Done, phoenix};

#[test]
fn what_the_machine_lacks_is_said_before_anything_is_done() {
    if !able("what_the_machine_lacks_is_said_before_anything_is_done") {
        return;
    }
    let mut site = Site::new();
    site.declare(800, &json!({}));
    site.write();
    // Looking makes nothing.
    let nowhere = format!("lxc:{}", site.path("nowhere").display());
    let host = ["--host", &nowhere];
    let mut command = phoenix();
    command.args(host).arg("--config").arg(site.dir.path());
    command.arg("--state").arg(site.path("state")).arg("plan");
    let done = Done::of(&command.output().expect("it starts")).code(3);
    done.says("the host has no storage 'pool'")
        .says("the host has no template 'tiny.tar.gz'");
    assert!(!site.path("nowhere").exists());
    // A pool without room.
    let pool = site.path("lxc/storage/pool");
    let pool = pool.to_string_lossy();
    assert!(run(
        "mount",
        &["-t", "tmpfs", "-o", "size=8m", "none", &pool]
    ));
    let done = site.run(&["apply"]).code(3);
    assert!(run("umount", &[&pool]));
    done.says("storage 'pool' has 8M free, and 1G are needed");
    site.change(
        800,
        "network_config",
        json!({ "name": "eth0", "bridge": "nobr", "ip": "manual" }),
    );
    site.run(&["apply"])
        .code(3)
        .says("the host has no bridge 'nobr'");
    // Nothing that is half made, and an error that names the cause.
    site.change(
        800,
        "network_config",
        json!({ "name": "eth0", "bridge": site.bridge, "ip": "manual" }),
    );
    fs::write(site.path("lxc/template/cache/tiny.tar.gz"), "no archive").expect("written");
    let done = site.run(&["apply"]).code(5);
    assert!(
        done.out.contains("cannot unpack the template tiny.tar.gz"),
        "{}",
        done.out
    );
    assert_eq!(
        fs::read_dir(site.path("lxc/storage/pool"))
            .expect("there")
            .count(),
        0
    );
    assert!(!site.path("lxc/800").exists() && !site.path("lxc/.800.creating").exists());
}

/// A command of a site's phoenix, as another user.
#[expect(
    clippy::disallowed_methods,
    reason = "the real program, started as somebody else"
)]
fn as_nobody(site: &Site, arguments: &[&str]) -> Done {
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    // Where another user can get to it.
    let program = site.path("phoenix");
    fs::copy(env!("CARGO_BIN_EXE_phoenix"), &program).expect("copied");
    let output = command
        .arg(program)
        .args(["--host", "lxc", "--config"])
        .arg(site.dir.path())
        .arg("--state")
        .arg(site.path("state"))
        .args(arguments)
        .output();
    Done::of(&output.expect("it starts"))
}

#[test]
fn who_is_not_root_is_told_so_at_once() {
    if !able("who_is_not_root_is_told_so_at_once") {
        return;
    }
    let mut site = Site::new();
    site.declare(800, &json!({}));
    site.write();
    for verb in ["plan", "apply"] {
        as_nobody(&site, &[verb])
            .code(6)
            .says("real containers need root, and phoenix runs as user 65534")
            .says("run it with sudo, or try the simulated host: --host sim");
    }
    assert!(!site.path("state").exists(), "something was made");
}

#[test]
fn what_is_not_installed_or_not_set_up_is_named_with_what_to_do() {
    if !able("what_is_not_installed_or_not_set_up_is_named_with_what_to_do") {
        return;
    }
    let mut site = Site::new();
    site.declare(800, &json!({}));
    site.write();
    site.text("empty", "");
    let subuid = format!(
        "mount --bind '{}' /etc/subuid",
        site.path("empty").display()
    );
    for (machine, said, help) in [
        (
            "mount --bind /dev/null /usr/bin/lxc-freeze\nmount --bind /dev/null /usr/bin/lxc-info",
            "these tools are not installed: lxc-info, lxc-freeze",
            "apt-get install lxc",
        ),
        (
            subuid.as_str(),
            "unprivileged containers need ids of the host, and root has none in /etc/subuid",
            "usermod --add-subuids",
        ),
    ] {
        site.machine = Some(machine.to_owned());
        for verb in ["plan", "apply"] {
            site.run(&[verb]).code(6).says(said).says(help);
        }
    }
    site.machine = None;
    fs::set_permissions(site.dir.path(), fs::Permissions::from_mode(0o700)).expect("closed");
    let closed = site.run(&["apply"]).code(6);
    closed
        .says("unprivileged containers cannot get through ")
        .says("chmod o+x ");
    // One that is privileged needs neither.
    site.change(800, "unprivileged", json!(false));
    site.machine = Some(subuid);
    site.run(&["apply"]).code(0);
}
