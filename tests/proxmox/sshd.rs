//! A node behind ssh: the system's own sshd on the loopback, with keys and a port of its own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::fleet::Fleet;
use crate::standin::call::{command, parent};

/// A running sshd; it ends with the test.
pub struct Sshd {
    child: Child,
    dir: PathBuf,
}

const PROGRAM: &str = "/usr/sbin/sshd";

/// What of it the system lacks.
pub fn missing() -> Option<&'static str> {
    let all = [PROGRAM, "/usr/bin/ssh", "/usr/bin/ssh-keygen"];
    let found = all.into_iter().all(|program| Path::new(program).is_file());
    (!found).then_some("it needs sshd and ssh (Debian: openssh-server openssh-client)")
}

fn done(command: &mut Command) {
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

fn key(dir: &Path, name: &str) {
    let mut keygen = command("ssh-keygen".as_ref());
    done(
        keygen
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(dir.join(name)),
    );
}

impl Sshd {
    pub fn start(dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("a directory");
        // What sshd wants to have for its own separation of privileges.
        fs::create_dir_all("/run/sshd").expect("a directory");
        key(dir, "host");
        key(dir, "user");
        fs::copy(dir.join("user.pub"), dir.join("authorized")).expect("copied");
        fs::set_permissions(dir.join("authorized"), fs::Permissions::from_mode(0o600))
            .expect("set");
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0")
                .expect("a port")
                .local_addr()
                .expect("an address")
                .port();
            if let Some(child) = listening(dir, port) {
                client(dir, port);
                let dir = dir.to_owned();
                return Self { child, dir };
            }
        }
        panic!(
            "sshd does not listen: {}",
            fs::read_to_string(dir.join("log")).unwrap_or_default()
        );
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How many commands it has run so far.
    pub fn sessions(&self) -> usize {
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        log.lines()
            .filter(|line| line.contains("Starting session: command"))
            .count()
    }

    /// How many connections there were so far.
    pub fn connections(&self) -> usize {
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        log.lines()
            .filter(|line| line.contains("Accepted publickey"))
            .count()
    }
}

/// `SHLVL` keeps a shell from the start-up files of whoever runs the tests.
fn listening(dir: &Path, port: u16) -> Option<Child> {
    let shown = dir.display();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {shown}/host\nAuthorizedKeysFile {shown}/authorized\n\
         PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\n\
         PasswordAuthentication no\nLogLevel VERBOSE\nMaxSessions 64\nMaxStartups 100\nSetEnv SHLVL=1\n"
    );
    fs::write(dir.join("sshd_config"), config).expect("written");
    let mut sshd = command(PROGRAM.as_ref());
    sshd.arg("-D")
        .arg("-f")
        .arg(dir.join("sshd_config"))
        .arg("-E")
        .arg(dir.join("log"));
    let mut child = sshd.spawn().expect("sshd");
    for _ in 0..200 {
        if child.try_wait().expect("a process").is_some() {
            return None;
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// What a person has in their own configuration: a name, a key, a known host.
fn client(dir: &Path, port: u16) {
    let shown = dir.display();
    let host = fs::read_to_string(dir.join("host.pub")).expect("a key");
    fs::write(
        dir.join("known_hosts"),
        format!("[127.0.0.1]:{port} {host}"),
    )
    .expect("written");
    let config = format!(
        "Host node\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {shown}/user\n  IdentitiesOnly yes\n\
         \x20 UserKnownHostsFile {shown}/known_hosts\n  StrictHostKeyChecking yes\n"
    );
    fs::write(dir.join("ssh_config"), config).expect("written");
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // Its connections end with it: phoenix keeps one open for a minute.
        let listener = i32::try_from(self.pid()).expect("an id");
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok());
            if let Some(pid) = pid.filter(|pid| parent(*pid) == listener) {
                let pid = Pid::from_raw(i32::try_from(pid).expect("an id"));
                let _ = kill_process(pid.expect("a process"), Signal::KILL);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The fleet of the laws on a node behind ssh.
pub fn fleet() -> (Fleet, Sshd) {
    behind(Fleet::new())
}

pub fn behind(mut fleet: Fleet) -> (Fleet, Sshd) {
    let sshd = Sshd::start(&fleet.site.path("ssh"));
    fleet.site.write("standin/sshd", &sshd.pid().to_string());
    let config = fleet.site.path("ssh/ssh_config").display().to_string();
    fleet.reached("pct+ssh://root@node", &[("PHOENIX_SSH_CONFIG", config)]);
    (fleet, sshd)
}
