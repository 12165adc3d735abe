//! The directory tree that a stand-in takes for its node.
//!
//! Its programs are links to this very binary in `ROOT/bin`, so a program knows its node by
//! its own path. Below `ROOT/standin` are the knobs of the tests and the log of all calls.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use phoenix::domain::ids::Ctid;
use phoenix::domain::observed::{HostFacts, ObservedWorld, Status, Storage, TemplateState};
use rustix::fs::{FlockOperation, flock};

use super::Failure;
use super::file::File;

pub struct Node {
    pub root: PathBuf,
    pub name: String,
}

/// The lock of a configuration, held until it is dropped.
pub struct Locked {
    _file: fs::File,
}

impl Node {
    pub fn new(root: &Path) -> Self {
        let name = fs::read_to_string(root.join("etc/hostname"));
        let name = name.map_or_else(|_| "vm".to_owned(), |text| text.trim().to_owned());
        Self {
            root: root.to_owned(),
            name,
        }
    }

    /// A path of the node.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// What a test set.
    pub fn knob(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.root.join("standin").join(name)).ok()?;
        Some(text.trim().to_owned())
    }

    pub fn conf_of(&self, node: &str, ctid: Ctid) -> PathBuf {
        self.root
            .join(format!("etc/pve/nodes/{node}/lxc/{ctid}.conf"))
    }

    pub fn conf(&self, ctid: Ctid) -> PathBuf {
        self.conf_of(&self.name, ctid)
    }

    /// The node that has the container.
    pub fn place(&self, ctid: Ctid) -> Option<String> {
        let nodes = fs::read_dir(self.root.join("etc/pve/nodes")).ok()?;
        let names = nodes.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names
            .into_iter()
            .find(|name| self.conf_of(name, ctid).is_file())
    }

    pub fn missing(&self, ctid: Ctid) -> Failure {
        let text = format!(
            "Configuration file 'nodes/{}/lxc/{ctid}.conf' does not exist",
            self.name
        );
        Failure::new(2, text)
    }

    pub fn read(&self, ctid: Ctid) -> Result<File, Failure> {
        let text = fs::read_to_string(self.conf(ctid)).map_err(|_| self.missing(ctid))?;
        Ok(File::read(&text))
    }

    pub fn write(&self, ctid: Ctid, file: &File) {
        let path = self.conf(ctid);
        let scratch = path.with_extension(format!("tmp.{}", std::process::id()));
        fs::write(&scratch, file.text()).expect("a configuration is written");
        fs::rename(&scratch, &path).expect("a configuration is put in place");
    }

    pub fn ids(&self) -> Vec<Ctid> {
        let folder = self.root.join(format!("etc/pve/nodes/{}/lxc", self.name));
        let entries = fs::read_dir(folder).into_iter().flatten();
        let mut ids: Vec<Ctid> = entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                name.strip_suffix(".conf")?.parse().ok()
            })
            .collect();
        ids.sort();
        ids
    }

    /// Takes the lock file of a container; waits for it as long as Proxmox VE would.
    pub fn lock(&self, ctid: Ctid) -> Result<Locked, Failure> {
        let shown = format!("/run/lock/lxc/pve-config-{ctid}.lock");
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(&shown))
            .expect("a lock file");
        let take = || flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        if take() {
            return Ok(Locked { _file: file });
        }
        eprintln!("trying to acquire lock...");
        let limit = self.knob("lock_timeout").and_then(|text| text.parse().ok());
        let limit = Duration::from_millis(limit.unwrap_or(10_000));
        let began = Instant::now();
        while began.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(5));
            if take() {
                eprintln!(" OK");
                return Ok(Locked { _file: file });
            }
        }
        Err(Failure::new(
            4,
            format!("can't lock file '{shown}' - got timeout"),
        ))
    }

    /// `storage.cfg`: the type and the path of each storage.
    pub fn storages(&self) -> BTreeMap<String, (String, String)> {
        let text = fs::read_to_string(self.root.join("etc/pve/storage.cfg")).unwrap_or_default();
        let mut found = BTreeMap::new();
        let mut current = String::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [kind, name] if kind.ends_with(':') => {
                    current = name.to_owned();
                    let kind = kind.trim_end_matches(':').to_owned();
                    found.insert(current.clone(), (kind, format!("/standin/pool/{name}")));
                }
                ["path", path] => {
                    if let Some((_, place)) = found.get_mut(&current) {
                        *place = path.to_owned();
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Where a volume `STORAGE:NAME` is.
    pub fn volume(&self, volid: &str) -> Option<PathBuf> {
        let (storage, name) = volid.split_once(':')?;
        let (_, path) = self.storages().remove(storage)?;
        let folder = if name.starts_with("vztmpl/") {
            "template/cache"
        } else {
            "images"
        };
        let name = name.trim_start_matches("vztmpl/");
        Some(self.path(&path).join(folder).join(name))
    }

    pub fn facts(&self) -> HostFacts {
        let names = |path: &str| {
            let entries = fs::read_dir(self.path(path)).into_iter().flatten();
            let name =
                |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
            entries.filter_map(name).collect::<Vec<String>>()
        };
        let storage = |kind| Storage { kind, free: None };
        let templates = names("var/lib/vz/template/cache").into_iter();
        HostFacts {
            storages: self
                .storages()
                .into_iter()
                .map(|(name, (kind, _))| (name, storage(kind)))
                .collect(),
            bridges: names("sys/class/net").into_iter().collect(),
            templates: templates
                .map(|file| (file, TemplateState::Present))
                .collect(),
            ..HostFacts::default()
        }
    }

    /// The world as far as these containers are concerned.
    pub fn world(&self, ids: &[Ctid]) -> ObservedWorld {
        let seen = ids.iter().filter_map(|ctid| {
            let file = self.read(*ctid).ok()?;
            Some((*ctid, Arc::new(file.typed(*ctid, self.status(*ctid)))))
        });
        ObservedWorld {
            host: self.facts(),
            containers: seen.collect(),
        }
    }

    fn pid_file(&self, ctid: Ctid) -> PathBuf {
        self.root.join(format!("run/standin/{ctid}"))
    }

    /// The init process, if it lives.
    pub fn init(&self, ctid: Ctid) -> Option<u32> {
        let pid: u32 = fs::read_to_string(self.pid_file(ctid))
            .ok()?
            .trim()
            .parse()
            .ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let state = stat.rsplit_once(')')?.1.split_whitespace().next()?;
        (state != "Z").then_some(pid)
    }

    /// Notes who is init; the list of sockets shows a running container as a real node's does.
    pub fn remember_init(&self, ctid: Ctid, pid: Option<u32>) {
        match pid {
            Some(pid) => fs::write(self.pid_file(ctid), pid.to_string()).expect("written"),
            None => _ = fs::remove_file(self.pid_file(ctid)),
        }
        let guard = fs::File::create(self.path("standin/sockets.lock")).expect("a lock file");
        flock(&guard, FlockOperation::LockExclusive).expect("the lock");
        let path = self.path("proc/net/unix");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let socket = format!(" @/var/lib/lxc/{ctid}/command");
        let others = text.lines().filter(|line| !line.ends_with(&socket));
        let mut lines: Vec<String> = others.map(str::to_owned).collect();
        if pid.is_some() {
            lines.push(format!(
                "0000000000000000: 00000002 00000000 00010000 0001 01 4711{socket}"
            ));
        }
        let scratch = path.with_extension("new");
        fs::write(&scratch, lines.join("\n") + "\n").expect("written");
        fs::rename(&scratch, &path).expect("put in place");
    }

    pub fn status(&self, ctid: Ctid) -> Status {
        match self.init(ctid) {
            Some(_) => Status::Running,
            None => Status::Stopped,
        }
    }

    /// The directory of a container's root disk.
    pub fn rootfs(&self, ctid: Ctid) -> Option<PathBuf> {
        let file = self.read(ctid).ok()?;
        let volid = file.live.get("rootfs")?.split(',').next()?.to_owned();
        self.volume(&volid)
    }

    /// Appends a line to the log of calls, in one write.
    pub fn note(&self, line: &str) {
        let path = self.root.join("standin/log");
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        let mut file = file.expect("the log");
        file.write_all(format!("{line}\n").as_bytes())
            .expect("a line in the log");
    }
}
