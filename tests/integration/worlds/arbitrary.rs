//! Deeds without any sense: what no plan asks for, and a host must refuse.

use phoenix::domain::action::{Action, CloneSpec, CreateSpec, DirectorySpec, Mark};
use phoenix::domain::desired::{HealthCheck, Place, Script, ScriptKind, Template};
use phoenix::domain::ids::{Ctid, Digest, RunId};
use phoenix::domain::model::{self, Operation};
use phoenix::domain::observed::{Lock, ObservedWorld};
use phoenix::domain::refusal::Refusal;
use phoenix::domain::setting::{Changes, Key, Value};
use phoenix::domain::units::DiskSize;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::build::ctid;
use super::generate::{Drift, Lack, drift, happen, lack, lacking, trouble};
use super::session::JOURNAL;

/// How many containers the deeds are about.
const COUNT: usize = 3;

/// One deed.
#[derive(Clone, Debug)]
pub enum Deed {
    Action(Ctid, Action),
    /// An action whose process is killed in the middle.
    Killed(Ctid, Action),
    Operation(Ctid, Operation),
    Drift(Drift),
    Lack(Lack),
}

const PAIRS: [(&str, Option<&str>); 23] = [
    ("memory", Some("512")),
    ("memory", Some("few")),
    ("memory", None),
    ("onboot", Some("1")),
    ("unprivileged", Some("1")),
    ("nonsense", Some("1")),
    ("nonsense", None),
    ("protection", Some("1")),
    ("protection", None),
    ("features", Some("nesting=1")),
    ("net0", Some("name=eth0,bridge=vmbr0,ip=dhcp")),
    ("net0", Some("name=eth0,bridge=vmbr9,ip=dhcp")),
    ("net0", None),
    ("mp0", Some("tank:1,mp=/v0")),
    ("mp1", Some("nowhere:1,mp=/v1")),
    ("mp2", Some("local:0,mp=/directory")),
    ("mp3", Some("/srv/h0,mp=/b0")),
    ("mp0", None),
    ("mp2", None),
    ("mp3", None),
    ("unused0", None),
    ("lock", Some("backup")),
    ("template", Some("0")),
];

fn changes() -> impl Strategy<Value = Changes> {
    vec(select(PAIRS.to_vec()), 0..3).prop_map(|pairs| {
        let change = |(name, text): (&str, Option<&str>)| {
            let key: Key = name.parse().expect("a key");
            let value = text.map(|text| {
                key.parse_value(text)
                    .unwrap_or_else(|_| Value::Text(text.to_owned()))
            });
            (key, value)
        };
        pairs.into_iter().map(change).collect()
    })
}

fn who() -> impl Strategy<Value = Ctid> {
    (0..COUNT).prop_map(ctid)
}

fn name() -> impl Strategy<Value = String> {
    select(vec!["ready", "by-hand", "current", "x!"]).prop_map(str::to_owned)
}

fn storage() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just("tank"), 1 => Just("local"), 1 => Just("nowhere")].prop_map(str::to_owned)
}

fn template() -> impl Strategy<Value = Template> {
    select(vec!["near.tar.zst", "far.tar.zst", "lost.tar.zst"]).prop_map(|file| Template {
        file: file.to_owned(),
        storage: None,
    })
}

fn mark(ctid: Ctid) -> Mark {
    Mark {
        journal: JOURNAL,
        ctid,
    }
}

fn create() -> impl Strategy<Value = Action> {
    (template(), storage(), 0..4_u32, any::<bool>()).prop_map(
        |(template, storage, gib, unprivileged)| {
            Action::Create(Box::new(CreateSpec {
                template,
                storage,
                disk: DiskSize::gib(gib),
                unprivileged,
                settings: [].into(),
                mark: mark(ctid(0)),
            }))
        },
    )
}

fn clone() -> impl Strategy<Value = Action> {
    let hostname = prop_oneof![5 => Just("copy"), 1 => Just("bad_name!")];
    (who(), name(), hostname, storage()).prop_map(|(source, snapshot, hostname, storage)| {
        Action::Clone(Box::new(CloneSpec {
            source,
            snapshot,
            hostname: hostname.to_owned(),
            storage,
            mark: mark(source),
        }))
    })
}

fn script() -> impl Strategy<Value = Action> {
    any::<(bool, bool)>().prop_map(|(host, feature)| {
        Action::RunScript(Box::new(Script {
            name: "f0".to_owned(),
            kind: if feature {
                ScriptKind::Feature
            } else {
                ScriptKind::Application
            },
            place: if host { Place::Host } else { Place::Container },
            path: "script".into(),
            content: Digest::of(b"script"),
            arguments: Vec::new(),
            inputs: Digest::of(b""),
            open_inputs: None,
        }))
    })
}

fn check() -> Action {
    Action::CheckHealth(Box::new(HealthCheck {
        command: vec!["true".to_owned()],
        retries: 1,
        interval_s: 1,
        timeout_s: 1,
        open_digest: None,
    }))
}

fn action() -> impl Strategy<Value = Action> {
    let disks = ["rootfs", "mp0", "mp2", "mp3", "mp9", "memory"];
    let disk = select(disks.to_vec()).prop_map(|key| key.parse::<Key>().expect("a key"));
    let directory = Action::EnsureDirectory(DirectorySpec {
        path: "/srv/h0".to_owned(),
        owner: Some((33, 33)),
        mode: None,
    });
    prop_oneof![
        1 => template().prop_map(Action::FetchTemplate),
        4 => create(),
        4 => clone(),
        1 => option::of(who()).prop_map(|source| Action::Discard { source }),
        1 => Just(Action::Unlock),
        1 => Just(directory),
        3 => changes().prop_map(|changes| Action::Configure { changes, was: [].into() }),
        3 => (disk, 0..9_u32).prop_map(|(disk, gib)| Action::Resize {
            disk,
            size: DiskSize::gib(gib),
            was: None,
        }),
        2 => Just(Action::Start),
        1 => Just(Action::Restart { keys: Vec::new() }),
        1 => script(),
        1 => Just(check()),
        2 => name().prop_map(|name| Action::Snapshot { name }),
        1 => Just(Action::Destroy),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let path = select(vec!["/v0", "/b0", "/nowhere"]).prop_map(str::to_owned);
    prop_oneof![
        2 => changes().prop_map(|changes| Operation::Set { changes }),
        1 => Just(Operation::Start),
        2 => Just(Operation::Stop),
        1 => path.prop_map(|path| Operation::Unmount { path }),
        2 => Just(Operation::Destroy),
        1 => select(Lock::ALL.to_vec()).prop_map(|lock| Operation::Lock { lock }),
        3 => Just(Operation::Unlock),
        2 => Just(Operation::Template),
        1 => name().prop_map(|name| Operation::Snapshot { name }),
        1 => name().prop_map(|name| Operation::DeleteSnapshot { name }),
        1 => name().prop_map(|name| Operation::Rollback { name }),
    ]
}

pub fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        16 => (who(), action()).prop_map(|(who, action)| Deed::Action(who, action)),
        1 => (who(), action()).prop_map(|(who, action)| Deed::Killed(who, action)),
        8 => (who(), operation()).prop_map(|(who, operation)| Deed::Operation(who, operation)),
        1 => drift(COUNT).prop_map(Deed::Drift),
        1 => trouble(COUNT).prop_map(Deed::Drift),
        1 => lack().prop_map(Deed::Lack),
    ]
}

/// Does it, or tells why the host refuses it.
pub fn perform(world: &mut ObservedWorld, deed: &Deed) -> Result<(), Refusal> {
    match deed {
        Deed::Action(who, action) => {
            let effect = model::after(world, *who, action, RunId::NONE)?;
            world.absorb(*who, effect);
        }
        Deed::Killed(who, action) => {
            for (ctid, effect) in model::killed(world, *who, action)? {
                world.absorb(ctid, effect);
            }
        }
        Deed::Operation(who, operation) => {
            let effect = model::operated(world, *who, operation)?;
            world.absorb(*who, effect);
        }
        Deed::Drift(drift) => happen(world, drift),
        Deed::Lack(lack) => lacking(&mut world.host, *lack),
    }
    Ok(())
}
