//! The scripts that run on a node, run here on a directory that stands for one.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use super::conf;
use super::link::{Done, Lines, Link, Place};
use super::look::{self, LOOK, Look, Question};
use super::timeouts::Timeouts;
use crate::domain::ids::Ctid;

const LIMIT: Duration = Duration::from_secs(60);

/// A node with a `pct` that only notes how it was called, and does what is asked of it.
struct Node {
    dir: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let node = Self {
            dir: tempfile::tempdir().expect("a directory"),
        };
        node.write("etc/pve/nodes/pve1/lxc/.keep", "");
        std::os::unix::fs::symlink("nodes/pve1", node.path("etc/pve/local")).expect("linked");
        node.write(
            "proc/net/unix",
            "Num RefCount Protocol Flags Type St Inode Path\n",
        );
        node.program("pct", "echo pct \"$@\" >>\"$LOG\"; echo said \"$1\"");
        node.program("umount", "echo umount \"$@\" >>\"$LOG\"");
        node
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn program(&self, name: &str, body: &str) {
        let log = self.path("log");
        let name = format!("bin/{name}");
        self.write(
            &name,
            &format!("#!/bin/sh\nLOG={}\n{body}\n", log.display()),
        );
        fs::set_permissions(self.path(&name), fs::Permissions::from_mode(0o755)).expect("set");
    }

    fn conf(&self, id: u32, text: &str) {
        self.write(&format!("etc/pve/nodes/pve1/lxc/{id}.conf"), text);
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    fn link(&self) -> Link {
        Link {
            place: Place::Local,
            root: self.dir.path().to_str().expect("a text").to_owned(),
            timeouts: Timeouts::default(),
        }
    }

    fn act(&self, function: &str, words: &[&str], input: &str) -> Done {
        let mut lines = Lines::default();
        lines.push("take", ["100", "1"]).push(function, words);
        let done = self.link().act(lines.text(), input.as_bytes(), LIMIT);
        done.expect("it ends")
    }

    fn look(&self, question: &Question<'_>, directories: &[&Path]) -> Look {
        let mut input = Vec::new();
        for path in directories {
            input.extend_from_slice(path.to_str().expect("a text").as_bytes());
            input.push(0);
        }
        let answer = self.link().ask(LOOK, &question.arguments(), &input);
        look::read(&answer.expect("an answer")).expect("it is whole")
    }
}

fn id(number: u32) -> Ctid {
    number.try_into().expect("an id")
}

#[test]
fn a_configuration_is_replaced_only_if_it_still_is_what_was_compared() {
    let node = Node::new();
    let (before, after) = ("memory: 1\n", "memory: 1\nlxc.cap.drop: a\n");
    node.conf(100, before);
    let digest = conf::digest(before);
    let done = node.act("replace", &["100", &digest], after);
    assert_eq!((done.code, done.said.as_str()), (0, ""));
    let file = "etc/pve/nodes/pve1/lxc/100.conf";
    assert_eq!(node.read(file), after);
    let again = node.act("replace", &["100", &digest], "something else");
    assert_ne!(again.code, 0);
    assert!(
        again.said.contains("detected modified configuration"),
        "{}",
        again.said
    );
    assert_eq!(node.read(file), after);
    let left: Vec<_> = fs::read_dir(node.path("etc/pve/nodes/pve1/lxc"))
        .expect("read")
        .collect();
    assert_eq!(left.len(), 2, "no scratch file is left: {left:?}");
}

#[test]
fn only_a_half_made_container_is_discarded() {
    for whole in [
        "rootfs: local:100/vm-100-disk-0.raw,size=1G\n",
        "lock: create\nrootfs: local:100/vm-100-disk-0.raw,size=1G\n",
        "lock: backup\n",
        "#phoenix made container 100, journal x\nrootfs: local:100/vm-100-disk-0.raw,size=1G\n",
        "lock: create\nrootfs: local:1/x.raw,size=1G\n[s1]\n#phoenix made container 100, journal x\n",
        "#phoenix made container 101, journal x\nlock: create\nrootfs: local:1/x.raw,size=1G\n",
    ] {
        let node = Node::new();
        node.conf(100, whole);
        let done = node.act("discard", &["100", "", "10"], "");
        assert_ne!(done.code, 0, "{whole}");
        assert_eq!(node.read("log"), "", "{whole}");
    }
    let gone = Node::new();
    assert_ne!(gone.act("discard", &["100", "", "10"], "").code, 0);
    assert_eq!(gone.read("log"), "");
}

#[test]
fn what_a_killed_creation_left_is_removed_and_its_source_unlocked() {
    let node = Node::new();
    // A root disk of a snapshot is none of the container.
    node.conf(100, "lock: create\n[s1]\nrootfs: local:100/x.raw,size=1G\n");
    node.conf(101, "lock: disk\nrootfs: local:101/x.raw,size=1G\n");
    let done = node.act("discard", &["100", "101", "10"], "");
    assert_eq!(done.code, 0, "{}", done.said);
    assert_eq!(
        node.read("log"),
        "pct unlock 101\npct unlock 100\npct destroy 100 --destroy-unreferenced-disks 1\n"
    );
    // A clone has its root disk long before its other volumes.
    let node = Node::new();
    node.conf(
        100,
        "#phoenix made container 100, journal x\nlock: create\nrootfs: local:100/x.raw,size=1G\n",
    );
    assert_eq!(node.act("discard", &["100", "", "10"], "").code, 0);
    assert_eq!(
        node.read("log"),
        "pct unlock 100\npct destroy 100 --destroy-unreferenced-disks 1\n"
    );
    // The lock of somebody else on the source stays; one that is gone needs no unlocking.
    let node = Node::new();
    node.conf(100, "");
    node.conf(101, "lock: backup\nrootfs: local:101/x.raw,size=1G\n");
    let done = node.act("discard", &["100", "101", "10"], "");
    assert_eq!(done.code, 0, "{}", done.said);
    assert_eq!(
        node.read("log"),
        "pct destroy 100 --destroy-unreferenced-disks 1\n"
    );
}

#[test]
fn a_container_is_stopped_and_destroyed() {
    let node = Node::new();
    node.program("pct", "echo pct \"$@\" >>\"$LOG\"");
    node.conf(100, "rootfs: local:100/x.raw,size=1G\n");
    node.write(
        "proc/net/unix",
        "0: 2 0 00010000 1 1 77 @/var/lib/lxc/100/command\n",
    );
    assert_eq!(node.act("destroy", &["100", "10"], "").code, 0);
    assert_eq!(node.read("log"), "pct stop 100\npct destroy 100\n");
    // Its own refusal is its own.
    let node = Node::new();
    node.conf(100, "rootfs: local:100/x.raw,size=1G\n");
    node.program("pct", "echo \"storage 'gone' does not exist\"; exit 255");
    assert_eq!(node.act("destroy", &["100", "10"], "").code, 255);
    assert_eq!(
        node.read("etc/pve/nodes/pve1/lxc/100.conf"),
        "rootfs: local:100/x.raw,size=1G\n"
    );
    // Nothing is left to do.
    let node = Node::new();
    assert_eq!(node.act("destroy", &["100", "10"], "").code, 0);
    assert_eq!(node.read("log"), "");
}

#[test]
fn a_destruction_that_broke_off_is_brought_to_its_end() {
    // Nothing but the lock is left.
    let node = Node::new();
    node.conf(100, "lock: destroyed\n");
    assert_eq!(node.act("destroy", &["100", "10"], "").code, 0);
    let cure = "pct unlock 100\npct destroy 100 --destroy-unreferenced-disks 1\n";
    assert_eq!(node.read("log"), cure);
    // A volume is gone and still listed, so that Proxmox VE's own command fails for good.
    let node = Node::new();
    node.conf(100, "rootfs: btr:100/x.raw,size=1G\n");
    node.program(
        "pct",
        "echo pct \"$@\" >>\"$LOG\"; [ $# != 2 ] || [ $1 != destroy ] || \
         { echo 'ERROR: Could not statfs: No such file or directory' >&2; exit 255; }",
    );
    assert_eq!(node.act("destroy", &["100", "10"], "").code, 0);
    assert_eq!(node.read("log"), format!("pct destroy 100\n{cure}"));
    assert_eq!(
        node.read("etc/pve/nodes/pve1/lxc/100.conf"),
        "lock: destroyed\n"
    );
}

#[test]
fn a_backup_is_named() {
    let node = Node::new();
    node.conf(100, "lock: backup\nmemory: 1\n[s1]\nlock: create\n");
    let done = node.act("backup", &["100"], "");
    assert_ne!(done.code, 0);
    assert!(done.said.contains("CT is locked (backup)"), "{}", done.said);
    // A snapshot's lock is none of the container.
    node.conf(100, "memory: 1\n[s1]\nlock: backup\n");
    assert_eq!(node.act("backup", &["100"], "").code, 0);
}

#[test]
fn what_a_command_says_and_how_it_ends_comes_back() {
    let node = Node::new();
    let done = node.act(
        "step",
        &["10", "pct", "set", "100", "--a", "it's; $(x)"],
        "",
    );
    assert_eq!((done.code, done.said.trim()), (0, "said set"));
    assert_eq!(node.read("log"), "pct set 100 --a it's; $(x)\n");
    node.program("pct", "echo why >&2; exit 255");
    let done = node.act("step", &["10", "pct", "start", "100"], "");
    assert_eq!((done.code, done.said.trim()), (255, "why"));
    node.program("pct", "exec sleep 600");
    let done = node.act("step", &["1", "pct", "start", "100"], "");
    assert_eq!(done.code, 124);
    // What outlives a command that was stopped keeps the lock.
    node.program("pct", "sleep 600 & echo $! >\"$LOG\"; kill -KILL $$");
    assert_eq!(
        node.act("step", &["9", "pct", "create", "100"], "").code,
        137
    );
    assert_eq!(node.look(&Question::default(), &[]).held, [id(100)].into());
    kill(node.read("log").trim().parse().expect("a process id"));
    let left: Vec<_> = fs::read_dir(node.path("run/phoenix"))
        .expect("read")
        .flatten()
        .collect();
    assert_eq!(left.len(), 1, "nothing but the lock is left: {left:?}");
}

#[test]
fn what_outlives_its_phoenix_is_found_by_the_lock_that_it_holds() {
    let node = Node::new();
    node.program("pct", "sleep 600 & echo $!");
    let done = node.act("step", &["10", "pct", "create", "100"], "");
    // Its end gave the lock back, although the worker has the file open.
    let worker: i32 = done.said.trim().parse().expect("a process id");
    assert_eq!(node.look(&Question::default(), &[]).held, [].into());
    kill(worker);
    // Killed before that, with a worker that lives on.
    node.program("pct", "sleep 600 & echo $! >\"$LOG\"; kill -KILL $PPID");
    let mut lines = Lines::default();
    lines
        .push("take", ["100", "1"])
        .push("pct", ["create", "100"]);
    let _ = node.link().act(lines.text(), &[], LIMIT);
    let worker: i32 = node.read("log").trim().parse().expect("a process id");
    assert_eq!(node.look(&Question::default(), &[]).held, [id(100)].into());
    let busy = node.act("step", &["10", "true"], "");
    assert_eq!(busy.code, 75, "{}", busy.said);
    kill(worker);
    assert_eq!(node.look(&Question::default(), &[]).held, [].into());
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it still runs");
    while rustix::process::test_kill_process(pid).is_ok() && !zombie(pid) {
        std::thread::yield_now();
    }
}

fn zombie(pid: rustix::process::Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn a_look_reads_what_is_there() {
    let node = Node::new();
    node.conf(100, "memory: 1\n");
    node.conf(102, "");
    node.write("etc/pve/nodes/pve2/lxc/101.conf", "memory: 2\n");
    node.write("etc/pve/nodes/pve2/qemu-server/200.conf", "");
    node.write("etc/pve/nodes/pve1/qemu-server/201.conf", "");
    node.write("run/qemu-server/201.pid", "1");
    node.write("srv/a b/file", "");
    node.program("pvesm", "echo Name Type; exit 0");
    node.write(
        "proc/net/unix",
        "Num\n0: 2 0 00010000 1 1 77 @/var/lib/lxc/100/command\n0: 2 0 1 1 1 78 /run/x\n",
    );
    let (there, file) = (node.path("srv/a b"), node.path("srv/a b/file"));
    let question = Question {
        storages: true,
        ..Question::default()
    };
    let look = node.look(&question, &[&there, &file, Path::new("/no/such")]);
    assert_eq!(look.node, "pve1");
    assert!(look.devices.contains("Character devices:"));
    assert_eq!(look.storages.as_deref(), Some("Name Type\n"));
    let paths: Vec<&str> = look.directories.keys().map(String::as_str).collect();
    assert_eq!(paths, [there.to_str().expect("a text")]);
    assert_eq!(look.running, [(id(100), "77".to_owned())].into());
    assert!(look.machines[&id(201)].runs && !look.machines[&id(200)].runs);
    let mut files = look.files.expect("they were read");
    files.sort();
    let text = |text: &str| text.as_bytes().to_vec();
    assert_eq!(
        files,
        [
            ("pve1".to_owned(), id(100), text("memory: 1\n")),
            ("pve1".to_owned(), id(102), text("")),
            ("pve2".to_owned(), id(101), text("memory: 2\n")),
        ]
    );
    let some = [id(102), id(103)].into();
    let question = Question {
        containers: Some(&some),
        ..Question::default()
    };
    let look = node.look(&question, &[]);
    assert_eq!(
        look.files,
        Some(vec![("pve1".to_owned(), id(102), Vec::new())])
    );
}

#[test]
fn templates_are_found_where_the_storages_have_them() {
    let node = Node::new();
    node.write(
        "etc/pve/storage.cfg",
        "dir: local\n\tpath /var/lib/vz\n\tcontent iso,vztmpl,backup\n\n\
         zfspool: tank\n\tpool tank\n\tcontent rootdir,images\n\n\
         nfs: nas\n\texport /x\n\tserver 10.0.0.1\n\tcontent vztmpl\n\n\
         dir: off\n\tpath /off\n\tcontent vztmpl\n\tdisable\n\n\
         dir: far\n\tpath /off\n\tcontent vztmpl\n\tnodes pve10,pve2\n\n\
         dir: own\n\tpath /own\n\tcontent vztmpl\n\tcontent-dirs iso=a,vztmpl=/tpl\n\n\
         my-kind: odd\n\tpath /off\n\tcontent images\n\n\
         dir: wide\n\tpath /a b\n\tcontent vztmpl\n\tnodes pve2,pve1\n",
    );
    for file in [
        "var/lib/vz/template/cache/a.tar.zst",
        "mnt/pve/nas/template/cache/b.tar.gz",
        "off/template/cache/c.tar.gz",
        "own/tpl/d.tar.gz",
        "own/template/cache/e.tar.gz",
        "a b/template/cache/f g.tar.gz",
    ] {
        node.write(file, "");
    }
    let look = node.look(&Question::default(), &[]);
    assert_eq!(look.template_storages, ["local", "nas", "own", "wide"]);
    assert_eq!(
        look.templates,
        [
            "local:vztmpl/a.tar.zst",
            "nas:vztmpl/b.tar.gz",
            "own:vztmpl/d.tar.gz",
            "wide:vztmpl/f g.tar.gz"
        ]
    );
    node.write(
        "etc/pve/storage.cfg",
        "dir: b\n\tpath /b\n\tcontent images\n",
    );
    let look = node.look(&Question::default(), &[]);
    assert_eq!(look.template_storages, ["local"], "it needs no entry");
}

#[test]
fn what_a_script_starts_ends_when_nobody_reads_it() {
    let node = Node::new();
    let endless = "while :; do echo x; done | head -n 1";
    let done = node.act("outside", &["5", "sh", "-c", endless], "");
    assert_eq!((done.code, done.said.as_str()), (0, "x"));
}

#[test]
fn a_command_is_told_that_its_words_are_utf_8() {
    let node = Node::new();
    node.program("pct", "echo \"$LC_ALL $2\"");
    let done = node.act("step", &["9", "pct", "set", "ü"], "");
    assert_eq!(done.said, "C.UTF-8 ü");
}

/// A directory to be made in one that is missing too, for whoever runs the tests.
struct Wanted {
    node: Node,
    owner: String,
}

impl Wanted {
    fn new() -> Self {
        let node = Node::new();
        let own = fs::metadata(node.dir.path()).expect("it is there");
        let owner = format!("{}:{}", own.uid(), own.gid());
        Self { node, owner }
    }

    fn words<'a>(&'a self, path: &'a str, mode: &'a str) -> [&'a str; 4] {
        ["9", path, &self.owner, mode]
    }

    fn path(&self) -> String {
        let path = self.node.path("srv/a b/new");
        path.to_str().expect("a text").to_owned()
    }

    fn make(&self) -> Done {
        self.node
            .act("directory", &self.words(&self.path(), "2750"), "")
    }

    fn mode(&self) -> Option<u32> {
        let found = fs::metadata(self.path()).ok()?;
        found.is_dir().then(|| found.mode() & 0o7777)
    }

    /// What is in a directory of the node's.
    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.node.path(path)).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_directory_is_made_or_given_an_owner_and_a_mode() {
    let wanted = Wanted::new();
    assert_eq!(wanted.make().code, 0);
    assert_eq!(wanted.mode(), Some(0o2750));
    assert_eq!(wanted.names("srv/a b"), ["new"]);
    // It is there: what is in it stays, and so does what nothing is said of.
    wanted.node.write("srv/a b/new/file", "");
    wanted.node.program("chown", "echo chown \"$@\" >>\"$LOG\"");
    wanted.node.program("mv", "exit 1");
    let path = wanted.path();
    let done = wanted.node.act("directory", &["9", &path, "7:8", ""], "");
    assert_eq!((done.code, done.said.as_str()), (0, ""));
    assert_eq!(wanted.mode(), Some(0o2750));
    let done = wanted.node.act("directory", &["9", &path, "", "00700"], "");
    assert_eq!(done.code, 0);
    assert_eq!(wanted.mode(), Some(0o700));
    assert_eq!(wanted.node.read("log"), format!("chown 7:8 -- {path}\n"));
    assert_eq!(wanted.names("srv/a b/new"), ["file"]);
}

#[test]
fn a_directory_has_its_name_only_once_it_is_whole() {
    for program in ["chown", "chmod", "mv"] {
        let wanted = Wanted::new();
        wanted.node.program(program, "kill -KILL 0");
        let mut lines = Lines::default();
        let path = wanted.path();
        lines.push("directory", wanted.words(&path, "2750"));
        let killed = wanted.node.link().act(lines.text(), &[], LIMIT);
        assert!(killed.is_err(), "{program}: nobody knows how it ended");
        assert_eq!(wanted.names("srv/a b"), [".phoenix-pve1.new"], "{program}");
        fs::remove_file(wanted.node.path(&format!("bin/{program}"))).expect("removed");
        assert_eq!(wanted.make().code, 0, "{program}");
        assert_eq!(wanted.mode(), Some(0o2750), "{program}");
        assert_eq!(wanted.names("srv/a b"), ["new"], "{program}");
    }
}

#[test]
fn of_a_directory_that_cannot_be_made_nothing_is_left() {
    let wanted = Wanted::new();
    wanted.node.program("chown", "echo why >&2; exit 1");
    let done = wanted.make();
    assert_eq!((done.code, done.said.trim()), (1, "why"));
    assert!(wanted.names("srv/a b").is_empty());
    // It takes too long.
    wanted.node.program("chown", "exec sleep 600");
    let path = wanted.path();
    let done = wanted
        .node
        .act("directory", &["1", &path, &wanted.owner, ""], "");
    assert_eq!(done.code, 124);
    assert!(wanted.names("srv/a b").is_empty());
    // Something else has the name.
    let wanted = Wanted::new();
    wanted.node.write("srv/a b/new", "theirs");
    let done = wanted.make();
    assert_ne!(done.code, 0);
    assert!(done.said.contains("non-directory"), "{}", done.said);
    assert_eq!(wanted.node.read("srv/a b/new"), "theirs");
    assert_eq!(wanted.names("srv/a b"), ["new"]);
    // Somebody has put something into what a killed run left.
    let wanted = Wanted::new();
    wanted
        .node
        .write("srv/a b/.phoenix-pve1.new/file", "theirs");
    let done = wanted.make();
    assert_ne!(done.code, 0);
    assert!(done.said.contains(".phoenix-pve1.new"), "{}", done.said);
    assert_eq!(wanted.names("srv/a b"), [".phoenix-pve1.new"]);
    assert_eq!(wanted.node.read("srv/a b/.phoenix-pve1.new/file"), "theirs");
}

#[test]
fn a_directory_is_never_moved_into_one_that_came_to_be_meanwhile() {
    for (meanwhile, expected) in [
        ("mkdir \"$new\"", None),
        ("mkdir \"$new\"; : >\"$new/file\"", Some("file")),
    ] {
        let wanted = Wanted::new();
        let body = format!("new='{}'; {meanwhile}; exec /bin/mv \"$@\"", wanted.path());
        wanted.node.program("mv", &body);
        let done = wanted.make();
        assert_eq!(
            done.code == 0,
            expected.is_none(),
            "{meanwhile}: {}",
            done.said
        );
        assert_eq!(wanted.names("srv/a b"), ["new"], "{meanwhile}");
        assert_eq!(
            wanted.names("srv/a b/new"),
            Vec::from_iter(expected),
            "{meanwhile}"
        );
    }
}
