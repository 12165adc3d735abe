//! Snapshots: taken, deleted, gone back to.

use std::time::SystemTime;

use phoenix::domain::action::Action;
use phoenix::domain::ids::RunId;
use phoenix::domain::model;
use phoenix::domain::observed::Status;
use phoenix::domain::refusal::Refusal;

use super::call::Call;
use super::file::{File, Part};
use super::options::Options;
use super::set::refused;
use super::worker::{pause, say};
use super::{Failure, Node, Outcome, tree};

/// The volumes that a part of the configuration mounts.
fn volumes(part: &Part) -> Vec<String> {
    let mounts = part
        .keys
        .iter()
        .filter(|(key, _)| *key == "rootfs" || key.starts_with("mp"));
    let volids = mounts.map(|(_, text)| text.split(',').next().unwrap_or_default().to_owned());
    volids.filter(|volid| !volid.starts_with('/')).collect()
}

fn locked(node: &Node, file: &File) -> Outcome {
    let lock = file.live.get("lock").and_then(|text| text.parse().ok());
    lock.map_or(Ok(()), |lock| Err(refused(node, &Refusal::Locked(lock))))
}

fn missing(name: &str) -> Failure {
    Failure::new(255, format!("snapshot '{name}' does not exist"))
}

pub fn take(node: &Node, call: &Call, options: &Options) -> Outcome {
    let (ctid, name) = (options.ctid()?, options.argument(1));
    let action = Action::Snapshot {
        name: name.to_owned(),
    };
    let refusal = |refusal: Refusal| match &refusal {
        Refusal::BadSnapshotName(name) => {
            let message = format!("invalid format - invalid configuration ID '{name}'\n");
            options.refused(&[("snapname".to_owned(), message)])
        }
        Refusal::ReservedSnapshot(_) => Failure {
            code: 2,
            ..refused(node, &refusal)
        },
        _ => refused(node, &refusal),
    };
    // A bad name is refused before anything is looked at.
    let blank = File::default().typed(ctid, Status::Stopped);
    match blank.after(&node.facts(), ctid, &action, RunId::NONE) {
        Err(error @ (Refusal::BadSnapshotName(_) | Refusal::ReservedSnapshot(_))) => {
            return Err(refusal(error));
        }
        _ => node.read(ctid)?,
    };
    {
        let _lock = node.lock(ctid)?;
        model::after(&node.world(&[ctid]), ctid, &action, RunId::NONE).map_err(refusal)?;
        let mut file = node.read(ctid)?;
        let mut part = file.live.clone();
        part.keys
            .retain(|key, _| key != "lock" && !key.starts_with("unused"));
        part.description = options
            .get("description")
            .map(|text| text.trim_end_matches('\n').to_owned());
        part.set("snapstate", "prepare");
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("a time");
        part.set("snaptime", now.as_secs().to_string());
        file.snapshots.insert(name.to_owned(), part);
        file.live.set("lock", "snapshot");
        node.write(ctid, &file);
    }
    let _ = pause(node);
    call.middle(node);
    let file = node.read(ctid)?;
    for volid in volumes(&file.live) {
        let path = node.volume(&volid).expect("a known storage");
        tree::copy(&path, &tree::kept(&path, name));
    }
    let _lock = node.lock(ctid)?;
    let mut file = node.read(ctid)?;
    file.live.keys.remove("lock");
    file.live.set("parent", name);
    if let Some(part) = file.snapshots.get_mut(name) {
        part.keys.remove("snapstate");
    }
    node.write(ctid, &file);
    call.effect(node, "snapshot", &format!("{ctid} {name}"));
    Ok(())
}

pub fn delete(node: &Node, call: &Call, options: &Options) -> Outcome {
    let (ctid, name) = (options.ctid()?, options.argument(1));
    let _lock = node.lock(ctid)?;
    let mut file = node.read(ctid)?;
    locked(node, &file)?;
    let part = file.snapshots.get_mut(name).ok_or_else(|| missing(name))?;
    part.set("snapstate", "delete");
    let part = part.clone();
    file.live.set("lock", "snapshot-delete");
    node.write(ctid, &file);
    let _ = pause(node);
    for volid in volumes(&part) {
        let path = tree::kept(&node.volume(&volid).expect("a known storage"), name);
        if path.exists() {
            tree::remove(&path);
            continue;
        }
        let shown = path
            .strip_prefix(&node.root)
            .expect("within")
            .display()
            .to_string();
        let shown = shown.replace(".raw@", "@");
        let text = format!(
            "command 'btrfs subvolume delete -- /{shown}' failed: ERROR: Could not statfs: No such file or directory"
        );
        if !options.flag("force") {
            return Err(Failure::new(255, text));
        }
        say(&text);
    }
    call.middle(node);
    forget(&mut file, name, &part);
    node.write(ctid, &file);
    call.effect(node, "delsnapshot", &format!("{ctid} {name}"));
    Ok(())
}

/// Takes a snapshot out of the line of descent.
fn forget(file: &mut File, name: &str, part: &Part) {
    file.snapshots.remove(name);
    file.live.keys.remove("lock");
    let before = part.get("parent").map(str::to_owned);
    for other in file.snapshots.values_mut().chain([&mut file.live]) {
        if other.get("parent") == Some(name) {
            match &before {
                Some(parent) => other.set("parent", parent.as_str()),
                None => _ = other.keys.remove("parent"),
            }
        }
    }
}

pub fn roll_back(node: &Node, call: &Call, options: &Options) -> Outcome {
    let (ctid, name) = (options.ctid()?, options.argument(1));
    let _lock = node.lock(ctid)?;
    let mut file = node.read(ctid)?;
    locked(node, &file)?;
    let part = file
        .snapshots
        .get(name)
        .ok_or_else(|| missing(name))?
        .clone();
    if let Some(state) = part.get("snapstate") {
        let text = format!("unable to rollback to incomplete snapshot (snapstate = {state})");
        return Err(Failure::new(255, text));
    }
    let world = node.world(&[ctid]);
    let operation = model::Operation::Rollback {
        name: name.to_owned(),
    };
    let effect = model::operated(&world, ctid, &operation);
    let model::Effect::Container(after) = effect.map_err(|refusal| refused(node, &refusal))? else {
        panic!("a container was to be changed");
    };
    super::life::kill_init(node, ctid);
    file.live.set("lock", "rollback");
    node.write(ctid, &file);
    call.middle(node);
    for volid in volumes(&part) {
        let path = node.volume(&volid).expect("a known storage");
        let _ = std::fs::remove_dir_all(&path);
        tree::copy(&tree::kept(&path, name), &path);
    }
    let description = file.live.description.clone();
    let before = world.containers[&ctid].as_ref();
    file.merge(before, &after, &[].into());
    let unused: Vec<(String, String)> = file
        .live
        .keys
        .iter()
        .filter(|(key, _)| key.starts_with("unused"))
        .map(|(key, text)| (key.clone(), text.clone()))
        .collect();
    file.live = Part {
        description,
        ..part
    };
    file.live.keys.remove("snaptime");
    file.live.keys.extend(unused);
    file.live.set("parent", name);
    node.write(ctid, &file);
    call.effect(node, "rollback", &format!("{ctid} {name}"));
    Ok(())
}
