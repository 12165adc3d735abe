//! A stand-in node, made for one test and taken down with it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use phoenix::domain::ids::Ctid;
use tempfile::TempDir;

use crate::standin::call::command;
use crate::standin::{Node, PROGRAMS};

pub const ALPINE: &str = "alpine-bb_3.19_amd64.tar.gz";
pub const ZSTD: &str = "alpine-bb_3.19_amd64.tar.zst";
pub const DEBIAN: &str = "debian-12-standard_12.7-1_amd64.tar.zst";

/// Programs that scripts in the containers use.
const APPLETS: [&str; 24] = [
    "sh", "ash", "cat", "mkdir", "mv", "rm", "tail", "head", "printf", "sync", "env", "sleep",
    "test", "true", "false", "ls", "id", "echo", "grep", "touch", "chmod", "tar", "wc", "dirname",
];

/// A node with its containers.
pub struct Site {
    pub dir: TempDir,
}

impl Site {
    pub fn new() -> Self {
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let dir = tempfile::Builder::new()
            .prefix("node-")
            .tempdir_in(tmp)
            .expect("a directory");
        let site = Self { dir };
        for folder in [
            "bin",
            "etc/pve/nodes/vm/lxc",
            "etc/pve/nodes/other/lxc",
            "proc/net",
            "run/lock/lxc",
            "run/standin",
            "standin/rootfs",
            "srv/host",
            "srv/site",
            "sys/class/net/vmbr0/bridge",
            "tmp",
            "var/lib/vz/template/cache",
            "var/lib/vz/images",
            "mnt/btr/images",
            "var/lib/lxc",
        ] {
            fs::create_dir_all(site.path(folder)).expect("a directory");
        }
        symlink("nodes/vm", site.path("etc/pve/local")).expect("a link");
        symlink("nodes/vm/lxc", site.path("etc/pve/lxc")).expect("a link");
        for template in [ALPINE, ZSTD, DEBIAN] {
            site.write(
                &format!("var/lib/vz/template/cache/{template}"),
                "an archive",
            );
        }
        site.write("etc/hostname", "vm\n");
        site.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        site.write(
            "proc/net/unix",
            "Num       RefCount Protocol Flags    Type St Inode Path\n",
        );
        site.write("standin/lock_timeout", "400");
        site.write(
            "etc/pve/storage.cfg",
            "dir: local\n\tpath /var/lib/vz\n\tcontent iso,vztmpl,backup,rootdir\n\nbtrfs: btr\n\tpath /mnt/btr\n\tcontent rootdir\n",
        );
        site.install(&PROGRAMS);
        site.system();
        site
    }

    /// Gives the node programs that are this one.
    pub fn install(&self, programs: &[&str]) {
        let own = std::env::current_exe().expect("this program");
        for program in programs {
            let link = self.path("bin").join(program);
            fs::hard_link(&own, &link)
                .or_else(|_| fs::copy(&own, &link).map(drop))
                .expect("a program");
        }
    }

    /// What every container has in it.
    fn system(&self) {
        let root = self.path("standin/rootfs");
        for folder in [
            "bin", "etc", "root", "tmp", "var/lib", "proc", "dev", "usr/bin", "srv",
        ] {
            fs::create_dir_all(root.join(folder)).expect("a directory");
        }
        fs::copy(busybox().expect("busybox"), root.join("bin/busybox")).expect("busybox");
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet)).expect("a link");
        }
        self.write(
            "standin/rootfs/etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\n",
        );
        self.write("standin/rootfs/etc/hostname", "guest\n");
        self.write("standin/rootfs/etc/group", "root:x:0:\n");
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("written");
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    pub fn node(&self) -> Node {
        Node::new(self.dir.path())
    }

    /// One of the node's programs.
    pub fn tool(&self, program: &str, words: &[&str]) -> Command {
        let mut command = command(&self.path("bin").join(program));
        command.args(words).env("TZ", "UTC");
        command
    }

    pub fn run(&self, program: &str, words: &[&str]) -> Output {
        self.tool(program, words).output().expect("it starts")
    }

    /// `pct` that must succeed.
    #[track_caller]
    pub fn pct(&self, words: &[&str]) -> String {
        let output = self.run("pct", words);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pct {words:?}: {complaint}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn conf(&self, ctid: &str) -> String {
        self.read(&format!("etc/pve/nodes/vm/lxc/{ctid}.conf"))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let node = self.node();
        let running = fs::read_dir(self.path("run/standin"))
            .into_iter()
            .flatten()
            .flatten();
        let ids = running.filter_map(|entry| entry.file_name().to_str()?.parse::<Ctid>().ok());
        for ctid in ids.collect::<Vec<Ctid>>() {
            crate::standin::kill_init(&node, ctid);
        }
    }
}

/// The one program that the containers need.
pub fn busybox() -> Option<PathBuf> {
    let places = ["/bin/busybox", "/usr/bin/busybox"];
    places.iter().map(PathBuf::from).find(|path| path.is_file())
}
