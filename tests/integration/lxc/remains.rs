//! Everything that a site has on this machine, to be compared with what it should have.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use phoenix::host::lxc::{LxcHost, LxcNeeds, LxcOptions};
use phoenix::host::{Host, ObserveRequest};
use serde_json::Value;

use super::site::Site;

/// A process of this machine.
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    /// What it was started with, spaces between.
    pub command: String,
}

/// All that live.
pub fn processes() -> Vec<Process> {
    let all = fs::read_dir("/proc").expect("processes").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let process = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut words = rest.split_whitespace();
        if matches!(words.next()?, "Z" | "X") {
            return None;
        }
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        Some(Process {
            pid,
            parent: words.next()?.parse().ok()?,
            command,
        })
    };
    pids.filter_map(process).collect()
}

/// Ids that differ from run to run are taken out.
pub fn anonymous(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match key.as_str() {
                    "run" | "journal" => *value = Value::Null,
                    _ => anonymous(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(anonymous),
        _ => {}
    }
}

/// Every container of a host, as it is observed.
pub fn seen(host: &dyn Host) -> Value {
    let world = host
        .observe(&ObserveRequest::default())
        .expect("it is looked at");
    let containers = world.containers.iter().map(|(ctid, container)| {
        let mut value = serde_json::to_value(&**container).expect("a document");
        anonymous(&mut value);
        (ctid.to_string(), value)
    });
    Value::Object(containers.collect())
}

/// The real host of a site.
pub fn host(site: &Site, works: bool) -> LxcHost {
    let host = LxcHost::open(LxcOptions {
        dir: site.path("lxc"),
        needs: LxcNeeds::default(),
        works,
        new_identity: uuid::Uuid::nil(),
    });
    host.expect("a host")
}

/// All files below a directory, by their paths in it.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).expect("a directory").flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                left.push(entry.path());
            }
            let path = entry.path();
            let path = path.strip_prefix(dir).expect("below it");
            found.push(path.to_string_lossy().into_owned());
        }
    }
    found.sort();
    found
}

/// What a site has.
#[derive(Debug)]
pub struct Remains {
    world: Value,
    files: Vec<String>,
    /// Processes of the host that belong to it.
    processes: Vec<String>,
    /// What runs in each container.
    inside: Vec<String>,
    mounts: Vec<String>,
    loops: Vec<String>,
    /// Their names are the same at each start.
    pub interfaces: Vec<String>,
    locks: usize,
}

impl Remains {
    pub fn of(site: &Site) -> Self {
        let dir = site.dir.path().to_string_lossy().into_owned();
        let own = processes().into_iter().map(|process| process.command);
        let mut own: Vec<String> = own.filter(|command| command.contains(&dir)).collect();
        own.sort();
        let inside = site.ids().into_iter().map(|ctid| {
            let all = site.inside(ctid, "ps -o stat,comm");
            // What nobody has reaped yet does not run.
            let lives = |line: &&str| !line.starts_with('Z');
            let mut all: Vec<&str> = all.lines().skip(1).filter(lives).collect();
            all.retain(|line| !line.ends_with(" ps"));
            let mut all: Vec<&str> = all
                .iter()
                .filter_map(|line| line.split_whitespace().last())
                .collect();
            all.sort_unstable();
            format!("{ctid}: {}", all.join(" "))
        });
        Self {
            world: seen(&host(site, false)),
            files: files(&site.path("lxc")),
            processes: own,
            inside: inside.collect(),
            mounts: site.mounts(),
            loops: site.loops(),
            interfaces: site.interfaces(),
            locks: locks(site),
        }
    }

    /// Compares part by part, so that what differs is named.
    #[track_caller]
    pub fn must_be(&self, expected: &Self) {
        let all = expected.world.as_object().expect("containers");
        for (ctid, container) in all {
            for (field, value) in container.as_object().expect("fields") {
                assert_eq!(&self.world[ctid][field], value, "{field} of {ctid}");
            }
        }
        assert_eq!(self.world, expected.world);
        assert_eq!(self.files, expected.files);
        assert_eq!(self.processes, expected.processes);
        assert_eq!(self.inside, expected.inside);
        assert_eq!(self.mounts, Vec::<String>::new());
        assert_eq!(self.loops, expected.loops);
        assert_eq!(self.interfaces, expected.interfaces);
        assert_eq!(self.locks, 0, "locks are held");
    }
}

/// The locks on files of a site that somebody holds.
fn locks(site: &Site) -> usize {
    let mut inodes = BTreeSet::new();
    for dir in ["lxc/.phoenix/locks", "state"] {
        for file in files(&site.path(dir)) {
            let facts = fs::metadata(site.path(dir).join(file)).expect("it is there");
            inodes.insert(format!(":{}", facts.ino()));
        }
    }
    let locks = fs::read_to_string("/proc/locks").expect("locks");
    let held = |line: &&str| {
        let place = line.split_whitespace().nth(5).unwrap_or_default();
        inodes.iter().any(|inode| place.ends_with(inode))
    };
    locks.lines().filter(held).count()
}
