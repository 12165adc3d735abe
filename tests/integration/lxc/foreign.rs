//! What is not phoenix's: archives of others, containers of others, files of others.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::able;
use super::remains::host;
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

#[test]
fn what_others_made_in_the_directory_is_left_alone() {
    if !able("what_others_made_in_the_directory_is_left_alone") {
        return;
    }
    let mut site = Site::new();
    site.declare(800, &json!({}));
    site.write();
    let by_hand = "# by hand\nlxc.uts.name = hand\nlxc.rootfs.path = dir:/nowhere\n";
    for name in ["web", "777", "0800"] {
        fs::create_dir_all(site.path("lxc").join(name)).expect("made");
        fs::write(site.path("lxc").join(name).join("config"), by_hand).expect("written");
    }
    assert_eq!(site.apply()["converged"], 1);
    for name in ["web", "777", "0800"] {
        let dir = site.path("lxc").join(name);
        assert_eq!(
            fs::read_to_string(dir.join("config")).expect("there"),
            by_hand
        );
        assert_eq!(fs::read_dir(&dir).expect("there").count(), 1, "{name}");
    }
    let pool = |site: &Site| {
        let entries = fs::read_dir(site.path("lxc/storage/pool"));
        entries.expect("a pool").count()
    };
    assert_eq!(pool(&site), 1);
    let ctid = "800".parse().expect("an id");
    let host = host(&site, true);
    host.destroy(ctid).expect("destroyed, though it runs");
    host.destroy(ctid).expect_err("it is no more");
    assert_eq!(pool(&site), 0);
    assert!(!site.path("lxc/800").exists());
    assert_eq!(site.left_over(), Vec::<String>::new());
}
