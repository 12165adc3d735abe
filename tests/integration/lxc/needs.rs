//! What the machine lacks is said before anything is done.

use std::fs;

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
