//! What is not phoenix's: archives of others, containers of others, files of others.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::able;
use super::site::{Site, run};

#[test]
fn an_archive_cannot_write_outside_of_its_container() {
    if !able("an_archive_cannot_write_outside_of_its_container") {
        return;
    }
    let mut site = Site::new();
    site.declare(800, &json!({}));
    site.write();
    let (evil, outside) = (site.path("evil"), site.path("outside"));
    fs::create_dir_all(evil.join("a/b")).expect("made");
    fs::create_dir_all(&outside).expect("made");
    fs::write(evil.join("file"), "evil").expect("written");
    symlink(&outside, evil.join("a/link")).expect("linked");
    let archive = site.path("lxc/template/cache/tiny.tar.gz");
    let archive = archive.to_string_lossy().into_owned();
    let plain = site.path("lxc/template/plain.tar");
    let plain = plain.to_string_lossy().into_owned();
    let evil = evil.to_string_lossy().into_owned();
    for names in [
        "s,^file,../../escaped,",
        &format!("s,^file,{}/escaped,", outside.display()),
    ] {
        let transform = format!("--transform={names}");
        assert!(run(
            "tar",
            &["-czPf", &archive, &transform, "-C", &evil, "file"]
        ));
        let done = site.run(&["apply"]).code(5);
        assert!(
            done.out.contains("members with '..' or a leading '/'"),
            "{}",
            done.out
        );
    }
    // A link to the outside, and then a file through it.
    assert!(run("tar", &["-cPf", &plain, "-C", &evil, "a/link"]));
    assert!(run(
        "tar",
        &[
            "-rPf",
            &plain,
            "--transform=s,^file,a/link/escaped,",
            "-C",
            &evil,
            "file"
        ]
    ));
    assert!(run("gzip", &["-f", &plain]));
    fs::rename(format!("{plain}.gz"), &archive).expect("renamed");
    site.run(&["apply"]);
    let found: Vec<_> = fs::read_dir(&outside).expect("a directory").collect();
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(site.left_over(), Vec::<String>::new());
}

/// A container made by hand, with a directory as its root, in which something is that must stay.
fn by_hand(site: &Site, name: &str) -> String {
    let dir = site.path("lxc").join(name);
    fs::create_dir_all(&dir).expect("made");
    let (root, rootfs) = (site.path("root"), dir.join("rootfs"));
    assert!(run(
        "cp",
        &["-a", &root.to_string_lossy(), &rootfs.to_string_lossy()]
    ));
    fs::write(rootfs.join("etc/mine"), "mine").expect("written");
    let config = format!(
        "# by hand\nlxc.include = /usr/share/lxc/config/common.conf\nlxc.uts.name = hand\n\
         lxc.apparmor.profile = unconfined\nlxc.rootfs.path = dir:{}\n",
        rootfs.display()
    );
    fs::write(dir.join("config"), &config).expect("written");
    config
}

fn files_of(site: &Site, name: &str) -> Vec<String> {
    let entries = fs::read_dir(site.path("lxc").join(name)).expect("there");
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn what_others_made_in_the_directory_is_left_alone() {
    if !able("what_others_made_in_the_directory_is_left_alone") {
        return;
    }
    let mut site = Site::new();
    site.declare(800, &json!({}));
    site.write();
    let others = ["web", "777", "778", "0800"];
    let configs = others.map(|name| by_hand(&site, name));
    for name in ["web", "777"] {
        let dir = site.path("lxc");
        assert!(run(
            "lxc-start",
            &["-P", &dir.to_string_lossy(), "-n", name]
        ));
    }
    let init = site.init(777);
    let pool = |site: &Site| {
        let entries = fs::read_dir(site.path("lxc/storage/pool"));
        entries.expect("a pool").count()
    };
    // Somebody's disk of the very name that phoenix is about to take, and a file of another tool.
    site.text("lxc/storage/pool/vm-800-disk-0.raw", "somebody's");
    site.text("lxc/storage/pool/notes", "kept");
    assert_eq!(site.apply()["converged"], 1);
    assert_eq!(site.apply()["mutations"], 0);
    for (name, config) in others.iter().zip(&configs) {
        let dir = site.path("lxc").join(name);
        let found = fs::read_to_string(dir.join("config")).expect("there");
        assert_eq!(&found, config);
        assert_eq!(files_of(&site, name), ["config", "rootfs"], "{name}");
    }
    assert_eq!(site.init(777), init, "it was restarted");
    let kept = |name: &str| {
        let path = site.path("lxc/storage/pool").join(name);
        fs::read_to_string(path).expect("there")
    };
    assert_eq!(kept("vm-800-disk-0.raw.orphan-1"), "somebody's");
    assert_eq!(kept("notes"), "kept");
    // What phoenix did not make it does not destroy.
    let before = pool(&site);
    for id in ["777", "778"] {
        site.run(&["destroy", id, "--yes"])
            .code(3)
            .says("was not made by phoenix with this journal");
    }
    assert_eq!((site.init(777), pool(&site)), (init, before));
    site.run(&["destroy", "800", "--yes"])
        .code(0)
        .prints("800 c800  destroyed in ");
    site.run(&["destroy", "800", "--yes"])
        .code(0)
        .prints("Nothing to destroy");
    assert_eq!(pool(&site), before - 1);
    assert!(!site.path("lxc/800").exists());
    let web = site.path("lxc").to_string_lossy().into_owned();
    assert!(run("lxc-stop", &["-P", &web, "-n", "web", "-k"]));
    site.stop_all();
    assert_eq!(site.await_quiet(), Vec::<String>::new());
}

#[test]
fn a_container_of_others_that_is_declared_is_adopted_or_refused_and_never_made_anew() {
    if !able("a_container_of_others_that_is_declared_is_adopted_or_refused_and_never_made_anew") {
        return;
    }
    let mut site = Site::new();
    let config = by_hand(&site, "801");
    assert!(site.lxc("lxc-start", 801, &[]));
    let init = site.init(801);
    site.declare(801, &json!({ "unprivileged": false }));
    // A directory that is no container, in the way of one.
    fs::create_dir_all(site.path("lxc/802/rootfs")).expect("made");
    site.declare(802, &json!({}));
    site.write();
    site.run(&["plan", "801"])
        .code(0)
        .prints("note: was not made by phoenix; it is adopted as it is")
        .prints("note: unmanaged, left as it is: lxc.rootfs.path: dir:");
    let apply = |site: &Site, ctid: &str| site.run(&["apply", ctid]);
    apply(&site, "801").code(0);
    site.run(&["plan", "--exit-code", "801"]).code(0);
    assert_eq!(site.init(801), init, "it was restarted");
    assert_eq!(
        site.inside(801, "hostname; cat /etc/mine"),
        "c801\nmine",
        "it was made anew"
    );
    let now = fs::read_to_string(site.config(801)).expect("there");
    let rootfs = config.lines().find(|line| line.contains("rootfs.path"));
    assert!(now.contains("# by hand\n") && now.contains(rootfs.expect("a root")));
    let failed = apply(&site, "802").code(5);
    assert!(
        failed.out.contains("is in the way: it holds no container"),
        "{}",
        failed.out
    );
    assert_eq!(files_of(&site, "802"), ["rootfs"]);
    // Declared with another privilege than it has, it is refused before anything is done.
    site.change(801, "unprivileged", json!(true));
    apply(&site, "801").code(3).says("unprivileged");
    assert_eq!(site.init(801), init);
    // Adopted is not made: it is not destroyed either.
    site.run(&["destroy", "801", "--yes"])
        .code(3)
        .says("was not made by phoenix with this journal");
    assert_eq!(site.inside(801, "cat /etc/mine"), "mine");
}

#[test]
fn what_still_runs_without_its_files_is_said() {
    if !able("what_still_runs_without_its_files_is_said") {
        return;
    }
    let mut site = Site::new();
    site.declare(800, &json!({}));
    site.write();
    assert_eq!(site.apply()["failed"], 0);
    let refused = || {
        let failed = site.run(&["apply"]).code(5);
        let running = "a container 800 still runs here, though its configuration is gone";
        assert!(failed.out.contains(running), "{}", failed.out);
    };
    fs::remove_file(site.config(800)).expect("removed by hand");
    refused();
    fs::remove_dir_all(site.path("lxc/800")).expect("removed by hand");
    refused();
    site.stop_all();
    assert_eq!(site.await_quiet(), Vec::<String>::new());
    assert_eq!(site.apply()["failed"], 0);
}
