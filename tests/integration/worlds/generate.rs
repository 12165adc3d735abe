//! Strategies: fleets, and what people do to them behind phoenix's back.

use std::sync::Arc;

use phoenix::domain::ids::Ctid;
use phoenix::domain::model::{self, Effect, Operation};
use phoenix::domain::observed::{Elsewhere, HostFacts, Lock, ObservedWorld, Status};
use phoenix::domain::setting::{Changes, Key, MAX_MOUNT_SLOT, Value};
use phoenix::domain::units::DiskSize;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::build::{NODE, SNAPSHOT, Shape, bare_host, ctid, guest};
use super::host::{Mischief, change};

pub fn shape(index: usize) -> impl Strategy<Value = Shape> {
    let place = (
        option::weighted(0.6, 0..index.max(1)),
        vec(0..index.max(1), 0..2),
        1..4_u32,
        any::<(bool, bool)>(),
    );
    let settings = (
        prop_oneof![Just(256_u64), Just(512), Just(1024)],
        option::of(prop_oneof![Just(0_u64), Just(512)]),
        option::of(any::<bool>()),
        option::of(1..4_u32),
        option::of(any::<bool>()),
        vec(0..5_usize, 0..3),
        any::<(bool, bool, bool)>(),
        1..4_u8,
    );
    let mounts = (
        vec((0..3_u8, 0..3_u8), 0..3),
        any::<bool>(),
        vec((0..2_u8, 1..4_u32), 0..3),
    );
    let scripts = (
        vec((0..3_u8, any::<bool>()), 0..3),
        option::of(0..3_u8),
        any::<(bool, bool)>(),
        any::<(bool, bool)>(),
    );
    (place, settings, mounts, scripts).prop_map(|(place, settings, mounts, scripts)| {
        let (parent, needs, disk, (privileged, downloads)) = place;
        let (memory, swap, onboot, startup, nesting, lines, flags, address) = settings;
        let (nameserver, gpu, hwaddr) = flags;
        let (binds, owned_binds, volumes) = mounts;
        let (features, application, (health, snapshot), rare) = scripts;
        Shape {
            parent,
            needs,
            memory,
            swap,
            onboot,
            startup,
            nameserver,
            nesting,
            lines,
            gpu,
            privileged,
            disk,
            address: address + 1,
            hwaddr,
            binds,
            owned_binds,
            volumes,
            features,
            application,
            health,
            snapshot,
            downloads,
            stop_on_unknown: false,
            external: rare.0 && rare.1,
        }
    })
}

/// Up to five containers.
pub fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    (1..=5_usize).prop_flat_map(|count| (0..count).map(shape).collect::<Vec<_>>())
}

/// The same containers, declared anew in all that may change during a life.
pub fn redeclared(shapes: Vec<Shape>) -> impl Strategy<Value = (Vec<Shape>, Vec<Shape>)> {
    let others: Vec<_> = (0..shapes.len()).map(shape).collect();
    (Just(shapes), others).prop_map(|(shapes, others)| {
        let again = shapes.iter().zip(others).map(|(old, new)| Shape {
            parent: old.parent,
            privileged: old.privileged,
            snapshot: old.snapshot,
            disk: old.disk.max(new.disk),
            volumes: grown(&old.volumes, &new.volumes),
            ..new
        });
        let again = again.collect();
        (shapes, again)
    })
}

/// Volumes only grow.
fn grown(old: &[(u8, u32)], new: &[(u8, u32)]) -> Vec<(u8, u32)> {
    let before = |path: u8| {
        old.iter()
            .rev()
            .find(|(own, _)| *own == path)
            .map_or(1, |(_, n)| *n)
    };
    new.iter()
        .map(|(path, size)| (*path, (*size).max(before(*path))))
        .collect()
}

/// What people do behind phoenix's back.
#[derive(Clone, Debug)]
pub enum Drift {
    Set(usize, &'static str, &'static str),
    Stop(usize),
    Start(usize),
    Unmount(usize, String),
    Destroy(usize),
    DeleteSnapshot(usize),
    ForeignSnapshot(usize),
    Lock(usize, Lock),
    LoseReceipts(usize),
    HideDisk(usize),
    Directory(u8),
    Reboot,
    Rollback(usize, &'static str),
    Template(usize),
    /// Somebody else is in the middle of making it.
    HalfCreated(usize),
    /// Somebody else is in the middle of destroying it.
    HalfDestroyed(usize),
    /// A mount in every slot.
    FillSlots(usize),
    /// A bind mount, written into the configuration that a snapshot preserved.
    BindInSnapshot(usize),
}

const TROUBLES: [(&str, &str); 5] = [
    ("protection", "1"),
    ("mp7", "tank:1,mp=/b0"),
    ("mp4", "tank:1,mp=/b1"),
    ("mp6", "tank:9,mp=/v0"),
    ("mp5", "/srv/foreign,mp=/v1"),
];

const SETS: [(&str, &str); 18] = [
    ("memory", "333"),
    ("swap", "77"),
    ("hostname", "elsewhere"),
    ("cores", "3"),
    ("onboot", "1"),
    ("startup", "order=9"),
    ("nameserver", "9.9.9.9"),
    ("features", "fuse=1"),
    ("features", "nesting=0,keyctl=1"),
    ("net0", "name=eth0,bridge=vmbr0,ip=10.9.9.9/24,firewall=1"),
    (
        "net0",
        "name=eth0,bridge=vmbr0,ip=dhcp,hwaddr=02:aa:bb:cc:dd:ee",
    ),
    ("net1", "name=eth1,bridge=vmbr0,ip=dhcp"),
    ("mp9", "/srv/foreign,mp=/foreign"),
    ("mp8", "tank:1,mp=/foreign-volume"),
    ("mp7", "/srv/foreign,mp=/b0"),
    ("lxc.cap.drop", "mac_admin"),
    ("lxc.apparmor.profile", "generated"),
    ("tags", "hand-made"),
];

pub fn drift(count: usize) -> impl Strategy<Value = Drift> {
    let who = 0..count;
    prop_oneof![
        8 => (who.clone(), 0..SETS.len()).prop_map(|(n, i)| Drift::Set(n, SETS[i].0, SETS[i].1)),
        2 => who.clone().prop_map(Drift::Stop),
        1 => who.clone().prop_map(Drift::Start),
        3 => (who.clone(), "/(b[0-2]|v[0-1])").prop_map(|(n, path)| Drift::Unmount(n, path)),
        2 => who.clone().prop_map(Drift::Destroy),
        1 => who.clone().prop_map(Drift::DeleteSnapshot),
        1 => who.clone().prop_map(Drift::ForeignSnapshot),
        1 => (who.clone(), prop_oneof![Just(Lock::Backup), Just(Lock::Create)])
            .prop_map(|(n, lock)| Drift::Lock(n, lock)),
        1 => who.clone().prop_map(Drift::LoseReceipts),
        1 => who.clone().prop_map(Drift::HideDisk),
        1 => (0..3_u8).prop_map(Drift::Directory),
        1 => Just(Drift::Reboot),
        1 => (who, prop_oneof![Just(SNAPSHOT), Just("by-hand")])
            .prop_map(|(n, name)| Drift::Rollback(n, name)),
    ]
}

/// What people do that no action cures.
pub fn trouble(count: usize) -> impl Strategy<Value = Drift> {
    let who = 0..count;
    prop_oneof![
        12 => (who.clone(), 0..TROUBLES.len())
            .prop_map(|(n, i)| Drift::Set(n, TROUBLES[i].0, TROUBLES[i].1)),
        2 => who.clone().prop_map(Drift::Template),
        1 => who.clone().prop_map(Drift::HalfCreated),
        1 => who.clone().prop_map(Drift::HalfDestroyed),
        1 => who.clone().prop_map(Drift::FillSlots),
        2 => who.clone().prop_map(Drift::BindInSnapshot),
        1 => (who, prop::sample::select(Lock::ALL.to_vec()))
            .prop_map(|(n, lock)| Drift::Lock(n, lock)),
    ]
}

pub fn mischief() -> impl Strategy<Value = Mischief> {
    prop_oneof![
        4 => Just(Mischief::None),
        2 => Just(Mischief::Transient),
        1 => Just(Mischief::Permanent),
        2 => Just(Mischief::UnknownBefore),
        2 => Just(Mischief::UnknownAfter),
        4 => Just(Mischief::Middle),
        2 => Just(Mischief::Lie),
        1 => Just(Mischief::Vanish),
    ]
}

/// What a host does not have, of what the shapes name.
#[derive(Clone, Copy, Debug)]
pub enum Lack {
    Nothing,
    Storage,
    /// GiB that are free.
    Space(u32),
    Snapshots,
    Bridge,
    Templates,
    Drivers,
    GuestDown,
    Guest,
    /// The ids are taken by guests elsewhere: by virtual machines, or by containers.
    Ids {
        machines: bool,
    },
    /// It is another node.
    Node,
}

pub fn lack() -> impl Strategy<Value = Lack> {
    prop_oneof![
        8 => Just(Lack::Nothing),
        1 => Just(Lack::Storage),
        3 => (0..8_u32).prop_map(Lack::Space),
        1 => Just(Lack::Snapshots),
        1 => Just(Lack::Bridge),
        1 => Just(Lack::Templates),
        1 => Just(Lack::Drivers),
        1 => Just(Lack::GuestDown),
        1 => Just(Lack::Guest),
        1 => any::<bool>().prop_map(|machines| Lack::Ids { machines }),
        1 => Just(Lack::Node),
    ]
}

/// Makes a host what it is without this.
pub fn lacking(host: &mut HostFacts, lack: Lack) {
    let bare = bare_host().host;
    host.storages = bare.storages;
    host.bridges = bare.bridges;
    host.device_majors = bare.device_majors;
    host.guests = None;
    host.node = None;
    host.elsewhere.clear();
    match lack {
        Lack::Nothing => host.templates.extend(bare.templates),
        Lack::Storage => drop(host.storages.remove("tank")),
        Lack::Space(gib) => {
            let tank = host.storages.get_mut("tank").expect("the storage");
            tank.free = Some(DiskSize::gib(gib));
        }
        Lack::Snapshots => {
            let tank = host.storages.get_mut("tank").expect("the storage");
            tank.kind = "dir".to_owned();
        }
        Lack::Bridge => host.bridges.clear(),
        Lack::Templates => host.templates.clear(),
        Lack::Drivers => host.device_majors.clear(),
        Lack::GuestDown => host.guests = Some([(guest(), Status::Stopped)].into()),
        Lack::Guest => host.guests = Some([].into()),
        Lack::Ids { machines } => {
            host.node = Some(NODE.to_owned());
            let there = Elsewhere {
                node: "pve2".to_owned(),
                machine: machines,
            };
            host.elsewhere = (0..8).map(|index| (ctid(index), there.clone())).collect();
        }
        Lack::Node => host.node = Some("pve2".to_owned()),
    }
}

fn filler(slot: u8) -> Value {
    Key::Mount(slot)
        .parse_value(&format!("/srv/foreign,mp=/filler{slot}"))
        .expect("a mount")
}

/// Does it, if the host lets it happen.
pub fn happen(world: &mut ObservedWorld, drift: &Drift) {
    let mut by_hand = |index: usize, operation: Operation| {
        let who: Ctid = ctid(index);
        if let Ok(effect) = model::operated(world, who, &operation) {
            world.absorb(who, effect);
        }
    };
    match drift {
        Drift::Set(n, key, text) => {
            let key: Key = key.parse().expect("a key");
            let value = key.parse_value(text).expect("a value");
            by_hand(
                *n,
                Operation::Set {
                    changes: Changes::from([(key, Some(value))]),
                },
            );
        }
        Drift::Stop(n) => by_hand(*n, Operation::Stop),
        Drift::Start(n) => by_hand(*n, Operation::Start),
        Drift::Unmount(n, path) => by_hand(*n, Operation::Unmount { path: path.clone() }),
        Drift::Destroy(n) => {
            by_hand(*n, Operation::Stop);
            by_hand(*n, Operation::Destroy);
        }
        Drift::DeleteSnapshot(n) => {
            by_hand(
                *n,
                Operation::DeleteSnapshot {
                    name: SNAPSHOT.to_owned(),
                },
            );
        }
        Drift::ForeignSnapshot(n) => {
            by_hand(
                *n,
                Operation::Snapshot {
                    name: "by-hand".to_owned(),
                },
            );
        }
        Drift::Lock(n, lock) => by_hand(*n, Operation::Lock { lock: *lock }),
        Drift::LoseReceipts(n) => change(world, ctid(*n), |container| {
            container
                .receipts
                .iter_mut()
                .for_each(std::collections::BTreeMap::clear);
        }),
        Drift::HideDisk(n) => change(world, ctid(*n), |container| container.receipts = None),
        Drift::Directory(n) => {
            if let Some(found) = world.host.directories.get_mut(&format!("/srv/h{n}")) {
                (found.uid, found.mode) = (12, 0o700);
            }
        }
        Drift::Reboot => *world = model::rebooted(world, "boot-1"),
        Drift::Rollback(n, name) => {
            let name = (*name).to_owned();
            by_hand(*n, Operation::Rollback { name });
        }
        Drift::Template(n) => {
            by_hand(*n, Operation::Stop);
            by_hand(*n, Operation::Template);
        }
        Drift::HalfCreated(n) => {
            world.absorb(ctid(*n), Effect::Gone);
            world.absorb(ctid(*n), Effect::Container(Arc::new(model::unfinished())));
        }
        Drift::HalfDestroyed(n) => {
            world.absorb(ctid(*n), Effect::Container(Arc::new(model::undestroyed())));
        }
        Drift::FillSlots(n) => {
            let value = |slot| (Key::Mount(slot), Some(filler(slot)));
            let changes = (0..=MAX_MOUNT_SLOT).map(value).collect();
            by_hand(*n, Operation::Set { changes });
        }
        Drift::BindInSnapshot(n) => change(world, ctid(*n), |container| {
            for snapshot in &mut container.snapshots {
                snapshot.settings.insert(Key::Mount(4), filler(4));
            }
        }),
    }
}
