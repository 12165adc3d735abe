//! The start of a container, to where its init answers and has what it needs.

use std::ffi::OsString;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::super::HostError;
use super::super::process::{Job, Output};
use super::failure::transient;
use super::guest::{Guest, volume_point};
use super::images;
use super::inside::{Inside, Push};
use super::make::volumes;
use super::observe;
use super::work::Work;
use crate::domain::observed::ObservedContainer;
use crate::domain::options::Net;
use crate::domain::refusal::FailureKind;
use crate::domain::setting::{Key, Value};

/// How long an init may take until it answers.
const READY: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(25);
/// What LXC says when another took the loop device that it was about to take.
const LOST_DEVICE: &str = "Failed to prepare loop device";
/// How often such a start is tried again at once.
const ATTEMPTS: u32 = 40;

/// `$1` where volumes are mounted, then pairs of an image and its place, `--`, and the command.
/// All of it in a mount namespace of the container's monitor:
/// when that ends, for whatever reason, the kernel lets go of mounts and loop devices.
const START: &str = r#"
points=$1
shift
if [ "$1" != -- ]; then
    mkdir -p "$points"
    mount -t tmpfs -o size=64k,mode=755 none "$points"
    while [ "$1" != -- ]; do
        mkdir "$2"
        mount -o loop "$1" "$2"
        shift 2
    done
fi
shift
exec "$@"
"#;

impl Work<'_> {
    /// Starts it, and waits until its init answers.
    pub(super) fn start(&self, next: &ObservedContainer) -> Result<(), HostError> {
        let mut guest = self.config()?;
        guest.settings = next.settings.clone();
        self.write(&guest)?;
        self.write_running(&Guest {
            instance: None,
            ..guest.clone()
        })?;
        self.launch(&guest)?;
        self.ready(&guest)
    }

    fn launch(&self, guest: &Guest) -> Result<(), HostError> {
        let mut pairs = Vec::new();
        for (key, volume, _) in volumes(&guest.settings) {
            let image = images::existing(self.layout().volume(&volume), &volume.to_string())?;
            images::released(&image)?;
            if let Key::Mount(slot) = key {
                pairs.push(image.into_os_string());
                pairs.push(volume_point(self.layout(), self.ctid, slot).into());
            }
        }
        let log = self.layout().log(self.ctid);
        for attempt in 1.. {
            images::remove(&log)?;
            self.unplug_all()?;
            let Err(error) = self.launched(guest, &pairs) else {
                break;
            };
            // Until the monitor has ended, the container would be taken for a running one.
            if let Err(left) = self.gone(&guest.settings) {
                tracing::warn!(ctid = %self.ctid, %left, "something of the failed start is left");
            }
            let said = fs::read_to_string(&log).unwrap_or_default();
            // LXC asks for a free loop device, and another takes it first.
            if !said.contains(LOST_DEVICE) || attempt == ATTEMPTS {
                return Err(explained(error, &said));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn launched(&self, guest: &Guest, pairs: &[OsString]) -> Result<Output, HostError> {
        Job::new([
            "unshare",
            "--mount",
            "--propagation",
            "slave",
            "sh",
            "-euc",
            START,
        ])
        .with(["phoenix-start"])
        .with([self.layout().mounts(self.ctid)])
        .with(pairs)
        .with(["--", "lxc-start", "-d", "-P"])
        .with([&self.layout().dir])
        .with(["-n", &self.ctid.to_string(), "-l", "WARN", "-o"])
        .with([self.layout().log(self.ctid)])
        .with(self.named_ends(&guest.settings))
        .stdin(self.lock())
        .failing_as(FailureKind::Transient)
        .run()
    }

    /// Waits until its init answers, then notes which process it is and gives the container what
    /// belongs into its files.
    pub(super) fn ready(&self, guest: &Guest) -> Result<(), HostError> {
        let began = Instant::now();
        loop {
            let answered = self.inside(["true"]).deadline(READY).run();
            match answered {
                Ok(_) => break,
                Err(error) if began.elapsed() > READY => return Err(error),
                Err(error) => {
                    if !observe::running(self.dialect)?.contains(&self.ctid) {
                        return Err(HostError {
                            kind: FailureKind::Transient,
                            message: "the container stopped right after its start".to_owned(),
                            ..error
                        });
                    }
                    thread::sleep(PAUSE);
                }
            }
        }
        let init = observe::init_of(self.dialect, self.ctid)?;
        let init = init.ok_or_else(|| transient("the container stopped right after its start"))?;
        self.note_running(guest, &guest.settings.clone(), init)?;
        self.files(guest, init)
    }

    /// Asks for an interface's address, if it is to be asked for.
    pub(super) fn lease(&self, net: &Net) -> Result<(), HostError> {
        if net.ip.as_deref() != Some("dhcp") {
            return Ok(());
        }
        let job = self.inside(["sh", "-c", DHCP, "phoenix-dhcp", &net.name]);
        job.run().map(drop)
    }

    /// Its name and its name servers.
    fn files(&self, guest: &Guest, init: u32) -> Result<(), HostError> {
        let inside = Inside::of(init, guest.root())
            .map_err(|_| transient("the container stopped right after its start"))?;
        inside.sweep();
        if let Some(Value::Text(name)) = guest.settings.get(&Key::Hostname) {
            name_file(&inside, name)?;
        }
        if let Some(Value::Text(servers)) = guest.settings.get(&Key::Nameserver) {
            let lines: String = servers
                .split(' ')
                .map(|server| format!("nameserver {server}\n"))
                .collect();
            let push = Push {
                name: "resolv.conf",
                content: lines.as_bytes(),
                mode: 0o644,
            };
            inside.replace("etc", &push)?;
        }
        for value in guest.settings.values() {
            if let Value::Net(net) = value {
                self.lease(net)?;
            }
        }
        Ok(())
    }
}

/// A start that failed, in LXC's own words.
fn explained(error: HostError, said: &str) -> HostError {
    let errors: Vec<&str> = said.lines().filter(|line| line.contains("ERROR")).collect();
    let first = errors.first().and_then(|line| line.rsplit(" - ").next());
    let why = first.map(|first| format!(": {first}")).unwrap_or_default();
    HostError {
        message: format!("the container does not start{why}"),
        output: format!("{}\n{}", error.output, errors.join("\n"))
            .trim()
            .to_owned(),
        ..error
    }
}

/// The file that an init takes the container's name from.
pub(super) fn name_file(inside: &Inside, name: &str) -> Result<(), HostError> {
    let content = format!("{name}\n");
    let push = Push {
        name: "hostname",
        content: content.as_bytes(),
        mode: 0o644,
    };
    inside.replace("etc", &push)
}

/// Asks for an address with what the container has. A container with a network service of its
/// own asks by itself.
const DHCP: &str = r#"
if command -v systemctl >/dev/null 2>&1; then exit 0; fi
if command -v udhcpc >/dev/null 2>&1; then exec udhcpc -i "$1" -b -q -t 5 </dev/null >/dev/null 2>&1; fi
if command -v dhclient >/dev/null 2>&1; then exec dhclient -1 "$1" </dev/null >/dev/null 2>&1; fi
echo "no DHCP client (udhcpc, dhclient) in the container" >&2
exit 1
"#;
