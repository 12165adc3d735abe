//! Declared worlds, from small shapes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use phoenix::domain::desired::{
    DesiredBind, DesiredContainer, DesiredState, DesiredVolume, HealthCheck, OnUnknown, Origin,
    Place, Script, ScriptKind, Template,
};
use phoenix::domain::ids::{Ctid, Digest};
use phoenix::domain::observed::{HostFacts, ObservedWorld, Storage, TemplateState};
use phoenix::domain::options::{Net, Options, Startup};
use phoenix::domain::secret::{Secret, Secrets};
use phoenix::domain::setting::{Key, Settings, Value};
use phoenix::domain::units::DiskSize;

pub fn ctid(index: usize) -> Ctid {
    Ctid::try_from(100 + u32::try_from(index).expect("a small index")).expect("an id")
}

/// Where the fleet belongs; most hosts here do not say where they are.
pub const NODE: &str = "pve1";
pub const SNAPSHOT: &str = "ready";
/// Two values of one secret: of a declared world both are known.
const SECRETS: [&str; 2] = ["first-of-two", "second-of-two"];
pub const LINES: [(&str, &str); 5] = [
    ("lxc.mount.auto", "sys:rw"),
    ("lxc.cap.drop", "sys_rawio"),
    ("lxc.apparmor.profile", "unconfined"),
    ("lxc.environment", "TOKEN=first-of-two"),
    ("lxc.environment", "TOKEN=second-of-two"),
];

/// One container, small enough to be read in a failing case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Index of the container it is cloned from, if that is an earlier one with a snapshot.
    pub parent: Option<usize>,
    pub needs: Vec<usize>,
    pub memory: u64,
    pub swap: Option<u64>,
    pub onboot: Option<bool>,
    pub startup: Option<u32>,
    pub nameserver: bool,
    pub nesting: Option<bool>,
    pub lines: Vec<usize>,
    pub gpu: bool,
    pub privileged: bool,
    pub disk: u32,
    pub address: u8,
    pub hwaddr: bool,
    /// Paths among `/b0` … `/b2`, with the host directory's number.
    pub binds: Vec<(u8, u8)>,
    pub owned_binds: bool,
    /// Paths among `/v0`, `/v1`, with a size.
    pub volumes: Vec<(u8, u32)>,
    /// Content of the features `f0` … , and whether each runs on the host.
    pub features: Vec<(u8, bool)>,
    pub application: Option<u8>,
    pub health: bool,
    pub snapshot: bool,
    pub downloads: bool,
    pub stop_on_unknown: bool,
    /// Needs a guest that phoenix does not manage.
    pub external: bool,
}

/// The guest that phoenix does not manage.
pub fn guest() -> Ctid {
    Ctid::try_from(8000).expect("an id")
}

fn settings(shape: &Shape, index: usize) -> Settings {
    let mut settings = Settings::new();
    settings.insert(Key::Hostname, Value::Text(format!("ct{index}")));
    settings.insert(Key::Memory, Value::Number(shape.memory));
    settings.insert(Key::Cores, Value::Number(1));
    if let Some(swap) = shape.swap {
        settings.insert(Key::Swap, Value::Number(swap));
    }
    if let Some(onboot) = shape.onboot {
        settings.insert(Key::Onboot, Value::Flag(onboot));
    }
    if let Some(order) = shape.startup {
        let startup = Startup {
            order: Some(order),
            up: Some(5),
            down: Some(5),
        };
        settings.insert(Key::Startup, Value::Startup(startup));
    }
    if shape.nameserver {
        settings.insert(Key::Nameserver, Value::Text("1.1.1.1 8.8.8.8".to_owned()));
    }
    if let Some(nesting) = shape.nesting {
        let pair = ("nesting".to_owned(), u8::from(nesting).to_string());
        settings.insert(
            Key::Features,
            Value::Options(Options(BTreeMap::from([pair]))),
        );
    }
    let index = u8::try_from(index).expect("a small index");
    let net = Net {
        name: "eth0".to_owned(),
        bridge: Some("vmbr0".to_owned()),
        ip: Some(format!("10.0.{index}.{}/24", shape.address)),
        gw: Some(format!("10.0.{index}.1")),
        hwaddr: shape
            .hwaddr
            .then(|| format!("02:00:00:00:{index:02X}:{:02X}", shape.address)),
        other: BTreeMap::new(),
    };
    settings.insert(Key::Net(0), net.into());
    for line in &shape.lines {
        let (key, value) = LINES[*line];
        settings.insert(
            Key::Lxc(key.to_owned()),
            Value::Lines(vec![value.to_owned()]),
        );
    }
    settings
}

fn script(kind: ScriptKind, name: String, content: u8, host: bool) -> Script {
    Script {
        name,
        kind,
        place: if host { Place::Host } else { Place::Container },
        path: "script".into(),
        content: Digest::of(&[content]),
        arguments: Vec::new(),
        inputs: Digest::of(b""),
        open_inputs: None,
    }
}

fn health() -> HealthCheck {
    let mut check = HealthCheck {
        command: vec!["ask".to_owned(), SECRETS[0].to_owned()],
        retries: 3,
        interval_s: 5,
        timeout_s: 10,
        open_digest: None,
    };
    let open = secrets().open_check(&check);
    check.open_digest = open.map(|open| open.digest());
    check
}

fn secrets() -> Secrets {
    Secrets::of(SECRETS).expect("two")
}

/// The declared world of some shapes. What a shape asks for and cannot have is left out, so that
/// every shape gives a valid declaration.
pub fn fleet(shapes: &[Shape]) -> DesiredState {
    let mut state = DesiredState {
        secrets: secrets(),
        ..DesiredState::default()
    };
    for (index, shape) in shapes.iter().enumerate() {
        let container = container(shapes, index, shape, &state);
        let externals = container.externals.iter();
        let named = externals.map(|guest| (*guest, "guest".to_owned()));
        state.externals.extend(named);
        state.containers.insert(ctid(index), Arc::new(container));
    }
    state
}

fn container(
    shapes: &[Shape],
    index: usize,
    shape: &Shape,
    before: &DesiredState,
) -> DesiredContainer {
    let parent = shape
        .parent
        .filter(|parent| *parent < index && shapes[*parent].snapshot);
    let source = parent.and_then(|parent| before.containers.get(&ctid(parent)));
    let origin = match parent {
        Some(parent) => Origin::Clone {
            source: ctid(parent),
            snapshot: SNAPSHOT.to_owned(),
        },
        None => Origin::Template(Template {
            file: if shape.downloads {
                "far.tar.zst"
            } else {
                "near.tar.zst"
            }
            .to_owned(),
            storage: Some("local".to_owned()),
        }),
    };
    let binds = if shape.snapshot {
        &[][..]
    } else {
        &shape.binds[..]
    };
    let disk = source.map_or(shape.disk, |source| {
        shape
            .disk
            .max(u32::try_from(source.disk.get() >> 30).expect("a small disk"))
    });
    let unprivileged = source.map_or(!shape.privileged, |source| source.unprivileged);
    DesiredContainer {
        ctid: ctid(index),
        name: format!("ct{index}"),
        origin,
        node: Some(NODE.to_owned()),
        storage: "tank".to_owned(),
        disk: DiskSize::gib(disk),
        unprivileged,
        settings: settings(shape, index),
        gpus: shape.gpu.then_some(0).into_iter().collect(),
        binds: unique(binds)
            .map(|(path, host)| DesiredBind {
                // Nor may the owner of a new one depend on who comes first.
                host_path: format!("/srv/h{host}{}", if unprivileged { "" } else { "-root" }),
                path: format!("/b{path}"),
                // Two containers must not quarrel over one directory.
                owner: shape
                    .owned_binds
                    .then_some((33, 33))
                    .filter(|_| host as usize == index),
                mode: (shape.owned_binds && host as usize == index).then_some(0o750),
                declared_at: format!("mount_points[{path}]"),
            })
            .collect(),
        volumes: unique(&shape.volumes)
            .map(|(path, size)| DesiredVolume {
                name: format!("v{path}"),
                storage: "tank".to_owned(),
                size: DiskSize::gib(size),
                path: format!("/v{path}"),
                declared_at: format!("volumes[{path}]"),
            })
            .collect(),
        features: (shape.features.iter().enumerate())
            .map(|(n, (content, host))| {
                script(ScriptKind::Feature, format!("f{n}"), *content, *host)
            })
            .collect(),
        application: shape
            .application
            .map(|content| script(ScriptKind::Application, "app.sh".to_owned(), content, false)),
        health: shape.health.then(health),
        snapshot: shape.snapshot.then(|| SNAPSHOT.to_owned()),
        dependencies: shape
            .needs
            .iter()
            .filter(|need| **need < index)
            .map(|n| ctid(*n))
            .collect(),
        externals: shape.external.then(guest).into_iter().collect(),
        boot_order: shape.startup,
        unmanaged: Vec::new(),
        on_unknown: if shape.stop_on_unknown {
            OnUnknown::Stop
        } else {
            OnUnknown::Retry
        },
        document: Secret::default(),
    }
}

fn unique<T: Copy>(pairs: &[(u8, T)]) -> impl Iterator<Item = (u8, T)> {
    pairs
        .iter()
        .copied()
        .collect::<BTreeMap<u8, T>>()
        .into_iter()
}

/// A host with everything that the shapes name, and no container.
pub fn bare_host() -> ObservedWorld {
    let storage = |kind: &str| Storage {
        kind: kind.to_owned(),
        free: None,
    };
    ObservedWorld {
        host: HostFacts {
            boot_id: "boot-0".to_owned(),
            storages: BTreeMap::from([
                ("tank".to_owned(), storage("zfspool")),
                ("local".to_owned(), storage("dir")),
            ]),
            bridges: BTreeSet::from(["vmbr0".to_owned()]),
            templates: BTreeMap::from([
                ("near.tar.zst".to_owned(), TemplateState::Present),
                ("far.tar.zst".to_owned(), TemplateState::Downloadable),
            ]),
            directories: BTreeMap::new(),
            device_majors: BTreeMap::from([
                ("nvidia".to_owned(), 195),
                ("nvidia-uvm".to_owned(), 511),
            ]),
            guests: None,
            ..HostFacts::default()
        },
        containers: BTreeMap::new(),
    }
}
