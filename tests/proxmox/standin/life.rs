//! Start and stop, disks that grow, templates, locks.

use std::collections::BTreeMap;
use std::process::Stdio;

use phoenix::domain::action::Action;
use phoenix::domain::ids::{Ctid, RunId};
use phoenix::domain::model::{self, Effect, Operation};
use phoenix::domain::observed::{Lock, ObservedContainer, ObservedWorld, Status};
use phoenix::domain::options::Source;
use phoenix::domain::refusal::Refusal;
use phoenix::domain::setting::{Key, Value};
use phoenix::domain::units::DiskSize;
use rustix::process::{Pid, Signal, kill_process};

use super::call::{Call, command};
use super::options::Options;
use super::set::{no_arch, refused, volume};
use super::worker::{pause, say};
use super::{Failure, Node, Outcome, show, tree};

/// Writes what the model made of a container.
fn become_of(node: &Node, ctid: Ctid, world: &ObservedWorld, effect: Effect) -> Outcome {
    let Effect::Container(after) = effect else {
        panic!("a container was to be changed");
    };
    let before = world.containers[&ctid].as_ref();
    let mut file = node.read(ctid)?;
    file.merge(before, &after, &BTreeMap::new());
    node.write(ctid, &file);
    Ok(())
}

fn act(node: &Node, world: &ObservedWorld, ctid: Ctid, action: &Action) -> Result<Effect, Failure> {
    model::after(world, ctid, action, RunId::NONE).map_err(|refusal| refused(node, &refusal))
}

pub fn start(node: &Node, call: &Call, options: &Options) -> Outcome {
    let ctid = options.ctid()?;
    node.read(ctid).map_err(|failure| Failure {
        code: 255,
        ..failure
    })?;
    if node.status(ctid) == Status::Running {
        return Err(refused(node, &Refusal::AlreadyRunning(ctid)));
    }
    up(node, call, ctid)
}

/// Starts a container that does not run.
#[expect(
    clippy::zombie_processes,
    reason = "an init outlives the worker that started it"
)]
pub fn up(node: &Node, call: &Call, ctid: Ctid) -> Outcome {
    let _lock = node.lock(ctid)?;
    let mut world = node.world(&[ctid]);
    let seen = world
        .containers
        .get(&ctid)
        .ok_or_else(|| node.missing(ctid))?;
    warn(node, ctid)?;
    if !seen.settings.contains_key(&Key::Other("arch".to_owned())) && seen.lock.is_none() {
        return Err(no_arch());
    }
    // The one lock that does not stop a start.
    let mounted = seen.lock == Some(Lock::Mounted);
    if mounted {
        let unlocked = ObservedContainer {
            lock: None,
            ..(**seen).clone()
        };
        world.containers.insert(ctid, unlocked.into());
    }
    let effect = act(node, &world, ctid, &Action::Start)?;
    if let Some(path) = missing_bind(node, &world.containers[&ctid]) {
        let _ = path;
        say("run_buffer: 322 Script exited with status 2");
        say(&format!(
            "lxc_init: 844 Failed to run lxc.hook.pre-start for container \"{ctid}\""
        ));
        say(&format!(
            "__lxc_start: 2027 Failed to initialize container \"{ctid}\""
        ));
        return Err(Failure::new(
            255,
            format!("startup for container '{ctid}' failed"),
        ));
    }
    let root = node.rootfs(ctid).filter(|root| root.is_dir());
    let Some(root) = root else {
        let file = node.read(ctid)?;
        let volid = file.live.get("rootfs").unwrap_or_default();
        let volid = volid.split(',').next().unwrap_or_default();
        return Err(Failure::new(
            255,
            format!("volume '{volid}' does not exist"),
        ));
    };
    let _ = pause(node);
    let effect = match effect {
        Effect::Container(after) if mounted => Effect::Container(
            ObservedContainer {
                lock: Some(Lock::Mounted),
                ..(*after).clone()
            }
            .into(),
        ),
        effect => effect,
    };
    become_of(node, ctid, &world, effect)?;
    let child = command("chroot".as_ref())
        .arg(root)
        .args(["/bin/busybox", "sleep", "1200"])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("an init");
    node.remember_init(ctid, Some(child.id()));
    call.effect(node, "start", &ctid.to_string());
    // What it has started lives on whoever dies now.
    call.middle(node);
    Ok(())
}

/// A worker's warnings go where its output goes.
fn warn(node: &Node, ctid: Ctid) -> Outcome {
    let lines = show::warnings(ctid, &node.read(ctid)?);
    lines.iter().for_each(|line| say(line));
    Ok(())
}

fn missing_bind(node: &Node, seen: &ObservedContainer) -> Option<String> {
    let mut binds = seen
        .eventual_settings()
        .into_owned()
        .into_values()
        .filter_map(|value| match value {
            Value::Mount(mount) => match mount.source {
                Source::Host(path) => Some(path),
                Source::Volume(_) => None,
            },
            _ => None,
        });
    // A test may name a directory outside of its node.
    binds.find(|path| !node.path(path).exists() && !std::path::Path::new(path).exists())
}

fn down(node: &Node, call: &Call, ctid: Ctid, refusal: &Refusal) -> Outcome {
    if node.status(ctid) == Status::Stopped {
        node.read(ctid)?;
        return Err(refused(node, refusal));
    }
    let _lock = node.lock(ctid)?;
    let world = node.world(&[ctid]);
    warn(node, ctid)?;
    let effect = model::operated(&world, ctid, &Operation::Stop);
    let effect = effect.map_err(|refusal| refused(node, &refusal))?;
    let _ = pause(node);
    call.middle(node);
    kill_init(node, ctid);
    become_of(node, ctid, &world, effect)?;
    call.effect(node, "stop", &ctid.to_string());
    Ok(())
}

pub fn kill_init(node: &Node, ctid: Ctid) {
    if let Some(pid) = node.init(ctid) {
        let pid = Pid::from_raw(i32::try_from(pid).expect("an id")).expect("a process");
        let _ = kill_process(pid, Signal::KILL);
    }
    node.remember_init(ctid, None);
}

pub fn stop(node: &Node, call: &Call, options: &Options) -> Outcome {
    let ctid = options.ctid()?;
    down(node, call, ctid, &Refusal::NotRunning(ctid))
}

pub fn reboot(node: &Node, call: &Call, options: &Options) -> Outcome {
    let ctid = options.ctid()?;
    if node.status(ctid) == Status::Stopped {
        return Err(Failure::new(255, format!("VM {ctid} not running")));
    }
    down(node, call, ctid, &Refusal::NotRunning(ctid))?;
    up(node, call, ctid)
}

pub fn resize(node: &Node, call: &Call, options: &Options) -> Outcome {
    let ctid = options.ctid()?;
    let (disk, text) = (options.argument(1), options.argument(2));
    let (plus, amount) = match text.strip_prefix('+') {
        Some(amount) => (true, amount),
        None => (false, text),
    };
    let Ok(amount) = amount.parse::<DiskSize>() else {
        let message = "value does not match the regex pattern".to_owned();
        return Err(options.refused(&[("size".to_owned(), message)]));
    };
    let _lock = node.lock(ctid)?;
    let world = node.world(&[ctid]);
    let seen = world
        .containers
        .get(&ctid)
        .ok_or_else(|| node.missing(ctid))?;
    let disk: Key = disk.parse().expect("a key");
    let now = seen
        .settings
        .get(&disk)
        .and_then(|value| volume(value)?.1)
        .unwrap_or_default();
    let size = if plus {
        DiskSize::bytes(now.get() + amount.get())
    } else {
        amount
    };
    let action = Action::Resize {
        disk: disk.clone(),
        size,
        was: None,
    };
    let effect = match model::after(&world, ctid, &action, RunId::NONE) {
        Ok(effect) => effect,
        Err(Refusal::NoDisk(_)) => {
            let missing = |key| format!("\n{key}: property is missing and it is not optional");
            let text = format!("format error{}{}", missing("volume"), missing("mp"));
            return Err(Failure::new(255, text));
        }
        Err(Refusal::CannotResize) => {
            eprintln!("{}", Refusal::CannotResize);
            return Ok(());
        }
        Err(refusal) => return Err(refused(node, &refusal)),
    };
    let _ = pause(node);
    call.middle(node);
    say("Image resized.");
    become_of(node, ctid, &world, effect)?;
    let file = node.read(ctid)?;
    let text = file.live.get(&disk.to_string()).unwrap_or_default();
    tree::resize(node, text.split(',').next().unwrap_or_default(), size.get());
    call.effect(node, "resize", &format!("{ctid} {disk}"));
    // As recorded: the disk has grown, the file system has not, and the exit code is 0.
    if node.knob("lie").as_deref() == Some("resize") {
        let _ = std::fs::remove_file(node.path("standin/lie"));
        say("Failed to update the container's filesystem: the stand-in was told so");
    }
    Ok(())
}

pub fn template(node: &Node, call: &Call, options: &Options) -> Outcome {
    let ctid = options.ctid()?;
    let _lock = node.lock(ctid)?;
    let world = node.world(&[ctid]);
    let effect = model::operated(&world, ctid, &Operation::Template);
    let effect = effect.map_err(|refusal| refused(node, &refusal))?;
    if let Effect::Container(after) = &effect {
        for (key, value) in &world.containers[&ctid].settings {
            let names = (volume(value), after.settings.get(key).and_then(volume));
            if let (Some((from, _)), Some((to, _))) = names {
                tree::rename(node, &from.to_string(), &to.to_string());
            }
        }
    }
    become_of(node, ctid, &world, effect)?;
    call.effect(node, "template", &ctid.to_string());
    Ok(())
}

/// Takes the lock away; an unfinished snapshot stays.
pub fn unlock(node: &Node, call: &Call, options: &Options) -> Outcome {
    let ctid = options.ctid()?;
    let _lock = node.lock(ctid)?;
    let mut file = node.read(ctid)?;
    if file.live.keys.remove("lock").is_none() {
        return Err(refused(node, &Refusal::NotLocked));
    }
    call.middle(node);
    node.write(ctid, &file);
    call.effect(node, "unlock", &ctid.to_string());
    Ok(())
}

pub fn migrate(node: &Node, options: &Options) -> Outcome {
    let target = options.argument(1);
    match node.path(&format!("etc/pve/nodes/{target}")).is_dir() {
        true => Err(Failure::new(255, "the stand-in does not migrate")),
        false => Err(Failure::new(2, format!("no such cluster node '{target}'"))),
    }
}
