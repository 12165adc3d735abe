//! Killed at every point: phoenix alone, or phoenix with the tool and all that it started; then
//! resumed. The points are the calls of tools that can change something: before a call, in the
//! middle of what it does, after it.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::fleet::Fleet;

/// What an uninterrupted run comes to.
struct Expected {
    world: String,
    effects: BTreeMap<String, usize>,
    calls: u32,
}

fn expected() -> &'static Expected {
    static ONCE: OnceLock<Expected> = OnceLock::new();
    ONCE.get_or_init(|| {
        let fleet = Fleet::new();
        fleet.apply();
        Expected {
            world: fleet.world(),
            effects: fleet.effects(),
            calls: fleet.calls(),
        }
    })
}

/// The same final world, no effect twice, a journal that verifies, nothing left to do.
#[track_caller]
pub fn check(fleet: &Fleet, what: &str, in_the_middle: bool) {
    let expected = expected();
    let world = fleet.world();
    let world = without_orphans(&world, in_the_middle);
    let world = if in_the_middle { once(&world) } else { world };
    same(&world, &expected.world, what);
    let cures = ["unlock", "destroy", "delsnapshot"];
    for (effect, count) in fleet.effects() {
        let kind = effect.split(' ').next().unwrap_or_default();
        let allowed = expected.effects.get(&effect).copied().unwrap_or(0);
        let cure = cures.contains(&kind);
        let again = kind == "inside" && count <= allowed + 1;
        assert!(
            cure || again || count <= allowed,
            "{what}: {effect} came about {count} times"
        );
    }
    fleet.settled();
}

/// A call that is killed in the middle can leave a volume that it has just made and that no
/// configuration names: Proxmox VE's own loss, which phoenix does not make a second time.
fn without_orphans(world: &str, in_the_middle: bool) -> String {
    let mut kept = Vec::new();
    let mut lines = world.lines().peekable();
    let mut orphans = 0;
    while let Some(line) = lines.next() {
        let name = line
            .strip_prefix("volume ")
            .map(|name| name.split('@').next().unwrap_or(name));
        match name {
            Some(name) if in_the_middle && !world.contains(&format!(":{name},")) => {
                orphans += 1;
                lines.next_if(|next| next.starts_with("receipts"));
            }
            _ => kept.push(line),
        }
    }
    assert!(
        orphans <= 1,
        "{orphans} volumes that nobody names:\n{world}"
    );
    kept.join("\n")
        .replace("-disk-2,mp=", "-disk-1,mp=")
        .replace("volume subvol-CT3-disk-2", "volume subvol-CT3-disk-1")
        + "\n"
}

/// Fails with the lines that differ.
#[track_caller]
pub fn same(ours: &str, expected: &str, what: &str) {
    let only = |one: &str, other: &str| -> Vec<String> {
        let others: Vec<&str> = other.lines().collect();
        let lines = one.lines().filter(|line| !others.contains(line));
        lines.map(str::to_owned).collect()
    };
    let (more, less) = (only(ours, expected), only(expected, ours));
    assert!(
        ours == expected,
        "{what}: too much: {more:#?}, too little: {less:#?}, in:\n{ours}"
    );
}

/// A script that was killed in the middle had not come to its end: it runs again.
fn once(world: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in world.lines() {
        if !(line.ends_with(".sh") && lines.last() == Some(&line)) {
            lines.push(line);
        }
    }
    lines.join("\n") + "\n"
}

/// How many calls an uninterrupted run makes.
pub fn calls() -> u32 {
    expected().calls
}

/// Whether somebody has the time for all points.
pub fn every_point() -> bool {
    std::env::var_os("PHOENIX_EVERY_POINT").is_some()
}

/// All points, or a part of them that changes from place to place: `PHOENIX_EVERY_POINT=1`.
pub fn points() -> Vec<(String, bool)> {
    let all = every_point();
    let mut points = Vec::new();
    for call in 1..=expected().calls {
        for (at, place) in ["before", "middle", "after"].into_iter().enumerate() {
            for (of, what) in ["kill-all", "kill-phoenix"].into_iter().enumerate() {
                let turn = (usize::try_from(call).unwrap_or(0) + at + of).is_multiple_of(2);
                if all || turn {
                    points.push((format!("{call} {place} {what}"), place == "middle"));
                }
            }
        }
    }
    points
}

/// Does something for each of the entries, two at a time: the machine has few cores.
pub fn in_turn<T: Sync>(entries: &[T], each: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(entry) = entries.get(next.fetch_add(1, Ordering::SeqCst)) {
                    each(entry);
                }
            });
        }
    });
}

pub fn killed_at_every_call() {
    let points = points();
    assert!(points.len() >= 30, "only {} points", points.len());
    in_turn(&points, |(point, in_a_script)| {
        let fleet = Fleet::new();
        fleet.struck(point);
        fleet.recover();
        check(&fleet, point, *in_a_script);
    });
}

/// The tool alone dies: phoenix sees a failure or a silence, and looks.
pub fn the_tool_alone_is_killed() {
    let mut points = Vec::new();
    for call in 1..=expected().calls {
        for (at, place) in ["before", "middle", "after"].into_iter().enumerate() {
            if (usize::try_from(call).unwrap_or(0) + at).is_multiple_of(3) {
                points.push((format!("{call} {place} kill-tool"), place == "middle"));
            }
        }
    }
    in_turn(&points, |(point, in_a_script)| {
        let fleet = Fleet::new();
        if !fleet.struck(point) {
            fleet.recover();
        }
        check(&fleet, point, *in_a_script);
    });
}

/// What phoenix had begun goes on when phoenix alone is killed. The next one is there before that
/// has ended: it waits, and nothing is done twice.
pub fn what_is_still_at_work_is_waited_for() {
    let step = if every_point() { 1 } else { 2 };
    let points: Vec<String> = (1..=calls())
        .step_by(step)
        .map(|call| format!("{call} middle kill-phoenix"))
        .collect();
    in_turn(&points, |point| {
        let fleet = Fleet::new();
        fleet.site.write("standin/delay", "900");
        fleet.slow_scripts();
        fleet.struck(point);
        fleet.site.write("standin/delay", "0");
        fleet.recover();
        check(&fleet, point, false);
    });
}

/// A destruction is killed at every call: nothing of the container is left in the end, and the
/// others are as they were.
pub fn a_destruction_is_killed() {
    let mut points = Vec::new();
    for call in 1..=2 {
        for place in ["before", "middle", "after"] {
            for what in ["kill-all", "kill-phoenix", "kill-tool"] {
                points.push((call, place, what));
            }
        }
    }
    in_turn(&points, |(call, place, what)| {
        let fleet = Fleet::of(2);
        fleet.apply();
        let point = format!("{} {place} {what}", fleet.calls() + call);
        let id = fleet.id(1);
        let whole = fleet.world();
        let (kept, _) = whole.split_once("== CT1").expect("two containers");
        let words = ["destroy", id.as_str(), "--yes"];
        if !fleet.struck_at(&point, &words) && fleet.next() == "resume" {
            fleet.ok(&["resume"]);
        }
        fleet.ok(&words);
        same(&fleet.world(), kept, &point);
        let node = fleet.site.node();
        let left = crate::standin::volumes(&node, id.parse().expect("an id"));
        assert!(left.is_empty(), "{point}: {left:?} are left");
        fleet.ok(&["journal", "verify"]);
    });
}

/// Killed again and again after times that have nothing to do with what it is at.
pub fn killed_at_any_moment() {
    let rounds: Vec<u64> = (0..6).collect();
    in_turn(&rounds, |round| {
        let fleet = Fleet::new();
        fleet.site.write("standin/delay", "60");
        let mut moment = 150 + 97 * round;
        for _ in 0..4 {
            let mut child = fleet.start(&[fleet.next()]);
            std::thread::sleep(Duration::from_millis(moment % 900));
            let pid = Pid::from_child(&child);
            let _ = kill_process(pid, Signal::KILL);
            if round.is_multiple_of(2) {
                let _ = kill_process_group(pid, Signal::KILL);
            }
            let _ = child.wait();
            moment = moment * 7 + 311;
        }
        fleet.recover();
        check(&fleet, &format!("round {round}"), false);
    });
}
