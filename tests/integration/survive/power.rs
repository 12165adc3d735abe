//! Power cuts, for real: the state directory is on an ext4 of its own in a loop device, which is
//! shut down without writing anything more (ioctl `FS_IOC_SHUTDOWN`, no flush of its log) in the
//! middle of a run, and mounted again. The simulated host lives elsewhere and survives.

use std::ffi::OsStr;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{read, tool};
use crate::witness::{Fleet, LATENCY, Site, all, scattered, vouched_for};

use super::{able, shim, wanted};

/// Says to the test that it is in mounts of its own.
const INSIDE: &str = "PHOENIX_TEST_INSIDE";

fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("root is needed".to_owned());
    }
    let tools = ["mkfs.ext4", "perl", "unshare"];
    let missing = tools.into_iter().find(|name| {
        !tool(
            "sh",
            &[
                "-c".as_ref(),
                format!("command -v {name}>/dev/null").as_ref(),
            ],
        )
    });
    if let Some(name) = missing {
        return Some(format!(
            "{name} is missing (apt-get install e2fsprogs perl-base util-linux)"
        ));
    }
    (!Path::new("/dev/loop-control").exists()).then(|| "there are no loop devices".to_owned())
}

/// Runs a test of this file again, in a process whose mounts are its own and end with it.
#[expect(
    clippy::disallowed_methods,
    reason = "a mount namespace is entered by another process"
)]
fn in_own_mounts(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    if !able(test, obstacle().or_else(shim::obstacle)) {
        return;
    }
    let output = Command::new("unshare")
        .args(["-m", "--propagation", "private"])
        .arg(std::env::current_exe().expect("this program"))
        .args([&format!("survive::power::{test}"), "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("it starts");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success() && out.contains("1 passed"),
        "{out}\n{err}"
    );
    println!("{out}");
}

/// A small ext4 of its own.
struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    fn new(dir: &Path) -> Self {
        let (image, mount) = (dir.join("disk.img"), dir.join("disk"));
        let file = File::create(&image).expect("a file");
        file.set_len(64 << 20).expect("room for it");
        std::fs::create_dir(&mount).expect("a directory");
        run("mkfs.ext4", &["-q".as_ref(), image.as_ref()]);
        let disk = Self { image, mount };
        disk.mount();
        disk
    }

    fn mount(&self) {
        let (image, mount) = (self.image.as_ref(), self.mount.as_ref());
        run("mount", &["-o".as_ref(), "loop".as_ref(), image, mount]);
    }

    /// From one moment to the next nothing reaches the disk any more.
    fn cut(&self) {
        // FS_IOC_SHUTDOWN is _IOR('X', 125, u32); 2: without flushing the log.
        const PROGRAM: &str = "open(F, '<', $ARGV[0]) or die $!; my $how = pack('L', 2); \
                               ioctl(F, 0x8004587d, $how) or die $!;";
        let mount = self.mount.as_os_str();
        run("perl", &["-e".as_ref(), PROGRAM.as_ref(), mount]);
    }

    /// What is on the disk, after ext4 has recovered by its own log.
    fn mount_again(&self) {
        let device = self.device();
        run("umount", &[self.mount.as_os_str()]);
        // The kernel lets go of the old mount a little later.
        while Path::new("/sys/fs/ext4").join(&device).exists() {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.mount();
    }

    /// `loop7`.
    fn device(&self) -> String {
        let mounts = read(Path::new("/proc/self/mounts"));
        let mount = self.mount.to_str().expect("UTF-8");
        let line = mounts
            .lines()
            .find(|line| line.split(' ').nth(1) == Some(mount));
        let device = line.and_then(|line| line.split(' ').next());
        device.expect("mounted").replace("/dev/", "")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        tool("umount", &[self.mount.as_os_str()]);
    }
}

#[track_caller]
fn run(program: &str, arguments: &[&OsStr]) {
    assert!(tool(program, arguments), "{program} {arguments:?}");
}

/// When to cut: after so many effects in all, and a while.
#[derive(Clone, Copy, Debug)]
struct Cut {
    effects: usize,
    micros: u64,
}

/// One cut after another; how many of them met a live run goes into `live`.
fn story(fleet: &Fleet, cuts: &[Cut], synced: bool, live: &AtomicUsize) {
    let mut site = Site::new(fleet);
    let disk = Disk::new(site.dir.path());
    site.state = disk.mount.join("state");
    for cut in cuts {
        let mut child = start(&site, &disk, synced);
        site.await_effects(&mut child, cut.effects);
        std::thread::sleep(Duration::from_micros(cut.micros));
        let lives = child.try_wait().expect("a child").is_none();
        disk.cut();
        let status = child.wait().expect("it ends");
        live.fetch_add(usize::from(lives), Ordering::SeqCst);
        let said = read(&site.dir.path().join("stderr"));
        let story = format!("{cut:?} of {cuts:?}");
        assert!(!said.contains("panicked"), "{story}: {said}");
        // A disk that fails ends the run, unless it was at its end.
        assert!(
            matches!(status.code(), Some(0 | 7)),
            "{story}: {status}\n{said}"
        );
        disk.mount_again();
        site.json(&["journal", "verify"]);
        let journal = site.json(&["journal", "export"]).lines();
        vouched_for(&site.log(), &journal, &story);
    }
    site.done(0, site.next(0)).code(0);
    site.check(0, &format!("{cuts:?}"));
}

fn start(site: &Site<'_>, disk: &Disk, synced: bool) -> Child {
    let said = File::create(site.dir.path().join("stderr")).expect("a file");
    let mut command = site.command(0, site.next(0));
    // What only sync_file_range wrote would survive in the file behind the loop device, as it
    // would not in the cache of a disk.
    let mode = if synced { "lazy" } else { "nosync" };
    shim::put(&mut command, &disk.mount, mode);
    command
        .env("PHOENIX_SIM_LATENCY", LATENCY)
        .stdout(Stdio::null())
        .stderr(said)
        .spawn()
        .expect("it starts")
}

/// Stories of one to three cuts each, spread over the whole of a run.
fn stories(fleet: &Fleet, cuts: usize) -> Vec<Vec<Cut>> {
    let lines = fleet.expected[0].lines;
    let mut stories = Vec::new();
    let mut made = 0;
    while made < cuts {
        let number = (1 + stories.len() % 3).min(cuts - made);
        let mut effects: Vec<usize> = (0..number)
            .map(|n| scattered(31 * made + n, lines))
            .collect();
        effects.sort_unstable();
        let cut = |(n, effects): (usize, usize)| Cut {
            effects,
            // The first moments of a new journal are those in which it is made.
            micros: scattered(made + 7 * n, if effects < 3 { 40_000 } else { 15_000 }) as u64,
        };
        stories.push(effects.into_iter().enumerate().map(cut).collect());
        made += number;
    }
    stories
}

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    in_own_mounts("what_was_acknowledged_survives_power_cuts", || {
        let fleet = Fleet::new();
        let cuts = wanted("PHOENIX_TEST_CUTS", 60);
        let live = AtomicUsize::new(0);
        all(&stories(&fleet, cuts), |cuts| {
            story(&fleet, cuts, true, &live)
        });
        let live = live.into_inner();
        println!("{cuts} power cuts, {live} of a live run; acknowledged events lost: 0");
        assert!(live * 2 >= cuts, "only {live} of {cuts} met a live run");
    });
}

/// The suite sees what it is for: with syncs that do nothing it fails at once.
#[test]
fn without_real_syncs_power_cuts_are_noticed() {
    in_own_mounts("without_real_syncs_power_cuts_are_noticed", || {
        if !able(
            "without_real_syncs_power_cuts_are_noticed",
            shim::obstacle(),
        ) {
            println!("1 passed");
            return;
        }
        let fleet = Fleet::new();
        let lines = fleet.expected[0].lines;
        let noticed = (1..=3).find(|cut| {
            let cut = Cut {
                effects: lines * cut / 4,
                micros: 1000,
            };
            let story = || story(&fleet, &[cut], false, &AtomicUsize::new(0));
            catch_unwind(AssertUnwindSafe(story)).is_err()
        });
        println!("without a real sync, noticed at cut {noticed:?}");
        assert!(
            noticed.is_some(),
            "three cuts without a sync, and nothing was noticed"
        );
    });
}
