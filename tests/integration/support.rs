//! Running the real program on a small configuration in a directory of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The program, with nothing of the environment of the tests that could change what it does.
#[expect(
    clippy::disallowed_methods,
    reason = "what is tested is the real program, started as a user starts it"
)]
pub fn phoenix() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phoenix"));
    for (name, _) in std::env::vars_os() {
        let phoenix = name.to_string_lossy().starts_with("PHOENIX_");
        if phoenix || name == "NO_COLOR" || name == "XDG_STATE_HOME" {
            command.env_remove(name);
        }
    }
    command.env("PHOENIX_RETRY_PAUSE_MS", "0");
    command.stdin(Stdio::null());
    command
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Done {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let done = Self {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        };
        assert!(!done.err.contains("panicked"), "{}", done.err);
        done
    }

    /// The exit code must be this.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.out,
            self.err
        );
        self
    }

    /// Standard error must contain this.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "no '{text}' in:\n{}", self.err);
        self
    }

    /// Standard output must contain this.
    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert!(self.out.contains(text), "no '{text}' in:\n{}", self.out);
        self
    }

    /// Standard output is one document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}\nstdout:\n{}\nstderr:\n{}", self.out, self.err))
    }

    /// Standard output is one document a line.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let read = |line: &str| serde_json::from_str(line).expect("a document on each line");
        self.out.lines().map(read).collect()
    }
}

/// A configuration, a state directory and a simulated host.
pub struct Site {
    pub dir: TempDir,
    pub hypervisor: Value,
    pub lxc: Value,
}

impl Site {
    /// Four containers: 900 with a snapshot, 901 a clone of it, 902 that depends on 901, 903 on
    /// its own.
    pub fn new() -> Self {
        let mut site = Self {
            dir: tempfile::tempdir().expect("a directory"),
            hypervisor: json!({
                "zfs": { "datasets": [{
                    "name": "disks", "pool": "tank",
                    "proxmox_storage_type": "zfspool", "proxmox_content_type": "rootdir",
                }] },
                "shared_volumes": {
                    "site": { "host_path": "/srv/site", "mode": "0755",
                              "mounts": { "901": "/srv/site" } },
                },
            }),
            lxc: json!({ "lxc_configs": {} }),
        };
        for (ctid, name) in [(900, "base"), (901, "web"), (902, "db"), (903, "lone")] {
            site.declare(ctid, name);
        }
        site.set(900, "template_snapshot_name", json!("ready"));
        site.set(900, "features", json!(["tools"]));
        site.set(901, "template", Value::Null);
        site.set(901, "clone_from_ctid", json!("900"));
        site.set(901, "features", json!(["server"]));
        site.set(901, "start_at_boot", json!(true));
        site.set(902, "dependencies", json!(["901"]));
        site.set(902, "application_script", json!("setup.sh"));
        site.script("bin/features/tools.sh");
        site.script("bin/lxc_setup/phoenix_hypervisor_feature_install_server.sh");
        site.script("bin/setup.sh");
        site.write();
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn declare(&mut self, ctid: u32, name: &str) {
        self.lxc["lxc_configs"][ctid.to_string()] = container(ctid, name);
    }

    /// Declares containers no more.
    pub fn remove(&mut self, ctids: &[u32]) {
        let all = self.lxc["lxc_configs"].as_object_mut().expect("an object");
        for ctid in ctids {
            all.shift_remove(&ctid.to_string());
        }
    }

    /// Declares a key of a container; null takes it away.
    pub fn set(&mut self, ctid: u32, key: &str, value: Value) {
        let all = self.lxc["lxc_configs"].as_object_mut().expect("an object");
        let own = all.get_mut(&ctid.to_string()).expect("a container");
        let own = own.as_object_mut().expect("an object");
        if value.is_null() {
            own.shift_remove(key);
        } else {
            own.insert(key.to_owned(), value);
        }
    }

    /// Declares, and writes the files.
    pub fn change(&mut self, ctid: u32, key: &str, value: Value) {
        self.set(ctid, key, value);
        self.write();
    }

    pub fn script(&self, name: &str) {
        self.text(name, &format!("#!/bin/sh\n# {name}\n"));
    }

    pub fn text(&self, name: &str, text: &str) {
        let path = self.path(name);
        let parent = path.parent().expect("a parent");
        std::fs::create_dir_all(parent).expect("a directory");
        std::fs::write(path, text).expect("written");
    }

    pub fn write(&self) {
        for (file, value) in [
            ("etc/phoenix_hypervisor_config.json", &self.hypervisor),
            (LXC, &self.lxc),
        ] {
            self.text(file, &format!("{value:#}\n"));
        }
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// A command on this site.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = phoenix();
        command
            .args(["--host", "sim", "--config"])
            .arg(self.dir.path())
            .arg("--state")
            .arg(self.state())
            .args(arguments);
        command
    }

    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Done {
        let output = self.command(arguments).output().expect("it starts");
        Done::of(&output)
    }

    /// A command with a fault plan.
    pub fn with_faults<S: AsRef<OsStr>>(&self, arguments: &[S], faults: &Value) -> Command {
        self.text("faults.json", &faults.to_string());
        let mut command = self.command(arguments);
        command.env("PHOENIX_SIM_FAULTS", self.path("faults.json"));
        command
    }

    /// A command that must succeed.
    #[track_caller]
    pub fn ok<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Done {
        self.run(arguments).code(0)
    }

    /// What `apply --format json` ends with; it must succeed.
    #[track_caller]
    pub fn apply(&self) -> Value {
        self.ok(&["apply", "--format", "json"]).json()
    }

    /// The world, canonically.
    pub fn world(&self) -> String {
        self.ok(&["sim", "show", "--format", "json"]).out
    }

    /// Every effect on the host: container and kind, in order.
    pub fn effects(&self) -> Vec<(Option<u64>, String)> {
        let lines = self.ok(&["sim", "log", "--format", "json"]).lines();
        let effect = |line: Value| {
            let kind = line["kind"].as_str().expect("a kind").to_owned();
            (line["ctid"].as_u64(), kind)
        };
        lines.into_iter().map(effect).collect()
    }
}

pub const LXC: &str = "etc/phoenix_lxc_configs.json";

fn container(ctid: u32, name: &str) -> Value {
    json!({
        "name": name,
        "memory_mb": 256,
        "cores": 1,
        "template": "local:vztmpl/debian-12.tar.zst",
        "storage_pool": "tank-disks",
        "storage_size_gb": 4,
        "unprivileged": true,
        "network_config": {
            "name": "eth0", "bridge": "vmbr0",
            "ip": format!("10.20.0.{}/24", ctid - 800), "gw": "10.20.0.1",
        },
    })
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file")
}

/// Runs a command of the system, for what a test needs of it.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's own tool, such as mount"
)]
pub fn tool(program: &str, arguments: &[&OsStr]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
