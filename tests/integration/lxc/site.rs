//! A place of a test's own for real containers.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::BUSYBOX;
use super::remains::processes;
use crate::support::{Done, phoenix, tool};

pub fn run(program: &str, arguments: &[&str]) -> bool {
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    tool(program, &arguments)
}

/// A configuration, a state directory, a directory of containers and a bridge, all of this
/// test's own.
pub struct Site {
    pub dir: TempDir,
    pub bridge: String,
    pub subnet: String,
    pub lxc: Value,
    pub hypervisor: Value,
    /// What a shell does first, in a mount namespace of its own, wherever phoenix is started:
    /// another machine, as far as phoenix can tell.
    pub machine: Option<String>,
}

/// Makes a symbolic link anew.
fn link(to: &str, at: &Path) {
    let _ = fs::remove_file(at);
    symlink(to, at).expect("linked");
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Site {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("opened");
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let bridge = format!("phx{}-{number}", std::process::id() % 100_000);
        let subnet = format!("10.{}.{}", 200 + number, std::process::id() % 250);
        assert!(
            run("ip", &["link", "add", &bridge, "type", "bridge"]),
            "a bridge"
        );
        let address = format!("{subnet}.1/24");
        assert!(
            run("ip", &["address", "add", &address, "dev", &bridge]),
            "an address"
        );
        assert!(
            run("ip", &["link", "set", &bridge, "up"]),
            "the bridge is up"
        );
        let site = Self {
            dir,
            bridge,
            subnet,
            lxc: json!({ "lxc_configs": {} }),
            hypervisor: json!({}),
            machine: None,
        };
        for dir in [
            "etc",
            "bin/features",
            "lxc/storage/pool",
            "lxc/template/cache",
        ] {
            fs::create_dir_all(site.path(dir)).expect("made");
        }
        site.template();
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn text(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    /// A tiny system: BusyBox, and an init that starts what is in `/etc/rc.d`.
    pub fn template(&self) {
        let root = self.path("root");
        for dir in [
            "bin", "sbin", "etc/rc.d", "proc", "sys", "dev", "tmp", "root", "var/lib",
        ] {
            fs::create_dir_all(root.join(dir)).expect("made");
        }
        fs::copy(BUSYBOX, root.join("bin/busybox")).expect("copied");
        for tool in [
            "sh", "cat", "ls", "mkdir", "rm", "mv", "echo", "printf", "sync", "tail", "df", "true",
            "grep", "httpd", "wget", "sleep", "hostname", "ip", "id", "stat", "dirname", "chmod",
            "ps", "udhcpc", "umount", "ifconfig",
        ] {
            link("busybox", &root.join("bin").join(tool));
        }
        link("../bin/busybox", &root.join("sbin/init"));
        fs::write(root.join("etc/inittab"), "::sysinit:/etc/rc\n").expect("written");
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("written");
        let rc = root.join("etc/rc");
        fs::write(
            &rc,
            "#!/bin/sh\nfor file in /etc/rc.d/*; do [ -x $file ] && $file; done\n",
        )
        .expect("written");
        fs::set_permissions(&rc, fs::Permissions::from_mode(0o755)).expect("set");
        let script = root.join("etc/udhcpc/default.script");
        fs::create_dir_all(script.parent().expect("a directory")).expect("made");
        let bound = "#!/bin/sh\n[ \"$1\" != bound ] || ifconfig $interface $ip netmask $subnet\n";
        fs::write(&script, bound).expect("written");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("set");
        let archive = self.path("lxc/template/cache/tiny.tar.gz");
        let (archive, root) = (archive.to_string_lossy(), root.to_string_lossy());
        assert!(run(
            "tar",
            &["-czf", &archive, "--owner=0", "--group=0", "-C", &root, "."]
        ));
    }

    /// Declares a container.
    pub fn declare(&mut self, ctid: u32, own: &Value) {
        let mut container = json!({
            "name": format!("c{ctid}"),
            "memory_mb": 64,
            "swap_mb": 0,
            "cores": 1,
            "storage_pool": "pool",
            "storage_size_gb": 1,
            "unprivileged": true,
            "network_config": {
                "name": "eth0", "bridge": self.bridge,
                "ip": format!("{}.{}/24", self.subnet, ctid - 700), "gw": format!("{}.1", self.subnet),
            },
        });
        let all = container.as_object_mut().expect("an object");
        for (key, value) in own.as_object().expect("an object") {
            all.insert(key.clone(), value.clone());
        }
        if !all.contains_key("clone_from_ctid") {
            all.insert("template".to_owned(), json!("local:vztmpl/tiny.tar.gz"));
        }
        self.lxc["lxc_configs"][ctid.to_string()] = container;
    }

    pub fn change(&mut self, ctid: u32, key: &str, value: Value) {
        self.lxc["lxc_configs"][ctid.to_string()][key] = value;
        self.write();
    }

    pub fn write(&self) {
        self.text("etc/phoenix_lxc_configs.json", &self.lxc.to_string());
        self.text(
            "etc/phoenix_hypervisor_config.json",
            &self.hypervisor.to_string(),
        );
    }

    /// A feature; each run of it is counted in the container, and takes long enough to be killed.
    pub fn feature(&self, name: &str, lines: &str) {
        let text =
            format!("#!/bin/sh\nset -e\necho \"{name} $1\" >>/etc/ran\nsleep 0.1\n{lines}\n");
        self.text(&format!("bin/features/{name}.sh"), &text);
    }

    /// A program on the machine of this site.
    #[expect(
        clippy::disallowed_methods,
        reason = "the real program, and a test's own tools"
    )]
    fn on_machine(&self, program: impl AsRef<OsStr>) -> std::process::Command {
        let mut command = match &self.machine {
            None => std::process::Command::new(program),
            Some(line) => {
                let line = format!("{line}\nexec \"$@\"");
                let mut command = std::process::Command::new("unshare");
                command.args(["--mount", "--propagation", "private"]);
                command.args(["sh", "-euc", &line, "machine"]).arg(program);
                command
            }
        };
        command.stdin(std::process::Stdio::null());
        command
    }

    fn program(&self) -> std::process::Command {
        let plain = phoenix();
        let mut command = self.on_machine(plain.get_program());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    pub fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.program();
        command
            .arg("--host")
            .arg(format!("lxc:{}", self.path("lxc").display()))
            .arg("--config")
            .arg(self.dir.path())
            .arg("--state")
            .arg(self.path("state"))
            .args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Done {
        Done::of(&self.command(arguments).output().expect("it starts"))
    }

    #[track_caller]
    pub fn apply(&self) -> Value {
        self.run(&["apply", "--format", "json"]).code(0).json()
    }

    /// One of LXC's tools.
    pub fn lxc(&self, tool: &str, ctid: u32, arguments: &[&str]) -> bool {
        let mut command = self.on_machine(tool);
        command.arg("-P").arg(self.path("lxc"));
        command.args(["-n", &ctid.to_string()]).args(arguments);
        command.stderr(std::process::Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// What a command inside prints.
    pub fn inside(&self, ctid: u32, line: &str) -> String {
        let mut command = self.on_machine("lxc-attach");
        command.arg("-P").arg(self.path("lxc"));
        command.args(["-n", &ctid.to_string(), "--clear-env", "-v", "PATH=/bin"]);
        let output = command.args(["--", "sh", "-c", line]).output();
        let output = output.expect("it starts");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The process on the host that is a container's init.
    pub fn init(&self, ctid: u32) -> u32 {
        let mut command = self.on_machine("lxc-info");
        command.arg("-P").arg(self.path("lxc"));
        let output = command.args(["-n", &ctid.to_string(), "-p", "-H"]).output();
        let shown = String::from_utf8_lossy(&output.expect("it starts").stdout).into_owned();
        shown.trim().parse().expect("a process")
    }

    pub fn config(&self, ctid: u32) -> PathBuf {
        self.path("lxc").join(ctid.to_string()).join("config")
    }

    /// Edits a configuration as a person would.
    pub fn edit(&self, ctid: u32, edit: impl Fn(&str) -> String) {
        let path = self.config(ctid);
        let text = fs::read_to_string(&path).expect("a configuration");
        let edited = edit(&text);
        assert_ne!(edited, text, "nothing was edited");
        fs::write(path, edited).expect("written");
    }

    pub fn ids(&self) -> Vec<u32> {
        let all = self.lxc["lxc_configs"].as_object().expect("an object");
        all.keys().map(|key| key.parse().expect("an id")).collect()
    }

    /// The containers of this directory that run, by the sockets of LXC's monitors.
    pub fn running(&self) -> Vec<u32> {
        let sockets = fs::read_to_string("/proc/net/unix").expect("sockets");
        let prefix = format!("@{}/", self.path("lxc").display());
        let names = sockets.lines().filter_map(|line| line.rsplit(' ').next());
        let ids = names.filter_map(|name| name.strip_prefix(&prefix)?.strip_suffix("/command"));
        let ids: BTreeSet<u32> = ids.filter_map(|id| id.parse().ok()).collect();
        ids.into_iter().collect()
    }

    /// All are stopped hard, as when the power goes.
    pub fn stop_all(&self) {
        for ctid in self.running() {
            self.lxc("lxc-stop", ctid, &["-k"]);
        }
    }

    /// Waits until the kernel has let go of what was stopped; what is there all the same.
    pub fn await_quiet(&self) -> Vec<String> {
        for _ in 0..200 {
            if self.left_over().is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        self.left_over()
    }

    /// Mounts of this site that the host shows.
    pub fn mounts(&self) -> Vec<String> {
        let dir = self.dir.path().to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        let own = mounts.lines().filter(|line| line.contains(&dir));
        own.map(str::to_owned).collect()
    }

    /// Images of this site that loop devices have.
    pub fn loops(&self) -> Vec<String> {
        let dir = self.dir.path().to_string_lossy().into_owned();
        let devices = fs::read_dir("/sys/block").expect("devices").flatten();
        let files = devices
            .filter_map(|entry| fs::read_to_string(entry.path().join("loop/backing_file")).ok());
        let mut own: Vec<String> = files.filter(|file| file.starts_with(&dir)).collect();
        own.sort();
        own
    }

    /// Interfaces of the host that belong to containers of this site.
    pub fn interfaces(&self) -> Vec<String> {
        let interfaces = fs::read_dir(format!("/sys/class/net/{}/brif", self.bridge));
        let interfaces = interfaces.into_iter().flatten().flatten();
        let names = interfaces.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// What there is of this site that should be gone when nothing runs.
    pub fn left_over(&self) -> Vec<String> {
        let mut found = [self.mounts(), self.loops(), self.interfaces()].concat();
        let dir = self.dir.path().to_string_lossy().into_owned();
        let own = processes().into_iter().map(|process| process.command);
        found.extend(own.filter(|command| command.contains(&dir)));
        found
    }

    /// Everything that phoenix made here is removed.
    pub fn reset(&self) {
        self.stop_all();
        assert_eq!(self.await_quiet(), Vec::<String>::new());
        for entry in fs::read_dir(self.path("lxc")).expect("there").flatten() {
            if !matches!(entry.file_name().to_str(), Some("storage" | "template")) {
                fs::remove_dir_all(entry.path()).expect("removed");
            }
        }
        for dir in ["state", "shared", "lxc/storage/pool"] {
            fs::remove_dir_all(self.path(dir)).expect("removed");
        }
        fs::create_dir(self.path("lxc/storage/pool")).expect("made");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop_all();
        self.await_quiet();
        run("ip", &["link", "del", &self.bridge]);
    }
}
