//! Disks: they grow, never shrink, and a full pool leaves nothing half made.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Stdio;

use serde_json::json;

use super::able;
use super::site::{Site, run};
use crate::support::Done;

/// What the root of a container holds, in MiB, as `df` inside says.
fn root_size(site: &Site, ctid: u32) -> u64 {
    let shown = site.inside(ctid, "df -m / | tail -n1");
    let size = shown.split_whitespace().nth(1);
    size.and_then(|size| size.parse().ok())
        .unwrap_or_else(|| panic!("a size: {shown}"))
}

#[test]
fn a_disk_grows_and_never_shrinks() {
    if !able("a_disk_grows_and_never_shrinks") {
        return;
    }
    let mut site = Site::new();
    site.feature("base", "echo kept >/kept");
    site.declare(800, &json!({ "features": ["base"] }));
    site.write();
    assert_eq!(site.apply()["failed"], 0);
    let size = root_size(&site, 800);
    assert!((900..1024).contains(&size), "{size} MiB");
    assert!(site.lxc("lxc-stop", 800, &["-k"]));
    site.change(800, "storage_size_gb", json!(3));
    site.run(&["plan"]).code(0).prints("grow 1G → 3G");
    assert_eq!(site.apply()["failed"], 0);
    let size = root_size(&site, 800);
    assert!((2800..3072).contains(&size), "{size} MiB");
    assert_eq!(site.inside(800, "cat /kept /etc/ran"), "kept\nbase 800");
    site.change(800, "storage_size_gb", json!(2));
    for verb in ["plan", "apply"] {
        site.run(&[verb]).code(3).says("unable to shrink disk size");
    }
    assert_eq!(root_size(&site, 800), size);
}

/// A storage of its own: a file system that is soon full.
struct Pool {
    dir: tempfile::TempDir,
}

impl Pool {
    fn of(site: &Site) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("opened");
        let pool = Self { dir };
        let (image, point) = (pool.path("image"), pool.path("pool"));
        fs::create_dir(&point).expect("made");
        assert!(run("truncate", &["-s", "1400M", &image]));
        assert!(run("mkfs.ext4", &["-q", "-F", "-m", "0", &image]));
        assert!(run("mount", &["-o", "loop", &image, &point]));
        let storage = site.path("lxc/storage/pool");
        fs::remove_dir(&storage).expect("it was empty");
        symlink(&point, storage).expect("linked");
        pool
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    /// Somebody fills it, but for so much.
    fn fill(&self, left: u64) {
        let stat = rustix::fs::statvfs(self.path("pool")).expect("it is there");
        let size = (stat.f_bavail * stat.f_frsize).saturating_sub(left);
        let filler = self.path("pool/filler");
        // What another writes meanwhile only makes it full the sooner.
        run("fallocate", &["-l", &size.to_string(), &filler]);
    }

    fn free(&self) {
        fs::remove_file(self.path("pool/filler")).expect("it was there");
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("pool")).expect("there").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| name != "filler").collect();
        names.sort();
        names
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        run("umount", &["-l", &self.path("pool")]);
    }
}

/// Applies a container, and fills the pool as soon as it is being made; what was said. Where it
/// was there before the pool was full, it is destroyed and made again.
fn filled_meanwhile(site: &Site, pool: &Pool, ctid: u32) -> Done {
    let creating = site.path("lxc").join(format!(".{ctid}.creating"));
    for _ in 0..20 {
        let mut command = site.command(&["apply", "--quiet", &ctid.to_string()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        while !creating.exists() && child.try_wait().expect("it is ours").is_none() {
            std::hint::spin_loop();
        }
        pool.fill(2 << 20);
        let done = Done::of(&child.wait_with_output().expect("it ends"));
        if done.code != Some(0) {
            return done;
        }
        pool.free();
        assert!(site.lxc("lxc-destroy", ctid, &["-f"]));
    }
    panic!("{ctid} was always made before the pool was full");
}

#[test]
fn a_full_pool_is_named_and_leaves_nothing_half_made() {
    if !able("a_full_pool_is_named_and_leaves_nothing_half_made") {
        return;
    }
    let mut site = Site::new();
    let pool = Pool::of(&site);
    // More than what is left, and slow to read.
    assert!(run(
        "dd",
        &[
            "if=/dev/urandom",
            &format!("of={}", site.path("root/payload").display()),
            "bs=1M",
            "count=24",
        ]
    ));
    site.template();
    site.declare(800, &json!({ "template_snapshot_name": "golden" }));
    site.write();
    assert_eq!(site.apply()["failed"], 0);
    site.declare(801, &json!({ "clone_from_ctid": "800" }));
    site.declare(802, &json!({}));
    site.write();
    for ctid in [801, 802] {
        let before = pool.files();
        let done = filled_meanwhile(&site, &pool, ctid).code(5);
        assert!(
            done.out.contains("storage 'pool' ran full (") && done.out.contains("free space in it"),
            "{}{}",
            done.out,
            done.err
        );
        assert_eq!(pool.files(), before, "{ctid}");
        let names = [ctid.to_string(), format!(".{ctid}.creating")];
        assert!(
            names
                .iter()
                .all(|name| !site.path("lxc").join(name).exists())
        );
        site.run(&["apply", &ctid.to_string()])
            .code(3)
            .says("storage 'pool' has ");
        pool.free();
        let ctid = ctid.to_string();
        site.run(&["apply", &ctid]).code(0);
        site.run(&["plan", "--exit-code", &ctid]).code(0);
    }
    room_for_what_is_there(&mut site, &pool);
    site.stop_all();
    assert_eq!(site.await_quiet(), Vec::<String>::new());
    assert!(
        run("umount", &[&pool.path("pool")]),
        "something of the pool is still in use"
    );
}

/// A snapshot and a growing disk in a full pool.
fn room_for_what_is_there(site: &mut Site, pool: &Pool) {
    let before = pool.files();
    pool.fill(2 << 20);
    site.change(802, "template_snapshot_name", json!("kept"));
    let done = site.run(&["apply", "802"]).code(5);
    assert!(
        done.out.contains("storage 'pool' ran full ("),
        "{}",
        done.out
    );
    assert_eq!(pool.files(), before);
    assert!(!site.path("lxc/802/snaps/.kept.partial").exists());
    assert_eq!(site.inside(802, "echo lives"), "lives");
    pool.free();
    site.run(&["apply", "802"]).code(0);
    assert!(site.lxc("lxc-stop", 801, &["-k"]));
    pool.fill(2 << 20);
    site.change(801, "storage_size_gb", json!(2));
    site.run(&["apply", "801"])
        .code(3)
        .says("storage 'pool': out of space (");
    pool.free();
    site.run(&["apply", "801"]).code(0);
    site.run(&["plan", "--exit-code"]).code(0);
    assert!((1800..2048).contains(&root_size(site, 801)));
    assert_eq!(site.inside(801, "stat -c %s /payload"), "25165824");
}
