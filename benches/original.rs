//! The way of the original beside phoenix, on the same stand-in node: it called `pct` for every
//! state of every container, one container after another.
//!
//! `cargo bench --bench original` prints a JSON line a figure; `-- --quick` is small. Needs root
//! and busybox, as tests/proxmox does. The time that every `pct`, `pvesm` and `pveam` takes before
//! it does anything is `ORIGINAL_CALL_MS`, by default 100: about a second on a real node.
#![expect(unreachable_pub, reason = "one binary, nothing outside of it")]
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "its output is the result, and the stand-in is a test's"
)]

#[path = "table/figure.rs"]
mod figure;
#[path = "../tests/proxmox/fleet.rs"]
#[expect(dead_code, reason = "only a part of it is used here")]
mod fleet;
#[path = "../tests/proxmox/site.rs"]
#[expect(dead_code, reason = "only a part of it is used here")]
mod site;
#[path = "../tests/proxmox/standin/mod.rs"]
mod standin;
#[path = "../tests/integration/support.rs"]
#[expect(dead_code, reason = "only a part of it is used here")]
mod support;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use figure::Figure;
use fleet::Fleet;
use serde_json::json;
use site::ALPINE;

fn main() -> ExitCode {
    // Started under the name of a tool it is that tool.
    if let Some(code) = standin::as_a_tool() {
        return ExitCode::from(u8::try_from(code).unwrap_or(255));
    }
    if !rustix::process::geteuid().is_root() || site::busybox().is_none() {
        eprintln!("SKIPPED: the stand-in node needs root (chroot) and busybox");
        let must = std::env::var("CI").is_ok_and(|value| value == "true");
        return ExitCode::from(u8::from(must));
    }
    let quick = std::env::args().any(|word| word == "--quick" || word == "--test");
    let (containers, rounds) = if quick { (3, 1) } else { (15, 3) };
    let mut runs = BTreeMap::new();
    for _ in 0..rounds {
        round(containers, &mut runs);
    }
    for ((name, unit), runs) in &runs {
        let name = format!("beside the original, {name}");
        let command = "cargo bench --bench original";
        let figure = Figure::of(&name, runs, unit, command);
        println!("{}", serde_json::to_string(&figure).expect("JSON"));
    }
    ExitCode::SUCCESS
}

/// A fleet without scripts, as the original knew its keys.
fn fleet(containers: u32) -> Fleet {
    let mut fleet = Fleet::of(containers);
    for at in 0..containers {
        fleet.set(at, "start_at_boot", json!(true));
        fleet.set(at, "boot_order", json!(at + 1));
        fleet.set(at, "boot_delay", json!(5));
    }
    fleet.write();
    let call = std::env::var("ORIGINAL_CALL_MS").unwrap_or("100".to_owned());
    fleet.site.write("standin/call", &call);
    fleet
}

type Way<'a> = &'a dyn Fn(&Fleet);
type Runs = BTreeMap<(String, &'static str), Vec<f64>>;

/// Each way on a node of its own: fresh, then with nothing to do.
fn round(containers: u32, runs: &mut Runs) {
    let jobs = |jobs: &'static str| move |fleet: &Fleet| drop(fleet.ok(&["--jobs", jobs, "apply"]));
    let original = |fleet: &Fleet| (0..containers).for_each(|at| orchestrate(fleet, at));
    let ways: [(&str, Way<'_>); 3] = [
        ("the original's way", &original),
        ("phoenix --jobs 1", &jobs("1")),
        ("phoenix --jobs 4", &jobs("4")),
    ];
    for (way, work) in ways {
        let fleet = fleet(containers);
        for state in ["fresh", "unchanged"] {
            let (log, began) = (fleet.log().len(), Instant::now());
            work(&fleet);
            let seconds = began.elapsed().as_secs_f64();
            let (pct, others) = fleet.processes(log);
            let each = usize::try_from(containers).expect("a few");
            let expected = match (way == ways[0].0, state == "fresh") {
                (true, true) => 16 * each,
                (true, false) => 15 * each,
                (false, true) => 2 * each,
                (false, false) => 0,
            };
            assert_eq!(pct, expected, "{state}, {way}");
            let mut note = |what: &str, unit, value| {
                let name = format!("{state}, {way}: {what}");
                runs.entry((name, unit)).or_default().push(value);
            };
            note("wall time", "s", seconds);
            note("pct processes", "processes", pct as f64);
            note("other tools", "processes", others as f64);
        }
    }
}

/// What the original called for a container without scripts, in its order: 16 times `pct` for one
/// that it makes, 15 times for one that is there. What it asked first is what it went by; its own
/// two snapshots it took anew each time.
fn orchestrate(fleet: &Fleet, at: u32) {
    let id = fleet.id(at);
    let own = &fleet.lxc["lxc_configs"][&id];
    let text = |key: &str| {
        own[key]
            .as_str()
            .map_or(own[key].to_string(), str::to_owned)
    };
    let pct = |words: &[&str]| fleet.site.run("pct", words);
    let ok = |words: &[&str]| {
        let output = pct(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // As it did: a disk of the declared size is an error of `pct resize`, and well all the same.
        let same = said.contains("disk is already at specified size");
        assert!(output.status.success() || same, "pct {words:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let net = &own["network_config"];
    let net = format!(
        "name=eth0,bridge=vmbr0,ip={},gw={}",
        net["ip"].as_str().expect("an address"),
        net["gw"].as_str().expect("an address"),
    );
    if !pct(&["status", &id]).status.success() {
        let (template, disk) = (format!("local:vztmpl/{ALPINE}"), text("storage_size_gb"));
        let rootfs = format!("{}:{disk}", text("storage_pool"));
        ok(&[
            "create",
            &id,
            &template,
            "--hostname",
            &text("name"),
            "--memory",
            &text("memory_mb"),
            "--cores",
            &text("cores"),
            "--storage",
            &text("storage_pool"),
            "--rootfs",
            &rootfs,
            "--net0",
            &net,
            "--unprivileged",
            "1",
        ]);
        assert!(ok(&["config", &id]).contains("unprivileged: 1"));
    }
    ok(&["set", &id, "--memory", &text("memory_mb")]);
    ok(&["set", &id, "--cores", &text("cores")]);
    ok(&["set", &id, "--onboot", "1"]);
    let (order, delay) = (text("boot_order"), text("boot_delay"));
    ok(&[
        "set",
        &id,
        "--startup",
        &format!("order={order},up={delay},down={delay}"),
    ]);
    ok(&["set", &id, "--net0", &net]);
    ok(&[
        "resize",
        &id,
        "rootfs",
        &format!("{}G", text("storage_size_gb")),
    ]);
    if !ok(&["status", &id]).contains("status: running") {
        ok(&["start", &id]);
    }
    for name in ["pre-configured", "final-form"] {
        if ok(&["listsnapshot", &id]).contains(name) {
            ok(&["delsnapshot", &id, name]);
        }
        ok(&["snapshot", &id, name]);
    }
    // Whether the snapshot that a template is to have is there; these are no templates.
    ok(&["listsnapshot", &id]);
}
