//! What a person does by hand: the plan names it and nothing else, apply cures it.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::able;
use super::fleet::fleet;
use super::site::Site;

/// The options of a value.
fn options(value: &Value) -> BTreeSet<String> {
    let text = value.as_str().unwrap_or("nothing");
    text.split(',').map(str::to_owned).collect()
}

/// What a plan is about to do, a line each: container, action, and of a change what is
/// different.
pub fn lines(plan: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut lines = Vec::new();
    for container in list(&plan["containers"]) {
        assert_eq!(container["problems"], json!([]), "{plan}");
        for step in list(&container["steps"]) {
            for action in list(&step["actions"]) {
                let mut line = format!(
                    "{} {}",
                    container["ctid"],
                    action["action"].as_str().expect("a kind")
                );
                for change in list(&action["diff"]) {
                    let key = change["key"].as_str().expect("a key");
                    let [from, to] = ["from", "to"].map(|side| options(&change[side]));
                    let gone: Vec<_> = from.difference(&to).cloned().collect();
                    let new: Vec<_> = to.difference(&from).cloned().collect();
                    line += &format!(" {key}: {} → {}", gone.join(","), new.join(","));
                }
                lines.push(line);
            }
        }
    }
    lines
}

/// Something done by hand, what the plan says of it, and how many changes cure it.
struct Drift<'a> {
    what: &'a str,
    by_hand: &'a dyn Fn(),
    /// With `{net}` and `{dir}` for what is the site's own.
    named: &'a [&'a str],
}

#[track_caller]
fn cured(site: &Site, drift: &Drift<'_>) {
    let what = drift.what;
    (drift.by_hand)();
    let plan = site.run(&["plan", "--format", "json", "--exit-code"]);
    let plan = plan.code(4).json();
    let named: Vec<String> = drift
        .named
        .iter()
        .map(|line| line.replace("{net}", &site.subnet))
        .map(|line| line.replace("{dir}", &site.dir.path().to_string_lossy()))
        .collect();
    assert_eq!(lines(&plan), named, "{what}");
    let done = site.apply();
    let checks = |line: &&String| line.ends_with(" check_health");
    let changes = named.len() - named.iter().filter(checks).count();
    assert_eq!(
        (&done["failed"], &done["converged"], &done["mutations"]),
        (&json!(0), &json!(8), &json!(changes)),
        "{what}: {done}"
    );
    site.run(&["plan", "--exit-code"]).code(0);
}

#[test]
fn what_is_changed_by_hand_is_named_and_cured() {
    if !able("what_is_changed_by_hand_is_named_and_cured") {
        return;
    }
    let site = fleet();
    assert_eq!(site.apply()["failed"], 0);
    settings(&site);
    lives(&site);
    let ran = ["810", "811", "812", "814"]
        .map(|id| site.inside(id.parse().expect("an id"), "cat /etc/ran"));
    assert_eq!(
        ran,
        [
            "base 800\nruntime 801\nhttpd 810\napp 810",
            "base 800\nruntime 802\ndata 811",
            "base 800\nruntime 802",
            "",
        ],
        "a script ran again"
    );
    site.run(&["journal", "verify"]).code(0);
}

/// Edits of files, and limits of the kernel.
fn settings(site: &Site) {
    let without = |ctid, what: &str| {
        site.edit(ctid, |text| {
            let kept = text.lines().filter(|line| !line.contains(what));
            kept.map(|line| format!("{line}\n")).collect()
        });
    };
    for drift in [
        Drift {
            what: "memory in the file",
            by_hand: &|| {
                site.edit(812, |text| {
                    text.replace("limit_in_bytes = 64M", "limit_in_bytes = 100M")
                        .replace("memory.max = 64M", "memory.max = 100M")
                });
            },
            named: &["812 configure memory: 100 → 64", "812 check_health"],
        },
        Drift {
            what: "memory of the kernel",
            by_hand: &|| {
                let v1 = site.lxc("lxc-cgroup", 812, &["memory.memsw.limit_in_bytes", "200M"])
                    && site.lxc("lxc-cgroup", 812, &["memory.limit_in_bytes", "200M"]);
                assert!(v1 || site.lxc("lxc-cgroup", 812, &["memory.max", "200M"]));
            },
            named: &["812 configure memory: 200 → 64", "812 check_health"],
        },
        Drift {
            what: "address",
            by_hand: &|| site.edit(812, |text| text.replace(".112/24", ".222/24")),
            named: &[
                "812 configure net0: ip={net}.222/24 → ip={net}.112/24",
                "812 check_health",
            ],
        },
        Drift {
            what: "mount removed",
            by_hand: &|| without(811, " srv/site "),
            named: &[
                "811 configure mp0: nothing → {dir}/shared,mp=/srv/site",
                "811 check_health",
            ],
        },
        Drift {
            what: "bind mount taken away inside",
            by_hand: &|| {
                assert_eq!(site.inside(811, "umount /srv/site && echo done"), "done");
            },
            named: &[
                "811 configure mp0: nothing → {dir}/shared,mp=/srv/site",
                "811 check_health",
            ],
        },
        Drift {
            what: "environment",
            by_hand: &|| without(814, "lxc.environment = A=b c"),
            named: &[
                "814 configure lxc.environment: nothing → A=***",
                "814 check_health",
            ],
        },
    ] {
        cured(site, &drift);
    }
    // A volume keeps what is on it, whatever is done inside.
    assert_eq!(site.inside(811, "umount /data && echo done"), "done");
    assert_eq!(site.apply()["mutations"], 0);
    assert!(site.lxc("lxc-stop", 811, &["-k"]));
    assert_eq!(site.apply()["mutations"], 1);
    assert_eq!(site.inside(811, "cat /data/file"), "kept");
    // What others mount is theirs.
    let entry = "lxc.mount.entry = tmpfs mine tmpfs create=dir 0 0\n";
    site.edit(812, |text| format!("{text}# mine\n{entry}"));
    site.run(&["plan", "--exit-code"])
        .code(0)
        .prints("unmanaged, left as it is: lxc.mount.entry: tmpfs mine");
    assert_eq!(site.apply()["mutations"], 0);
    let text = fs::read_to_string(site.config(812)).expect("a configuration");
    assert!(text.contains("# mine\n") && text.contains(entry), "{text}");
}

/// Containers and snapshots that go.
fn lives(site: &Site) {
    let made_anew = [
        "813 clone",
        "813 configure net0: ip={net}.101/24 → ip={net}.113/24",
        "813 start",
        "813 check_health",
    ];
    for drift in [
        Drift {
            what: "stopped",
            by_hand: &|| assert!(site.lxc("lxc-stop", 813, &["-k"])),
            named: &["813 start", "813 check_health"],
        },
        Drift {
            what: "snapshot deleted by LXC's tool",
            by_hand: &|| assert!(site.lxc("lxc-snapshot", 802, &["-d", "ready"])),
            named: &["802 snapshot"],
        },
        Drift {
            what: "snapshot deleted by hand",
            by_hand: &|| {
                fs::remove_dir_all(site.path("lxc/802/snaps/ready")).expect("it was there");
            },
            named: &["802 snapshot"],
        },
        Drift {
            what: "destroyed by LXC's tool",
            by_hand: &|| assert!(site.lxc("lxc-destroy", 813, &["-f"])),
            named: &made_anew,
        },
        Drift {
            what: "directory removed by hand",
            by_hand: &|| {
                assert!(site.lxc("lxc-stop", 813, &["-k"]));
                fs::remove_dir_all(site.path("lxc/813")).expect("it was there");
            },
            named: &made_anew,
        },
    ] {
        cured(site, &drift);
    }
    // The disk that nobody used any more is kept.
    assert!(
        site.path("lxc/storage/pool/vm-813-disk-0.raw.orphan-1")
            .is_file()
    );
}
