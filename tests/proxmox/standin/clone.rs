//! `pct clone`.

use std::collections::BTreeMap;
use std::sync::Arc;

use phoenix::domain::action::{Action, CloneSpec};
use phoenix::domain::ids::{Ctid, RunId};
use phoenix::domain::model;
use phoenix::domain::observed::{ObservedContainer, ObservedWorld, Snapshot, Status};
use phoenix::domain::refusal::Refusal;

use super::call::Call;
use super::file::{File, Part};
use super::make::{container, description, exists, no_mark, no_storage, roll_back, volumes};
use super::options::Options;
use super::set::refused;
use super::worker::{pause, say};
use super::{Failure, Node, Outcome, tree};

/// What of the source is copied.
struct Source {
    ctid: Ctid,
    file: File,
    part: Part,
    snapshot: Option<String>,
}

impl Source {
    fn of(node: &Node, options: &Options) -> Result<Self, Failure> {
        let ctid = options.ctid()?;
        let file = node.read(ctid)?;
        let seen = file.typed(ctid, node.status(ctid));
        if let Some(lock) = seen.lock {
            return Err(refused(node, &Refusal::Locked(lock)));
        }
        if let Some(storage) = options.get("storage") {
            no_storage(node, storage)?;
        }
        let snapshot = options.get("snapname").map(str::to_owned);
        let part = match &snapshot {
            Some(name) => file
                .snapshots
                .get(name)
                .cloned()
                .ok_or_else(|| Failure::new(2, format!("snapshot '{name}' does not exist")))?,
            None if seen.status == Status::Running => {
                let text = "Cannot do full clones on a running container without snapshots";
                return Err(Failure::new(2, text));
            }
            None => file.live.clone(),
        };
        Ok(Self {
            ctid,
            file,
            part,
            snapshot,
        })
    }

    /// As the model sees it: what is copied is a snapshot.
    fn world(&self, node: &Node) -> ObservedWorld {
        let mut seen = self.file.typed(self.ctid, Status::Stopped);
        seen.snapshots = vec![Snapshot {
            name: "now".to_owned(),
            settings: File {
                live: self.part.clone(),
                ..File::default()
            }
            .typed(self.ctid, Status::Stopped)
            .settings,
            mark: None,
            receipts: [].into(),
            incomplete: false,
        }];
        let mut world = node.world(&[]);
        world.containers.insert(self.ctid, Arc::new(seen));
        world
    }

    fn volid(&self, key: &str) -> String {
        let text = self.part.get(key).unwrap_or_default();
        text.split(',').next().unwrap_or_default().to_owned()
    }
}

pub fn clone(node: &Node, call: &Call, options: &Options) -> Outcome {
    let ctid = options.id(1)?;
    let source = Source::of(node, options)?;
    exists(node, ctid, 255)?;
    let linked = source.file.live.get("template").is_some() && !options.flag("full");
    let root = source.volid("rootfs");
    let own_storage = root.split(':').next().unwrap_or_default().to_owned();
    let can_link = node
        .facts()
        .storages
        .get(&own_storage)
        .is_some_and(|storage| storage.can_snapshot());
    if linked && !can_link {
        return Err(Failure::new(
            2,
            format!("Linked clone feature for '{root}' is not available"),
        ));
    }
    let hostname = options
        .get("hostname")
        .or(source.part.get("hostname"))
        .unwrap_or_default();
    let spec = CloneSpec {
        source: source.ctid,
        snapshot: "now".to_owned(),
        hostname: hostname.to_owned(),
        storage: options.get("storage").map_or(own_storage, str::to_owned),
        mark: no_mark(ctid),
    };
    let made = model::after(
        &source.world(node),
        ctid,
        &Action::Clone(Box::new(spec)),
        RunId::NONE,
    );
    let made = made.map_err(|refusal| Failure {
        code: 2,
        ..refused(node, &refusal)
    });
    let mut after = (*container(made?)).clone();
    tree::renumber(node, ctid, &[].into(), &mut after.settings);
    let mut file = File::default();
    let blank = file.typed(ctid, Status::Stopped);
    file.merge(&blank, &after, &BTreeMap::new());
    file.live.lxc.clone_from(&source.part.lxc);
    file.live.description = match options.get("description") {
        Some(text) => description(Some(text)),
        None => source.part.description.clone(),
    };
    copied(node, call, ctid, &source, &after, &file, linked)
}

fn copied(
    node: &Node,
    call: &Call,
    ctid: Ctid,
    source: &Source,
    after: &ObservedContainer,
    file: &File,
    linked: bool,
) -> Outcome {
    {
        let _lock = node.lock(source.ctid)?;
        let mut locked = node.read(source.ctid)?;
        if let Some(lock) = locked.live.get("lock") {
            return Err(Failure::new(255, format!("CT is locked ({lock})")));
        }
        locked.live.set("lock", "disk");
        node.write(source.ctid, &locked);
    }
    let mut half = file.clone();
    half.live.set("lock", "create");
    half.live
        .keys
        .retain(|key, _| key != "rootfs" && !key.starts_with("mp"));
    node.write(ctid, &half);
    let unlock = || {
        let mut locked = node.read(source.ctid)?;
        locked.live.keys.remove("lock");
        node.write(source.ctid, &locked);
        Ok(())
    };
    let undone = |text: String| -> Outcome {
        roll_back(node, ctid, after);
        unlock()?;
        Err(Failure::new(255, format!("clone failed: {text}")))
    };
    if source.part.get("snapstate").is_some() {
        return undone(format!(
            "volume '{}' does not exist",
            source.volid("rootfs")
        ));
    }
    for (key, volid, size) in volumes(&after.settings) {
        let old = source.volid(&key);
        match linked {
            true => say(&format!("create linked clone of mount point {key} ({old})")),
            false => say(&format!("create full clone of mountpoint {key} ({old})")),
        }
        tree::make(node, &volid, size)
            .iter()
            .for_each(|line| say(line));
        if key == "rootfs" {
            call.middle(node);
        }
        if pause(node) {
            return undone("command 'rsync' failed: interrupted by signal".to_owned());
        }
        let from = node.volume(&old).expect("a known storage");
        let from = source
            .snapshot
            .as_ref()
            .map_or(from.clone(), |name| tree::kept(&from, name));
        tree::copy(&from, &node.volume(&volid).expect("a known storage"));
    }
    if !linked {
        // The summary of the copy.
        say("");
    }
    node.write(ctid, file);
    unlock()?;
    call.effect(node, "clone", &format!("{ctid} of {}", source.ctid));
    Ok(())
}
