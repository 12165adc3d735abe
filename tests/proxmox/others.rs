//! Others on the same node: who changes what phoenix compared, who holds a lock, who has the id.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde_json::json;

use crate::fleet::Fleet;

/// Somebody changes the container between phoenix's look and its `pct set`: that is refused,
/// looked at again, and their change stays where it is nobody's business of phoenix's.
pub fn a_change_of_somebody_else_is_not_lost() {
    let mut fleet = Fleet::new();
    fleet.apply();
    fleet.change(3, "memory_mb", json!(512));
    let lone = fleet.id(3);
    let conf = format!("etc/pve/nodes/vm/lxc/{lone}.conf");
    fleet.site.write(
        "standin/edit",
        &format!("sed -i 's/^ostype:/nameserver: 9.9.9.9\\nostype:/' \"$1/{conf}\""),
    );
    let next = fleet.calls() + 1;
    fleet
        .site
        .write("standin/point", &format!("{next} before edit"));
    fleet.apply();
    let text = fleet.site.conf(&lone);
    assert!(
        text.contains("nameserver: 9.9.9.9\n"),
        "their change is lost:\n{text}"
    );
    assert!(text.contains("memory: 512\n"), "ours was not made:\n{text}");
    let refused = fleet
        .log()
        .iter()
        .filter(|line| line.starts_with(&format!("{next}\tend\t255")))
        .count();
    assert_eq!(
        refused,
        1,
        "the first attempt was not refused: {:#?}",
        fleet.log()
    );
    fleet.settled();
}

/// The same with a raw line, which phoenix writes by itself: somebody comes in while it is at
/// another container.
pub fn a_change_before_a_raw_edit_is_not_lost() {
    let mut fleet = Fleet::of(2);
    fleet.apply();
    fleet.change(1, "dependencies", json!([fleet.id(0)]));
    fleet.apply();
    fleet.set(0, "memory_mb", json!(512));
    fleet.change(1, "lxc_options", json!(["lxc.cap.drop=mknod"]));
    let second = fleet.id(1);
    let conf = format!("etc/pve/nodes/vm/lxc/{second}.conf");
    let edit = format!("sed -i 's/^ostype:/nameserver: 9.9.9.9\\nostype:/' \"$1/{conf}\"");
    fleet.site.write("standin/edit", &edit);
    let next = fleet.calls() + 1;
    fleet
        .site
        .write("standin/point", &format!("{next} after edit"));
    fleet.apply();
    let text = fleet.site.conf(&second);
    for line in ["nameserver: 9.9.9.9\n", "lxc.cap.drop: mknod\n"] {
        assert!(text.contains(line), "no {line} in:\n{text}");
    }
    fleet.settled();
}

/// A backup runs: it is waited for, with a message, and then all goes on.
pub fn a_backup_is_waited_for() {
    let mut fleet = Fleet::new();
    fleet.apply();
    fleet.change(3, "memory_mb", json!(512));
    let lone = fleet.id(3);
    fleet.site.pct(&["set", &lone, "--lock", "backup"]);
    let said = fleet.site.path("said");
    let mut command = fleet.command(&["apply"]);
    command
        .stdout(Stdio::null())
        .stderr(fs::File::create(&said).expect("a file"));
    let mut child = command.spawn().expect("it starts");
    let text = || fs::read_to_string(&said).unwrap_or_default();
    let mut waited = 0;
    while !text().contains("backup") {
        let over = child.try_wait().expect("a process");
        assert!(
            over.is_none() && waited < 3000,
            "no word of the backup:\n{}",
            text()
        );
        std::thread::sleep(Duration::from_millis(10));
        waited += 1;
    }
    fleet.site.pct(&["unlock", &lone]);
    assert!(child.wait().expect("it ends").success(), "{}", text());
    assert!(fleet.site.conf(&lone).contains("memory: 512\n"));
    fleet.settled();
}

/// One that does not end is not waited for longer than is said, and its lock stays.
pub fn a_backup_without_end_is_given_up() {
    let mut fleet = Fleet::new();
    fleet.apply();
    fleet.change(3, "memory_mb", json!(512));
    let lone = fleet.id(3);
    fleet.site.pct(&["set", &lone, "--lock", "backup"]);
    let text = fleet.site.conf(&lone);
    let done = fleet.run(&["--timeout", "backup=1", "apply", "--attempts", "2"]);
    assert_ne!(done.code, Some(0), "{}", done.out);
    assert!(
        done.err.contains("backup") || done.out.contains("backup"),
        "{}\n{}",
        done.out,
        done.err
    );
    assert_eq!(fleet.site.conf(&lone), text);
}

/// Locks that are not phoenix's are left, whatever they are for.
pub fn locks_of_others_are_never_broken() {
    for lock in [
        "migrate",
        "rollback",
        "snapshot",
        "snapshot-delete",
        "disk",
        "create",
        "fstrim",
        "destroyed",
    ] {
        let mut fleet = Fleet::of(1);
        fleet.apply();
        let id = fleet.id(0);
        fleet.change(0, "memory_mb", json!(512));
        fleet.site.pct(&["set", &id, "--lock", lock]);
        let text = fleet.site.conf(&id);
        let done = fleet.run(&["apply", "--attempts", "2"]);
        assert_ne!(done.code, Some(0), "{lock}: {}", done.out);
        assert_eq!(fleet.site.conf(&id), text, "{lock}");
        fleet.ok(&["journal", "verify"]);
        fleet.site.pct(&["unlock", &id]);
        fleet.recover();
        fleet.settled();
    }
}

/// Somebody holds the lock file of the configuration for a while.
pub fn a_held_lock_file_is_waited_for() {
    let mut fleet = Fleet::of(1);
    fleet.apply();
    let id = fleet.id(0);
    fleet.set(0, "lxc_options", json!(["lxc.cap.drop=mknod"]));
    fleet.change(0, "memory_mb", json!(512));
    let path = fleet
        .site
        .path(&format!("run/lock/lxc/pve-config-{id}.lock"));
    let file = fs::File::create(path).expect("a lock file");
    flock(&file, FlockOperation::LockExclusive).expect("the lock");
    let text = fleet.site.conf(&id);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(900));
            assert_eq!(fleet.site.conf(&id), text, "written while it was locked");
            drop(file);
        });
        fleet.apply();
    });
    fleet.settled();
}

/// What waits for a restart is applied by one where that is allowed.
pub fn what_waits_is_seen_and_restarted_for() {
    let mut fleet = Fleet::of(1);
    fleet.apply();
    let id = fleet.id(0);
    fleet.change(0, "pct_options", json!(["nesting=1"]));
    fleet.apply();
    fleet.settled();
    let text = fleet.site.conf(&id);
    assert!(
        text.contains("features: nesting=1\n") && !text.contains("[pve:pending]"),
        "{text}"
    );
    // By hand, on the running container: it waits, and is ours to say.
    fleet.site.pct(&["set", &id, "--features", "nesting=0"]);
    assert!(fleet.site.conf(&id).contains("[pve:pending]"));
    fleet.run(&["plan", "--exit-code"]).code(4);
    fleet.apply();
    fleet.settled();
    assert!(!fleet.site.conf(&id).contains("nesting=0"));
}

/// Several clones of one source at once: Proxmox VE lets one at a time.
pub fn clones_of_one_source_take_turns() {
    let mut fleet = Fleet::new();
    for at in [2, 3] {
        fleet.set(at, "template", json!(null));
        fleet.set(at, "clone_from_ctid", json!(fleet.id(0)));
    }
    fleet.set(2, "dependencies", json!(null));
    fleet.write();
    fleet.site.write("standin/delay", "90");
    fleet.ok(&["--jobs", "4", "apply"]);
    let clones = fleet
        .effects()
        .keys()
        .filter(|effect| effect.starts_with("clone "))
        .count();
    assert_eq!(clones, 3);
    fleet.settled();
}

/// A container under a declared id that phoenix did not make.
pub fn a_container_of_somebody_else_is_not_touched() {
    let fleet = Fleet::of(2);
    let id = fleet.id(0);
    fleet.site.pct(&[
        "create",
        &id,
        &format!("local:vztmpl/{}", crate::site::ALPINE),
        "--rootfs",
        "tank-disks:4",
        "--hostname",
        "theirs",
        "--unprivileged",
        "1",
        "--memory",
        "99",
    ]);
    let before = fleet.site.conf(&id);
    let plan = fleet.run(&["plan"]);
    let done = fleet.run(&["apply"]);
    let after = fleet.site.conf(&id);
    // Whatever is taken over is taken over by settings: it is never destroyed or made again.
    let destroyed = fleet
        .effects()
        .keys()
        .any(|effect| effect.starts_with("destroy "));
    assert!(!destroyed, "{}", done.err);
    assert_eq!(fleet.effects().get("create CT0"), Some(&1), "{}", plan.out);
    assert!(after.contains("rootfs: tank-disks:") && before.contains("rootfs: tank-disks:"));
}

/// A container that another node of the cluster has is said to be there, and not made again.
pub fn a_container_on_another_node_is_reported() {
    let fleet = Fleet::of(2);
    let id = fleet.id(0);
    let conf =
        "arch: amd64\nhostname: away\nmemory: 512\nrootfs: local:1/vm-1-disk-0.raw,size=1G\n";
    let path = format!("etc/pve/nodes/other/lxc/{id}.conf");
    fleet.site.write(&path, conf);
    let done = fleet.run(&["apply"]);
    assert_ne!(done.code, Some(0));
    let said = format!("{}{}", done.out, done.err);
    assert!(
        said.contains("other") && said.contains(&id),
        "where it is is not said:\n{said}"
    );
    assert_eq!(fleet.site.read(&path), conf);
    assert!(
        !fleet
            .log()
            .iter()
            .any(|line| line.contains(&format!("create {id}")))
    );
}

/// A half-created container that is not ours is refused, and left.
pub fn a_strange_half_created_container_is_left() {
    let fleet = Fleet::of(2);
    let id = fleet.id(0);
    fleet
        .site
        .write(&format!("etc/pve/nodes/vm/lxc/{id}.conf"), "lock: create\n");
    fs::create_dir_all(fleet.site.path(&format!(
        "standin/pool/tank-disks/images/subvol-{id}-disk-0"
    )))
    .expect("a disk");
    let done = fleet.run(&["apply", "--attempts", "2"]);
    assert_ne!(done.code, Some(0));
    assert_eq!(fleet.site.conf(&id), "lock: create\n");
    assert!(
        fleet
            .site
            .path(&format!(
                "standin/pool/tank-disks/images/subvol-{id}-disk-0"
            ))
            .is_dir()
    );
}

/// `pct resize` claims success and does nothing: phoenix looks, and says so or does it again.
pub fn a_lie_is_caught() {
    let mut fleet = Fleet::of(1);
    fleet.apply();
    fleet.change(0, "storage_size_gb", json!(6));
    fleet.site.write("standin/lie", "resize");
    // The size is seen, and the run does not pass for it: the file system did not follow.
    let done = fleet.run(&["apply"]).code(5);
    let told = done
        .out
        .contains("Failed to update the container's filesystem");
    assert!(told, "{}\n{}", done.out, done.err);
    assert!(fleet.site.conf(&fleet.id(0)).contains("size=6G"));
    fleet.recover();
    fleet.settled();
    assert!(fleet.site.conf(&fleet.id(0)).contains("size=6G"));
}

/// Templates that are missing are downloaded.
pub fn a_missing_template_is_downloaded() {
    let fleet = Fleet::of(1);
    let archive = format!("var/lib/vz/template/cache/{}", crate::site::ALPINE);
    fs::remove_file(fleet.site.path(&archive)).expect("removed");
    fleet.site.write("standin/available", crate::site::ALPINE);
    fleet.apply();
    assert!(fleet.site.path(&archive).is_file());
    fleet.settled();
}

/// A creation that takes too long is stopped by SIGTERM: Proxmox VE takes it back by itself.
pub fn a_creation_without_end_is_taken_back() {
    let fleet = Fleet::of(1);
    let id = fleet.id(0);
    fleet.site.write("standin/delay", "30000");
    let done = fleet.run(&["--timeout", "create=1", "apply", "--attempts", "1"]);
    assert_ne!(done.code, Some(0), "{}", done.out);
    assert_eq!(fleet.site.conf(&id), "", "a half-made container is left");
    assert!(!fleet.world().contains("volume"), "{}", fleet.world());
    fleet.site.write("standin/delay", "0");
    fleet.recover();
    fleet.settled();
    assert_eq!(fleet.effects().get("create CT0"), Some(&1));
}

/// Where the files cannot be read, `pct` is asked, and that is said.
pub fn without_the_files_pct_is_asked() {
    let mut fleet = Fleet::of(2);
    fleet.apply();
    let blind = fleet.site.path("blind");
    fs::create_dir_all(blind.join("etc/pve")).expect("a directory");
    for link in [
        "bin",
        "proc",
        "run",
        "sys",
        "var",
        "etc/machine-id",
        "etc/hostname",
        "etc/pve/storage.cfg",
    ] {
        std::os::unix::fs::symlink(fleet.site.path(link), blind.join(link)).expect("a link");
    }
    // Only the name of the node is known there.
    std::os::unix::fs::symlink("nodes/vm", blind.join("etc/pve/local")).expect("a link");
    fleet.seen_from(&blind);
    let before = fleet.log().len();
    let done = fleet.run(&["plan", "--exit-code"]);
    assert!(done.err.contains("pct"), "it is not said:\n{}", done.err);
    done.code(0);
    let log = fleet.log().split_off(before);
    assert!(
        log.iter().any(|line| line.contains("\tpct\tlist")),
        "{log:#?}"
    );
    fleet.change(1, "memory_mb", json!(512));
    fleet.apply();
    assert!(fleet.site.conf(&fleet.id(1)).contains("memory: 512\n"));
    fleet.ok(&["plan", "--exit-code"]);
}
