//! `phoenix destroy`: what it does, what it refuses, and how it goes on.

use serde_json::{Value, json};

use crate::support::{Done, Site, phoenix};

fn kinds(site: &Site) -> Vec<String> {
    let effects = site.effects().into_iter();
    let shown = |(ctid, kind): (Option<u64>, String)| format!("{} {kind}", ctid.unwrap_or(0));
    effects.map(shown).collect()
}

#[test]
fn it_wants_a_yes() {
    let site = Site::new();
    site.apply();
    let world = site.world();
    site.run(&["destroy", "903"])
        .code(2)
        .says("nobody is there to be asked")
        .says("add --yes");
    assert_eq!(site.world(), world);
    let runs = site.ok(&["runs", "--format", "json"]).json();
    assert_eq!(
        runs.as_array().expect("runs").len(),
        1,
        "nothing is journaled"
    );

    site.ok(&["destroy", "903", "--yes"])
        .prints("903 lone  destroyed in ")
        .prints("Destroyed 1 container, 0 failed, 0 skipped; 1 change in ")
        .says("Still declared, so the next `phoenix apply` makes anew: 903");
    assert_eq!(kinds(&site).last().expect("an effect"), "903 destroy");
    site.ok(&["history", "903"])
        .prints("destruction started by")
        .prints("- destroy it with its volumes and snapshots")
        .prints("container destroyed in");
    let status = site.ok(&["status", "--format", "json"]).json();
    let row = |ctid: u64| {
        let rows = status["containers"].as_array().expect("rows").iter();
        rows.into_iter()
            .find(|row| row["ctid"] == ctid)
            .cloned()
            .unwrap_or(Value::Null)
    };
    assert_eq!(row(903)["observed"], "absent", "{status}");
    assert_eq!(row(903)["outcome"], "destroyed", "{status}");

    // Done is done.
    site.ok(&["destroy", "903", "--yes"])
        .prints("Nothing to destroy");
    // What is declared comes back, whole.
    assert_eq!(site.apply()["converged"], 4);
    assert_eq!(site.apply()["mutations"], 0);
    site.ok(&["journal", "verify"]);
}

#[test]
fn what_others_need_stays() {
    let mut site = Site::new();
    site.apply();
    let world = site.world();
    site.run(&["destroy", "900", "--yes"])
        .code(3)
        .says("container 900 is needed by 901")
        .says("destroy those first, or name them too");
    site.run(&["destroy", "900", "901", "--yes"])
        .code(3)
        .says("container 901 is needed by 902");
    // Even where the clone is declared no more: it was cloned from it.
    for ctid in ["901", "902"] {
        let all = site.lxc["lxc_configs"].as_object_mut().expect("an object");
        all.shift_remove(ctid);
    }
    site.hypervisor["shared_volumes"]["site"]["mounts"] = json!({});
    site.write();
    site.run(&["destroy", "900", "--yes"])
        .code(3)
        .says("container 900 is needed by 901");
    assert_eq!(site.world(), world);
    // What is declared no more can go, by name.
    let done = site.ok(&["destroy", "900", "901", "902", "--yes", "--format", "json"]);
    let done = done.json();
    assert_eq!(done["mutations"], 3, "{done}");
    assert_eq!(
        done["containers"][0],
        json!({ "ctid": 900, "outcome": "destroyed" })
    );
}

#[test]
fn those_that_need_others_go_first() {
    let site = Site::new();
    site.apply();
    site.ok(&["destroy", "900", "901", "902", "--yes", "--jobs", "4"]);
    let kinds = kinds(&site);
    let last = &kinds[kinds.len() - 3..];
    assert_eq!(last, ["902 destroy", "901 destroy", "900 destroy"]);
}

#[test]
fn what_phoenix_did_not_make_stays() {
    let site = Site::new();
    site.run(&["destroy", "903", "--yes"])
        .code(2)
        .says("there is no journal");
    assert!(!site.state().exists());
    site.apply();
    site.run(&["destroy", "555", "--yes"])
        .code(2)
        .says("there is no container 555, and phoenix never knew one");
    // Another journal has adopted them, and has made none of them.
    let elsewhere = |arguments: &[&str]| {
        let mut command = phoenix();
        command.arg("--config").arg(site.dir.path());
        command.arg("--state").arg(site.path("other"));
        let sim = site.state().join("sim");
        command.arg("--host").arg(format!("sim:{}", sim.display()));
        Done::of(&command.args(arguments).output().expect("it starts"))
    };
    elsewhere(&["apply"]).code(0);
    elsewhere(&["destroy", "903", "--yes"])
        .code(3)
        .says("container 903 was not made by phoenix with this journal");
    site.ok(&["sim", "set", "903", "protection=1"]);
    site.run(&["destroy", "903", "--yes"])
        .code(3)
        .says("can't remove CT 903 - protection mode enabled");
}

#[test]
fn a_destruction_that_was_cut_off_goes_on() {
    for (fault, verdict) in [
        ("exit-before", "retried"),
        ("exit-middle", "retried"),
        ("exit-after", "adopted"),
    ] {
        let site = Site::new();
        site.apply();
        let faults = json!([{ "kind": "destroy", "ctid": 901, "fault": fault }]);
        let destroy = ["destroy", "900", "901", "902", "--yes"];
        let died = site
            .with_faults(&destroy, &faults)
            .output()
            .expect("it starts");
        assert_eq!(died.status.code(), None, "{fault}: it was killed");
        let runs = site.ok(&["runs", "--format", "json"]).json();
        assert_eq!(runs.as_array().expect("runs").len(), 2, "{fault}");
        site.ok(&["resume"]).prints("Destroyed 3 containers");
        let destroyed = kinds(&site);
        let destroyed = destroyed.iter().filter(|kind| kind.ends_with(" destroy"));
        let halves = usize::from(fault == "exit-middle");
        assert_eq!(destroyed.count(), 3 + halves, "{fault}");
        let history = site.ok(&["history", "901", "--format", "json"]).lines();
        let inspected = history
            .iter()
            .find(|line| line["kind"] == "intent_inspected");
        assert_eq!(
            inspected.expect("an inspection")["verdict"],
            verdict,
            "{fault}"
        );
        site.run(&["resume"]).code(0).prints("Nothing to resume");
        assert_eq!(site.apply()["failed"], 0, "{fault}");
        site.ok(&["journal", "verify"]);
    }
}

/// Answers the question at a terminal, which `script` (of util-linux) is.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's own terminal around the real program"
)]
fn answered(site: &Site, answer: &str) -> Option<(Option<i32>, String)> {
    let destroy = site.command(&["destroy", "903"]);
    let words = std::iter::once(destroy.get_program()).chain(destroy.get_args());
    let line: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &line.join(" "), "/dev/null"]);
    script.stdin(std::process::Stdio::piped());
    script.stdout(std::process::Stdio::piped());
    let Ok(mut child) = script.spawn() else {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "`script` is needed in CI"
        );
        eprintln!("SKIPPED: `script` of util-linux is not installed");
        return None;
    };
    let mut stdin = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut stdin, answer.as_bytes()).expect("an answer");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some((output.status.code(), text))
}

#[test]
fn only_a_yes_is_a_yes() {
    let site = Site::new();
    site.apply();
    let world = site.world();
    let Some((code, text)) = answered(&site, "y\n") else {
        return;
    };
    assert_eq!(code, Some(130), "{text}");
    assert!(text.contains("1 to destroy"), "{text}");
    assert!(
        text.contains("not confirmed; nothing was changed"),
        "{text}"
    );
    assert_eq!(site.world(), world);
    let (code, text) = answered(&site, "yes\n").expect("it was there before");
    assert_eq!(code, Some(0), "{text}");
    let runs = site.ok(&["runs", "--format", "json"]).json();
    assert_eq!(runs[1]["outcome"], "destroyed", "{runs}");
}
