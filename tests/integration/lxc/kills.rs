//! phoenix is killed in the middle of its work on a fleet of real containers, and goes on.
//!
//! `PHOENIX_KILLS` is how many kills must have hit a run that was under way (half as many with
//! all that phoenix started); `PHOENIX_KILLS_SEED` repeats the moments of a campaign.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::able;
use super::fleet::{RAN, fleet};
use super::remains::{Remains, processes};
use super::site::Site;

const KILLS: usize = 40;

/// What the phoenix that is to be killed says, for when it fails before that.
const SAID: &str = "said";

/// A number of the environment.
fn asked<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    let number = text.parse().ok();
    assert!(number.is_some(), "{name} must be a number, not '{text}'");
    number
}

/// Moments without any pattern, the same for the same seed.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let seed = asked("PHOENIX_KILLS_SEED").unwrap_or_else(|| {
            let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
            hasher.write_u32(std::process::id());
            hasher.finish()
        });
        println!("PHOENIX_KILLS_SEED={seed}");
        Self(seed | 1)
    }

    fn below(&mut self, limit: Duration) -> Duration {
        for (shift, left) in [(13, true), (7, false), (17, true)] {
            self.0 ^= if left {
                self.0 << shift
            } else {
                self.0 >> shift
            };
        }
        let micros = u64::try_from(limit.as_micros()).expect("a number");
        Duration::from_micros(self.0 % micros.max(1))
    }
}

fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// A process and everything below it, those above before those below.
fn family(pid: i32) -> Vec<i32> {
    let all = processes();
    let mut family = vec![pid];
    let mut index = 0;
    while index < family.len() {
        let above = family[index];
        let children = all.iter().filter(|process| process.parent == above);
        family.extend(children.map(|process| process.pid));
        index += 1;
    }
    family
}

/// Kills phoenix, alone or with all that it started: those stand still first, so that none gets
/// away. Whether it was still at work: what it came to otherwise is a success.
fn kill(site: &Site, child: &mut Child, with_family: bool) -> bool {
    let own = i32::try_from(child.id()).expect("an id");
    let mut stopped = vec![own];
    if with_family {
        signal(own, Signal::STOP);
        loop {
            let all = family(own).into_iter();
            let new: Vec<i32> = all.filter(|pid| !stopped.contains(pid)).collect();
            if new.is_empty() {
                break;
            }
            new.iter().for_each(|pid| signal(*pid, Signal::STOP));
            stopped.extend(new);
        }
    }
    stopped.iter().for_each(|pid| signal(*pid, Signal::KILL));
    let status = child.wait().expect("reaped");
    let killed = status.signal() == Some(Signal::KILL.as_raw());
    if !killed && !status.success() {
        let said = fs::read_to_string(site.path(SAID)).unwrap_or_default();
        panic!("it ended with {status}, having said:\n{said}");
    }
    killed
}

/// Whether the last run did not come to its end; none if there is no run.
fn unfinished(site: &Site) -> Option<bool> {
    let runs = site.run(&["runs", "--format", "json"]).code(0).json();
    let last = runs.as_array().expect("runs").first()?.clone();
    Some(last["outcome"] != json!("converged"))
}

fn start(site: &Site) -> Child {
    let verb = match unfinished(site) {
        None => "apply",
        Some(_) => "resume",
    };
    let mut command = site.command(&[verb, "--quiet", "--format", "json"]);
    let said = File::create(site.path(SAID)).expect("a file");
    command.stderr(said.try_clone().expect("the same file"));
    command.stdout(said).spawn().expect("it starts")
}

/// Kills a run, with everything, as soon as something is so.
pub fn cut_when(site: &Site, so: impl Fn(&Site) -> bool) {
    let mut child = start(site);
    while !so(site) && child.try_wait().expect("it is ours").is_none() {
        thread::sleep(Duration::from_millis(2));
    }
    assert!(kill(site, &mut child, true), "it had come to its end");
}

/// Kills one run after another until one comes to its end or there were kills enough; how many
/// hit a run that was under way.
fn kill_until_done(site: &Site, moments: &mut Moments, pace: Duration, kills: &Campaign) -> usize {
    let mut hits = 0;
    for _ in 0..kills.wanted * 4 {
        if hits == kills.wanted {
            break;
        }
        let mut child = start(site);
        thread::sleep(moments.below(pace));
        if !kill(site, &mut child, kills.with_family) {
            break;
        }
        hits += usize::from(unfinished(site) == Some(true));
    }
    if unfinished(site) != Some(false) {
        let verb = unfinished(site).map_or("apply", |_| "resume");
        site.run(&[verb]).code(0);
    }
    hits
}

struct Campaign {
    wanted: usize,
    with_family: bool,
}

/// What is in every container: which scripts ran, in order, and which receipts there are.
fn done_inside(site: &Site) -> Vec<(String, String)> {
    let of = |ctid| {
        let receipts = site.inside(
            ctid,
            "cd /var/lib/phoenix && ls run receipts; grep -c . receipts/* /dev/null",
        );
        (site.inside(ctid, "cat /etc/ran"), receipts)
    };
    site.ids().into_iter().map(of).collect()
}

/// The same script twice is one that was cut and ran again.
pub fn without_repeats(ran: &str) -> String {
    let mut lines: Vec<&str> = ran.lines().collect();
    lines.dedup();
    lines.join("\n")
}

/// Fleets are made and killed until there were kills enough; each comes to what comes of one that
/// nobody kills, and nothing else is there.
fn campaign(kills: &Campaign) {
    let mut moments = Moments::new();
    let site = fleet();
    let began = Instant::now();
    assert_eq!(site.apply()["failed"], 0);
    let pace = began.elapsed() / 3;
    let (expected, inside) = (Remains::of(&site), done_inside(&site));
    let (mut hits, mut fleets) = (0, 0);
    while hits < kills.wanted {
        site.reset();
        let left = Campaign {
            wanted: kills.wanted - hits,
            ..*kills
        };
        hits += kill_until_done(&site, &mut moments, pace, &left);
        fleets += 1;
        assert!(fleets < 20 + kills.wanted, "hardly a kill hits");
        let found = done_inside(&site);
        for ((ctid, (ran, receipts)), (_, all)) in site.ids().iter().zip(&found).zip(&inside) {
            assert_eq!(receipts, all, "receipts of {ctid}");
            let once = RAN.iter().find(|(own, _)| own == ctid).expect("known").1;
            match kills.with_family {
                true => assert_eq!(without_repeats(ran), once, "scripts of {ctid}"),
                false => assert_eq!(ran, once, "scripts of {ctid}"),
            }
        }
        Remains::of(&site).must_be(&expected);
        site.run(&["journal", "verify"]).code(0);
        let again: Value = site.apply();
        assert_eq!(again["mutations"], 0, "{again}");
    }
    println!("{hits} kills hit a run that was under way, over {fleets} fleets of eight");
    site.stop_all();
    assert_eq!(site.await_quiet(), Vec::<String>::new());
    for name in &expected.interfaces {
        assert!(!Path::new("/sys/class/net").join(name).exists(), "{name}");
    }
}

#[test]
fn killed_at_many_moments_it_goes_on_and_does_nothing_twice() {
    if !able("killed_at_many_moments_it_goes_on_and_does_nothing_twice") {
        return;
    }
    campaign(&Campaign {
        wanted: asked("PHOENIX_KILLS").unwrap_or(KILLS),
        with_family: false,
    });
}

#[test]
fn killed_with_all_that_it_started_it_goes_on() {
    if !able("killed_with_all_that_it_started_it_goes_on") {
        return;
    }
    campaign(&Campaign {
        wanted: asked("PHOENIX_KILLS").unwrap_or(KILLS).div_ceil(2),
        with_family: true,
    });
}

/// A destruction, killed at some moment, alone or with all that it started; what it left goes
/// with `resume`, or, where it had not begun, with another destruction.
#[test]
fn a_destruction_that_is_killed_goes_on_and_leaves_nothing() {
    if !able("a_destruction_that_is_killed_goes_on_and_leaves_nothing") {
        return;
    }
    let mut site = Site::new();
    site.declare(800, &json!({ "template_snapshot_name": "golden" }));
    site.declare(
        801,
        &json!({
            "clone_from_ctid": "800",
            "volumes": [{ "name": "data", "pool": "pool", "size_gb": 1, "mount_point": "/data" }],
        }),
    );
    site.write();
    let mut moments = Moments::new();
    let mut cut = 0;
    for round in 0..8 {
        assert_eq!(site.apply()["failed"], 0);
        let destroy = ["destroy", "800", "801", "--yes", "--quiet"];
        let mut command = site.command(&destroy);
        let said = File::create(site.path(SAID)).expect("a file");
        command.stdout(Stdio::null()).stderr(said);
        let mut child = command.spawn().expect("it starts");
        thread::sleep(moments.below(Duration::from_millis(400)));
        kill(&site, &mut child, round % 2 == 1);
        let runs = site.run(&["runs", "--format", "json"]).code(0).json();
        let last = runs.as_array().and_then(|runs| runs.last().cloned());
        let last = last.expect("a run");
        if last["resumable"] == json!(true) {
            cut += 1;
            site.run(&["resume"]).code(0);
        } else {
            site.run(&["destroy", "800", "801", "--yes"]).code(0);
        }
        let names = |dir: &str| -> Vec<String> {
            let entries = fs::read_dir(site.path(dir)).expect("a directory");
            let names = entries.flatten().map(|entry| entry.file_name());
            let mut names: Vec<_> = names.map(|n| n.to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names("lxc"), [".phoenix", "storage", "template"]);
        assert_eq!(names("lxc/storage/pool"), Vec::<String>::new());
        assert_eq!(site.await_quiet(), Vec::<String>::new());
        site.run(&["journal", "verify"]).code(0);
    }
    println!("{cut} kills hit a destruction that was under way");
    assert!(cut > 0, "no kill hit");
}
