//! `pct create`, `pct clone`, `pct destroy`.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use phoenix::domain::action::{Action, CreateSpec, Mark};
use phoenix::domain::desired::Template;
use phoenix::domain::ids::{Ctid, JournalId, RunId};
use phoenix::domain::model::{self, Effect};
use phoenix::domain::observed::{ObservedContainer, Status, TemplateState};
use phoenix::domain::refusal::Refusal;
use phoenix::domain::setting::{Key, Value};
use phoenix::domain::units::DiskSize;

use super::call::Call;
use super::file::{File, NO_BRIDGE};
use super::options::Options;
use super::set::{given, refused, volume};
use super::worker::{pause, say};
use super::{Failure, Node, Outcome, life, tree};

/// The model wants one; Proxmox VE knows of none.
pub fn no_mark(ctid: Ctid) -> Mark {
    Mark {
        journal: JournalId(uuid::Uuid::nil()),
        ctid,
    }
}

pub fn container(effect: Effect) -> Arc<ObservedContainer> {
    match effect {
        Effect::Container(container) => container,
        other => panic!("a container was to be made: {other:?}"),
    }
}

pub fn description(text: Option<&str>) -> Option<String> {
    let text = text?.trim_end_matches('\n');
    (!text.is_empty()).then(|| text.to_owned())
}

pub fn exists(node: &Node, ctid: Ctid, code: i32) -> Outcome {
    match node.place(ctid) {
        Some(place) => Err(Failure::new(
            code,
            format!("CT {ctid} already exists on node '{place}'"),
        )),
        None => Ok(()),
    }
}

pub fn no_storage(node: &Node, name: &str) -> Outcome {
    match node.storages().contains_key(name) {
        true => Ok(()),
        false => Err(refused(node, &Refusal::NoStorage(name.to_owned()))),
    }
}

/// Every volume of the settings, root disk first.
pub fn volumes(settings: &phoenix::domain::setting::Settings) -> Vec<(String, String, u64)> {
    let mut found: Vec<(String, String, u64)> = settings
        .iter()
        .filter_map(|(key, value)| {
            let (volume, size) = volume(value)?;
            Some((
                key.to_string(),
                volume.to_string(),
                size.unwrap_or_default().get(),
            ))
        })
        .collect();
    found.sort_by_key(|(key, ..)| (key != "rootfs", key.clone()));
    found
}

/// What is asked for, and the volume id of the archive.
fn wanted(options: &Options, ctid: Ctid) -> (CreateSpec, String, BTreeMap<Key, String>, String) {
    let (changes, texts) = given(options);
    let mut settings: phoenix::domain::setting::Settings = changes
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
    settings.remove(&Key::Other("unprivileged".to_owned()));
    let (mut storage, mut disk, mut extra) = (
        options.get("storage").unwrap_or("local").to_owned(),
        DiskSize::gib(4),
        String::new(),
    );
    if let Some(Value::Rootfs(rootfs)) = settings.remove(&Key::Rootfs) {
        (storage, disk) = (rootfs.volume.storage, rootfs.size);
        extra = rootfs
            .other
            .iter()
            .map(|(key, value)| format!(",{key}={value}"))
            .collect();
    }
    let archive = options.argument(1).to_owned();
    let file = archive.rsplit('/').next().unwrap_or_default().to_owned();
    let template = Template {
        file,
        storage: archive
            .split_once(":vztmpl/")
            .map(|(storage, _)| storage.to_owned()),
    };
    let unprivileged = options.flag("unprivileged");
    let mark = no_mark(ctid);
    let spec = CreateSpec {
        template,
        storage,
        disk,
        unprivileged,
        settings,
        mark,
    };
    (spec, archive, texts, extra)
}

pub fn create(node: &Node, call: &Call, options: &Options) -> Outcome {
    let ctid = options.ctid()?;
    options.verify()?;
    exists(node, ctid, 2)?;
    let (spec, archive, texts, extra) = wanted(options, ctid);
    if let Some(storage) = &spec.template.storage {
        no_storage(node, storage)?;
    }
    no_storage(node, &spec.storage)?;
    let lock = node.lock(ctid)?;
    let failed = |text: String| Failure::new(255, format!("unable to create CT {ctid} - {text}"));
    exists(node, ctid, 255).map_err(|failure| failed(failure.text))?;
    let mut half = File::default();
    half.live.set("lock", "create");
    let mut world = node.world(&[]);
    let path = match archive.starts_with('/') {
        true => Some(node.path(&archive)),
        false => node.volume(&archive),
    };
    world
        .host
        .templates
        .insert(spec.template.file.clone(), TemplateState::Present);
    world.host.bridges.insert(NO_BRIDGE.to_owned());
    let action = Action::Create(Box::new(spec.clone()));
    let made = model::after(&world, ctid, &action, RunId::NONE);
    let mut after = (*container(made.map_err(|refusal| refused(node, &refusal))?)).clone();
    tree::renumber(node, ctid, &[].into(), &mut after.settings);
    node.write(ctid, &half);
    let undone = |text: String| {
        roll_back(node, ctid, &after);
        failed(text)
    };
    for (_, volid, size) in volumes(&after.settings) {
        tree::make(node, &volid, size)
            .iter()
            .for_each(|line| say(line));
    }
    let Some(path) = path.filter(|path| path.is_file()) else {
        return Err(undone(format!("volume '{archive}' does not exist")));
    };
    say(&format!(
        "extracting archive '/{}'",
        path.strip_prefix(&node.root).expect("within").display()
    ));
    call.middle(node);
    if pause(node) {
        return Err(undone(
            "command 'tar' failed: interrupted by signal".to_owned(),
        ));
    }
    let root = volumes(&after.settings)[0].1.clone();
    tree::copy(
        &node.path("standin/rootfs"),
        &node.volume(&root).expect("a known storage"),
    );
    say("Detected container architecture: amd64");
    let mut file = File::default();
    let blank = file.typed(ctid, Status::Stopped);
    file.merge(&blank, &after, &texts);
    if !extra.is_empty() {
        let text = file.live.get("rootfs").unwrap_or_default().replacen(
            ",size=",
            &format!("{extra},size="),
            1,
        );
        file.live.set("rootfs", text);
    }
    file.live.description = description(options.get("description"));
    node.write(ctid, &file);
    call.effect(node, "create", &ctid.to_string());
    drop(lock);
    if options.flag("start") {
        life::up(node, call, ctid)?;
    }
    Ok(())
}

pub fn roll_back(node: &Node, ctid: Ctid, after: &ObservedContainer) {
    let _ = fs::remove_file(node.conf(ctid));
    for (_, volid, _) in volumes(&after.settings) {
        tree::free(node, &volid);
    }
}

pub fn destroy(node: &Node, call: &Call, options: &Options) -> Outcome {
    let ctid = options.ctid()?;
    node.read(ctid)?;
    let _lock = node.lock(ctid)?;
    let world = node.world(&[ctid]);
    let file = node.read(ctid)?;
    model::operated(&world, ctid, &model::Operation::Destroy)
        .map_err(|refusal| refused(node, &refusal))?;
    let _ = pause(node);
    let mut named: Vec<String> = volumes(&world.containers[&ctid].settings)
        .into_iter()
        .map(|(_, volid, _)| volid)
        .collect();
    let unused = file
        .live
        .keys
        .iter()
        .filter(|(key, _)| key.starts_with("unused"));
    named.extend(unused.map(|(_, volid)| volid.clone()));
    if named.is_empty() {
        call.middle(node);
    }
    for (at, volid) in named.iter().enumerate() {
        let path = node.volume(volid).filter(|path| path.is_dir());
        let path = path.ok_or_else(|| no_volume(node, volid))?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for other in tree::all(node, ctid) {
            let other_name = other
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if other == path || other_name.starts_with(&format!("{name}@")) {
                tree::remove(&other);
            }
        }
        // It dies with volumes freed, and its configuration as it was.
        if at == 0 {
            call.middle(node);
        }
    }
    if options.flag("destroy-unreferenced-disks") {
        tree::all(node, ctid)
            .iter()
            .for_each(|path| tree::remove(path));
    }
    if options.flag("purge") {
        say(&format!("purging CT {ctid} from related configurations.."));
    }
    fs::remove_file(node.conf(ctid)).expect("it is removed");
    call.effect(node, "destroy", &ctid.to_string());
    Ok(())
}

/// What each kind of storage says when a volume is not there any more.
fn no_volume(node: &Node, volid: &str) -> Failure {
    let (storage, name) = volid.split_once(':').unwrap_or_default();
    let kind = node
        .storages()
        .remove(storage)
        .map(|(kind, _)| kind)
        .unwrap_or_default();
    let path = node.volume(volid).unwrap_or_default();
    let path = path
        .strip_prefix(&node.root)
        .unwrap_or(&path)
        .display()
        .to_string();
    let text = match kind.as_str() {
        "btrfs" => format!(
            "command 'btrfs subvolume delete -- /{}' failed: ERROR: Could not statfs: No such file or directory",
            path.trim_end_matches(".raw")
        ),
        "zfspool" => format!("zfs error: cannot open 'tank/disks/{name}': dataset does not exist"),
        _ => format!("disk image '/{path}' does not exist"),
    };
    Failure::new(255, text)
}
