//! A small fleet declared for a stand-in node, and phoenix run on it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use phoenix::domain::record::Record;
use phoenix::journal::Journal;
use serde_json::{Value, json};

use crate::site::{ALPINE, Site};
use crate::standin::volumes;
use crate::support::{Done, phoenix};

/// A node, what is declared for it, and the state directory.
pub struct Fleet {
    pub site: Site,
    /// The first container's id. Every fleet has ids of its own: phoenix looks for workers of
    /// Proxmox VE in the list of all processes.
    pub base: u32,
    pub lxc: Value,
    pub hypervisor: Value,
    /// The arguments that name the host.
    host: Vec<String>,
    variables: Vec<(String, String)>,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// What a script leaves in the container each time it has run.
pub const RAN: &str = "root/ran";

impl Fleet {
    /// A base with a feature and a snapshot, a clone of it with another feature, a container that
    /// depends on the clone, with an application, a health check, a host directory and a raw line,
    /// and one on its own with a volume.
    pub fn new() -> Self {
        let base = 1000 + 10 * NEXT.fetch_add(1, Ordering::SeqCst);
        let mut fleet = Self::empty(base);
        for (at, name) in ["base", "web", "db", "lone"].into_iter().enumerate() {
            let ctid = base + u32::try_from(at).expect("small");
            fleet.lxc["lxc_configs"][ctid.to_string()] = container(ctid - base, name);
        }
        fleet.set(0, "template_snapshot_name", json!("ready"));
        fleet.set(0, "features", json!(["tools"]));
        fleet.set(1, "template", Value::Null);
        fleet.set(1, "clone_from_ctid", json!(base.to_string()));
        fleet.set(1, "features", json!(["server"]));
        fleet.set(1, "start_at_boot", json!(true));
        fleet.set(2, "dependencies", json!([(base + 1).to_string()]));
        fleet.set(2, "application_script", json!("setup.sh"));
        fleet.set(
            2,
            "health_check",
            json!({ "command": ["test", "-e", "/root/ran"] }),
        );
        fleet.set(2, "lxc_options", json!(["lxc.cap.drop=sys_rawio"]));
        let mounts = json!({ (base + 2).to_string(): "/srv/site" });
        let shared = fleet.site.path("srv/site").display().to_string();
        fleet.hypervisor["shared_volumes"] =
            json!({ "site": { "host_path": shared, "mode": "0755", "mounts": mounts } });
        let data =
            json!([{ "name": "data", "pool": "tank-disks", "size_gb": 2, "mount_point": "/data" }]);
        fleet.set(3, "volumes", data);
        fleet.script("bin/features/tools.sh");
        fleet.script("bin/features/server.sh");
        fleet.script("bin/setup.sh");
        fleet.write();
        fleet
    }

    /// So many containers without scripts.
    pub fn of(count: u32) -> Self {
        let base = 20_000 + 1000 * NEXT.fetch_add(1, Ordering::SeqCst);
        let mut fleet = Self::empty(base);
        for at in 0..count {
            fleet.lxc["lxc_configs"][(base + at).to_string()] = container(at, "same");
        }
        fleet.write();
        fleet
    }

    fn empty(base: u32) -> Self {
        let site = Site::new();
        site.write(
            "etc/pve/storage.cfg",
            "dir: local\n\tpath /var/lib/vz\n\tcontent iso,vztmpl,backup,rootdir\n\nzfspool: tank-disks\n\tpool tank/disks\n\tcontent rootdir\n",
        );
        let root = site.dir.path().display().to_string();
        Self {
            site,
            base,
            lxc: json!({ "lxc_configs": {} }),
            hypervisor: json!({
                "zfs": { "datasets": [{
                    "name": "disks", "pool": "tank",
                    "proxmox_storage_type": "zfspool", "proxmox_content_type": "rootdir",
                }] },
            }),
            host: vec!["--host".to_owned(), "pct".to_owned()],
            variables: vec![("PHOENIX_PCT_ROOT".to_owned(), root)],
        }
    }

    /// The same fleet, reached another way.
    pub fn reached(&mut self, host: &str, variables: &[(&str, String)]) {
        self.host = vec!["--host".to_owned(), host.to_owned()];
        let more = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        self.variables.extend(more);
    }

    /// The same node, seen from a directory that has only a part of it.
    pub fn seen_from(&mut self, root: &std::path::Path) {
        let root = root.display().to_string();
        self.variables = vec![("PHOENIX_PCT_ROOT".to_owned(), root)];
    }

    /// The id of the container at a position, as text.
    pub fn id(&self, at: u32) -> String {
        (self.base + at).to_string()
    }

    /// Declares a key of a container; null takes it away.
    pub fn set(&mut self, at: u32, key: &str, value: Value) {
        let own = &mut self.lxc["lxc_configs"][(self.base + at).to_string()];
        let own = own.as_object_mut().expect("an object");
        if value.is_null() {
            own.shift_remove(key);
        } else {
            own.insert(key.to_owned(), value);
        }
    }

    /// Declares, and writes the files.
    pub fn change(&mut self, at: u32, key: &str, value: Value) {
        self.set(at, key, value);
        self.write();
    }

    fn script(&self, name: &str) {
        self.site.write(
            &format!("fleet/{name}"),
            &format!("#!/bin/sh\necho {name} >>/{RAN}\n"),
        );
    }

    /// Scripts that are still at work when somebody looks.
    pub fn slow_scripts(&self) {
        for name in [
            "bin/features/tools.sh",
            "bin/features/server.sh",
            "bin/setup.sh",
        ] {
            let text = format!("#!/bin/sh\necho {name} >>/{RAN}\nsleep 0.7\n");
            self.site.write(&format!("fleet/{name}"), &text);
        }
    }

    pub fn write(&self) {
        let text = format!("{:#}\n", self.hypervisor);
        self.site
            .write("fleet/etc/phoenix_hypervisor_config.json", &text);
        let text = format!("{:#}\n", self.lxc);
        self.site.write("fleet/etc/phoenix_lxc_configs.json", &text);
    }

    pub fn state(&self) -> PathBuf {
        self.site.path("state")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = phoenix();
        command
            .args(&self.host)
            .arg("--config")
            .arg(self.site.path("fleet"))
            .arg("--state")
            .arg(self.state())
            .args(arguments)
            .env("PHOENIX_RETRY_PAUSE_MS", "20");
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Done {
        Done::of(&self.command(arguments).output().expect("it starts"))
    }

    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> Done {
        self.run(arguments).code(0)
    }

    /// Applies, and returns the summary.
    #[track_caller]
    pub fn apply(&self) -> Value {
        self.ok(&["apply", "--format", "json"]).json()
    }

    /// Starts a run in a process group of its own, as the victim of whatever strikes.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("it starts");
        self.site.write("standin/victim", &child.id().to_string());
        child
    }

    /// A run during which something strikes; whether it came to its end all the same.
    pub fn struck(&self, point: &str) -> bool {
        self.struck_at(point, &["apply"])
    }

    /// The same for any command.
    pub fn struck_at(&self, point: &str, arguments: &[&str]) -> bool {
        self.site.write("standin/point", point);
        let mut child = self.start(arguments);
        let status = child.wait().expect("it ends");
        let _ = fs::remove_file(self.site.path("standin/victim"));
        let unused = fs::remove_file(self.site.path("standin/point")).is_ok();
        assert!(!unused, "nothing came to {point}");
        status.success()
    }

    /// What a person types after a crash.
    pub fn next(&self) -> &'static str {
        let mut record = Record::default();
        if let Some(journal) = Journal::open_existing(&self.state()).expect("a journal") {
            let folded = journal.for_each(&mut |entry| {
                record.fold(&entry).expect("legal");
                Ok(())
            });
            folded.expect("a journal that reads");
        }
        match record.resumable() {
            Some(_) => "resume",
            None => "apply",
        }
    }

    /// Goes on until nothing is left to do, and has the journal verified.
    #[track_caller]
    pub fn recover(&self) {
        let next = self.next();
        self.ok(&[next]);
        self.ok(&["journal", "verify"]);
    }

    /// How many calls that can change something there were so far.
    pub fn calls(&self) -> u32 {
        self.site
            .read("standin/counter")
            .trim()
            .parse()
            .unwrap_or(0)
    }

    /// The calls of tools so far, without those that are phoenix's own business in a container.
    pub fn log(&self) -> Vec<String> {
        self.site
            .read("standin/log")
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The programs that were started since the log had so many lines: `pct`, and everything else.
    pub fn processes(&self, before: usize) -> (usize, usize) {
        let log = self.log().split_off(before);
        let begun = log.iter().filter_map(|line| line.split("\tbegin\t").nth(1));
        let (pct, others): (Vec<&str>, Vec<&str>) =
            begun.partition(|call| call.starts_with("pct\t"));
        (pct.len(), others.len())
    }

    /// How often each effect came about: kind and container, positions for ids.
    pub fn effects(&self) -> BTreeMap<String, usize> {
        let mut counted = BTreeMap::new();
        for line in self.log() {
            let cells: Vec<&str> = line.split('\t').collect();
            if let [_, "effect", kind, what] = cells[..] {
                *counted
                    .entry(self.relative(&format!("{kind} {what}")))
                    .or_default() += 1;
            }
        }
        counted
    }

    /// A text in which nothing is left that differs from one fleet to the next.
    fn relative(&self, text: &str) -> String {
        let mut text = text.replace(&self.site.dir.path().display().to_string(), "ROOT");
        for at in 0..10 {
            text = text.replace(&self.id(at), &format!("CT{at}"));
        }
        text
    }

    /// The hardware address of a container's first interface.
    pub fn hwaddr(&self, at: u32) -> String {
        let text = self.site.conf(&self.id(at));
        let (_, rest) = text.split_once("hwaddr=").expect("an address");
        rest[..17].to_owned()
    }

    /// All that can be seen of the containers: configurations, what runs, volumes, what scripts
    /// left in them.
    pub fn world(&self) -> String {
        let mut world = String::new();
        let node = self.site.node();
        for ctid in node.ids() {
            world.push_str(&format!("== {ctid} {}\n", node.status(ctid)));
            for line in self.site.conf(&ctid.to_string()).lines() {
                let line = match line.split_once("hwaddr=") {
                    Some((head, tail)) if tail.len() >= 17 => format!("{head}{}", &tail[17..]),
                    _ => line.to_owned(),
                };
                // The time of a snapshot, the journal's name and the run's are of one fleet.
                let line = line.split("snaptime").next().unwrap_or_default();
                let line = line.split(", journal").next().unwrap_or_default();
                let line = if line.starts_with('#') && line.contains('{') {
                    "#receipts"
                } else {
                    line
                };
                world.push_str(&format!("{line}\n"));
            }
            for path in volumes(&node, ctid) {
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                world.push_str(&format!("volume {name}\n"));
                world.push_str(&fs::read_to_string(path.join(RAN)).unwrap_or_default());
                let receipts = fs::read_dir(path.join("var/lib/phoenix/receipts"))
                    .into_iter()
                    .flatten();
                let mut names: Vec<String> = receipts
                    .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                    .collect();
                names.sort();
                world.push_str(&format!("receipts {}\n", names.join(" ")));
            }
        }
        self.relative(&world)
    }

    /// Nothing is left to do, and doing nothing takes no tool that could change something.
    #[track_caller]
    pub fn settled(&self) {
        let before = self.log().len();
        let second = self.apply();
        assert_eq!(second["mutations"], 0, "{second}");
        let log = self.log().split_off(before);
        let pct: Vec<&String> = log
            .iter()
            .filter(|line| line.contains("\tbegin\tpct\t"))
            .collect();
        assert!(
            pct.is_empty(),
            "an apply that has nothing to do ran {pct:#?}"
        );
        self.ok(&["journal", "verify"]);
    }
}

fn container(at: u32, name: &str) -> Value {
    json!({
        "name": name,
        "memory_mb": 256,
        "cores": 1,
        "template": format!("local:vztmpl/{ALPINE}"),
        "storage_pool": "tank-disks",
        "storage_size_gb": 4,
        "unprivileged": true,
        "network_config": {
            "name": "eth0", "bridge": "vmbr0",
            "ip": format!("10.20.0.{}/24", at + 2), "gw": "10.20.0.1",
        },
    })
}
