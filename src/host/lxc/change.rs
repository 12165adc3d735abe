//! Changes of a container's settings and disks: in its configuration, and at once where the
//! model says that a running container takes them at once.

use std::fs;

use super::super::HostError;
use super::super::process::Job;
use super::failure::{at, transient};
use super::guest::Guest;
use super::images;
use super::inside::Inside;
use super::make::volumes;
use super::observe::{self, Instance};
use super::start::name_file;
use super::work::Work;
use crate::domain::observed::{ObservedContainer, Status};
use crate::domain::options::{Mount, Net, Source, Volume};
use crate::domain::setting::{Key, Settings, Value};
use crate::domain::units::DiskSize;

impl Work<'_> {
    /// Brings files and, where it runs, the container from what was seen to what the model says.
    pub(super) fn configure(
        &self,
        seen: &ObservedContainer,
        next: &ObservedContainer,
    ) -> Result<(), HostError> {
        let mut guest = self.config()?;
        let filed = guest.clone();
        let eventual = next.eventual_settings().into_owned();
        self.allocate(&mut guest, seen, &eventual)?;
        guest.template = next.template;
        guest.settings = eventual;
        guest.making.clear();
        // The files follow what is in force: nothing is shown as done that was refused.
        if seen.status == Status::Running {
            let instance = self.instance()?;
            let given = instance.given(&filed).clone();
            self.apply_now(
                &instance,
                guest.root(),
                &given,
                &seen.settings,
                &next.settings,
            )?;
            self.note_running(&guest, &next.settings, instance.init)?;
        }
        self.write(&guest)
    }

    /// Writes down which settings are in force.
    pub(super) fn note_running(
        &self,
        guest: &Guest,
        live: &Settings,
        init: u32,
    ) -> Result<(), HostError> {
        let started = observe::start_time(init);
        let running = Guest {
            settings: live.clone(),
            instance: started.map(|started| (init, started)),
            ..guest.clone()
        };
        self.write_running(&running)
    }

    /// Makes the images of volumes that are new. Their names are written down before, so that a
    /// killed phoenix leaves none that nobody knows.
    fn allocate(
        &self,
        guest: &mut Guest,
        seen: &ObservedContainer,
        eventual: &Settings,
    ) -> Result<(), HostError> {
        let known = |volume: &Volume| {
            let eventual = seen.eventual_settings();
            let both = [&*eventual, &seen.settings];
            both.iter().any(|settings| {
                settings.values().any(|value| match value {
                    Value::Text(text) => *text == volume.to_string(),
                    Value::Mount(mount) => mount.source == Source::Volume(volume.clone()),
                    Value::Rootfs(rootfs) => rootfs.volume == *volume,
                    _ => false,
                })
            })
        };
        let all = volumes(eventual).into_iter();
        let new: Vec<_> = all.filter(|(_, volume, _)| !known(volume)).collect();
        if new.is_empty() && guest.making.is_empty() {
            return Ok(());
        }
        for volume in guest
            .making
            .clone()
            .iter()
            .filter_map(|text| text.parse::<Volume>().ok())
        {
            if !known(&volume) {
                let image = self.place(&volume)?;
                images::remove(&image)?;
                images::remove(&images::scratch(&image))?;
            }
        }
        for (_, volume, _) in &new {
            images::set_aside(&self.place(volume)?)?;
        }
        guest.making = new
            .iter()
            .map(|(_, volume, _)| volume.to_string())
            .collect();
        self.write(guest)?;
        for (_, volume, size) in new {
            images::make(&self.place(&volume)?, size, guest.root(), self.lock())
                .map_err(|error| self.for_want_of_room(eventual, error))?;
        }
        Ok(())
    }

    /// Does to a running container what it takes at once.
    fn apply_now(
        &self,
        instance: &Instance,
        root: (u32, u32),
        given: &Settings,
        seen: &Settings,
        after: &Settings,
    ) -> Result<(), HostError> {
        let differs = |key: &Key| seen.get(key) != after.get(key);
        if [Key::Memory, Key::Swap, Key::Cores].iter().any(differs) {
            self.limit(instance.init, seen, after)?;
        }
        // What a person only wrote into the file is not in force: nothing is to be undone.
        let changed = |key: &Key| given.get(key) != after.get(key);
        if let (true, Some(Value::Text(name))) =
            (changed(&Key::Hostname), after.get(&Key::Hostname))
        {
            self.name_now(instance.init, name)?;
            let inside = Inside::of(instance.init, root)
                .map_err(|_| transient("the container has just stopped"))?;
            name_file(&inside, name)?;
        }
        for slot in 0..=u8::MAX {
            let key = Key::Net(slot);
            if changed(&key) {
                let old = net(given.get(&key));
                let new = net(after.get(&key));
                self.plug(instance.init, slot, old, new)?;
                new.map_or(Ok(()), |new| self.lease(new))?;
            }
            let key = Key::Mount(slot);
            // Also one that somebody took away inside.
            let is_there = given.contains_key(&key) && seen.contains_key(&key);
            if let (false, Some(Value::Mount(mount))) = (is_there, after.get(&key)) {
                self.mount_now(instance, mount)?;
            }
        }
        Ok(())
    }

    /// Writes the limits into the kernel's files. On its way from one value to another the limit
    /// of memory must never be above that of memory and swap together.
    fn limit(&self, init: u32, before: &Settings, after: &Settings) -> Result<(), HostError> {
        let path = format!("/proc/{init}/cgroup");
        let membership =
            fs::read_to_string(&path).map_err(|error| at("cannot read", path.as_ref(), &error))?;
        let cgroups = self.dialect.cgroups;
        let mut files = cgroups.files(after);
        let memory = |settings: &Settings| match settings.get(&Key::Memory) {
            Some(Value::Number(0)) | None => u64::MAX,
            Some(Value::Number(number)) => *number,
            Some(_) => 0,
        };
        let both = |name: &str| name == "memory.memsw.limit_in_bytes";
        if memory(after) > memory(before) {
            files.sort_by_key(|(name, _)| !both(name));
        }
        for pass in 0..2 {
            let mut refused = None;
            for (name, value) in &files {
                let Some(file) = cgroups.file(&membership, name) else {
                    continue;
                };
                if let Err(error) = fs::write(&file, value) {
                    refused = Some(at("cannot write", &file, &error));
                }
            }
            // What was refused in one order is taken in the other.
            match refused {
                None => return Ok(()),
                Some(error) if pass == 1 => return Err(error),
                Some(_) => files.reverse(),
            }
        }
        Ok(())
    }

    fn name_now(&self, init: u32, name: &str) -> Result<(), HostError> {
        let job = Job::new([
            "nsenter",
            "-t",
            &init.to_string(),
            "-u",
            "--",
            "hostname",
            name,
        ]);
        job.stdin(self.lock()).run().map(drop)
    }

    /// Takes an interface away and puts the new one in its place.
    fn plug(
        &self,
        init: u32,
        slot: u8,
        old: Option<&Net>,
        new: Option<&Net>,
    ) -> Result<(), HostError> {
        let field = |value: Option<&String>| value.cloned().unwrap_or_default();
        let empty = Net::default();
        let net = new.unwrap_or(&empty);
        let address = net
            .ip
            .as_ref()
            .filter(|ip| !matches!(ip.as_str(), "dhcp" | "manual"));
        let host_end = self.host_end(slot);
        let up = net.other.get("link_down").is_none_or(|down| down != "1");
        Job::new(["sh", "-euc", PLUG, "phoenix-plug"])
            .with([
                init.to_string(),
                old.map(|old| old.name.clone()).unwrap_or_default(),
            ])
            .with([net.name.clone(), host_end, field(net.bridge.as_ref())])
            .with([
                field(net.hwaddr.as_ref()),
                field(address),
                field(net.gw.as_ref()),
            ])
            .with([
                if up { "up" } else { "down" }.to_owned(),
                field(net.other.get("mtu")),
            ])
            .stdin(self.lock())
            .run()
            .map(drop)
    }

    /// Grows a disk.
    pub(super) fn resize(
        &self,
        seen: &ObservedContainer,
        next: &ObservedContainer,
        disk: &Key,
        size: DiskSize,
    ) -> Result<(), HostError> {
        let all = volumes(&seen.settings);
        let found = all.into_iter().find(|(key, _, _)| key == disk);
        if let Some((_, volume, _)) = found {
            let image = images::existing(self.layout().volume(&volume), &volume.to_string())?;
            let grown = match seen.status {
                Status::Stopped => images::grow(&image, size, self.lock()),
                Status::Running => images::grow_online(&image, size, self.lock()),
            };
            grown.map_err(|error| self.for_want_of_room(&seen.settings, error))?;
        }
        self.configure(seen, next)
    }
}

fn net(value: Option<&Value>) -> Option<&Net> {
    match value {
        Some(Value::Net(net)) => Some(net),
        _ => None,
    }
}

/// `$1` init, `$2` the old interface, `$3` the new one, `$4` its end on the host, `$5` bridge,
/// `$6` hardware address, `$7` address, `$8` gateway, `$9` up or down, `${10}` its MTU.
const PLUG: &str = r#"
inner() { nsenter -t "$init" -n -- ip "$@"; }
init=$1
if [ -n "$2" ] && inner link show dev "$2" >/dev/null 2>&1; then inner link del dev "$2"; fi
[ -n "$3" ] || exit 0
if inner link show dev "$3" >/dev/null 2>&1; then inner link del dev "$3"; fi
ip link del dev "$4" 2>/dev/null || :
ip link add "$4" type veth peer name "$4p"
trap 'ip link del dev "$4" 2>/dev/null || :' EXIT
ip link set "$4p" netns "$init"
inner link set dev "$4p" name "$3"
if [ -n "$6" ]; then inner link set dev "$3" address "$6"; fi
if [ -n "${10}" ]; then ip link set dev "$4" mtu "${10}"; inner link set dev "$3" mtu "${10}"; fi
if [ -n "$5" ]; then ip link set dev "$4" master "$5"; fi
ip link set dev "$4" up
if [ -n "$7" ]; then inner address add "$7" broadcast + dev "$3"; fi
inner link set dev "$3" "$9"
if [ -n "$8" ] && [ "$9" = up ]; then inner route add default via "$8" dev "$3"; fi
trap - EXIT
"#;

/// A path of the container and what is mounted there.
pub(super) fn is_readonly(mount: &Mount) -> bool {
    mount.other.get("ro").is_some_and(|ro| ro == "1")
}
