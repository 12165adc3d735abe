//! Opening the node: what must be there is looked for at once, and said at once if it is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::link::{Link, Place};
use super::look::{take, text};
use super::timeouts::Timeouts;
use super::{Known, PctHost};
use crate::domain::desired::{DesiredState, Origin, Place as Runs};
use crate::domain::ids::Ctid;
use crate::host::HostError;

/// How to open a node.
#[derive(Debug)]
pub struct PctOptions {
    /// Where it is.
    pub place: Place,
    /// What is declared: what only some containers need is asked for only then.
    pub needs: PctNeeds,
    /// Whether containers are to be worked on, not only looked at.
    pub works: bool,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// What all paths of the node begin with; only phoenix's own tests say something here.
    pub root: String,
}

/// What the declared containers need of a look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PctNeeds {
    /// Containers in which scripts run, so that their receipts are wanted.
    pub(super) scripted: BTreeSet<Ctid>,
    /// The archives that containers are made from.
    pub(super) templates: BTreeMap<Ctid, String>,
}

impl PctNeeds {
    /// Those of a configuration.
    #[must_use]
    pub fn of(desired: &DesiredState) -> Self {
        let mut needs = Self::default();
        for (ctid, container) in &desired.containers {
            let mut scripts = container.features.iter().chain(&container.application);
            if scripts.any(|script| script.place == Runs::Container) {
                needs.scripted.insert(*ctid);
            }
            if let Origin::Template(template) = &container.origin {
                needs.templates.insert(*ctid, template.file.clone());
            }
        }
        needs
    }
}

/// Why a node cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Not root there.
    #[error("containers of Proxmox VE need root, and phoenix would work {0}")]
    NotRoot(String),
    /// Tools are missing.
    #[error("these tools are missing {place}: {}", tools.join(", "))]
    NoTools {
        /// Where.
        place: String,
        /// Which.
        tools: Vec<String>,
    },
    /// The answer makes no sense.
    #[error("{0} does not answer as a node does")]
    NoAnswer(String),
    /// It cannot be reached.
    #[error("{0}")]
    Host(#[from] HostError),
}

impl Unusable {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::NotRoot(_) => "run it with sudo on the node, or name root: --host \
                                 pct+ssh://root@NODE"
                .into(),
            Self::NoTools { tools, .. } if tools.iter().any(|tool| tool == "pct") => {
                "is it a Proxmox VE node? From another machine write --host pct+ssh://root@NODE; \
                 to try phoenix, --host sim"
                    .into()
            }
            Self::NoTools { .. } => {
                "install them; they belong to Debian's coreutils, util-linux, tar, findutils and \
                 Proxmox VE's lxc-pve"
                    .into()
            }
            Self::NoAnswer(_) => {
                "its root's login shell must be a POSIX shell (sh, bash, dash), and print nothing \
                 by itself"
                    .into()
            }
            Self::Host(error) => match error.message.contains("ssh") {
                true => "try `ssh NODE true` by hand: phoenix uses your own keys, configuration \
                         and known hosts, and asks for nothing"
                    .into(),
                false => String::new(),
            },
        }
    }
}

/// The script that says who is there.
const HELLO: &str = include_str!("sh/hello.sh");

impl PctHost {
    /// Opens a node.
    ///
    /// # Errors
    /// When it cannot be reached or lacks something.
    pub fn open(options: PctOptions) -> Result<Self, Unusable> {
        let link = Link {
            place: options.place,
            root: options.root,
            timeouts: options.timeouts,
        };
        let place = match &link.place {
            Place::Local => "on this machine".to_owned(),
            Place::Ssh(remote) => format!("on {}", remote.destination),
        };
        let answer = link.ask(HELLO, &[], &[])?;
        let hello = Hello::read(&answer);
        let user = hello
            .user
            .ok_or_else(|| Unusable::NoAnswer(place.clone()))?;
        if user != "0" {
            return Err(Unusable::NotRoot(format!("as user {user} {place}")));
        }
        if !hello.missing.is_empty() {
            return Err(Unusable::NoTools {
                place,
                tools: hello.missing,
            });
        }
        Ok(Self {
            identity: format!("pct {} {}", hello.node, hello.machine),
            link,
            needs: options.needs,
            works: options.works,
            known: Mutex::new(Known::default()),
            observations: 0.into(),
        })
    }
}

/// Who is there.
#[derive(Debug, Default)]
struct Hello {
    node: String,
    machine: String,
    user: Option<String>,
    missing: Vec<String>,
}

impl Hello {
    fn read(answer: &[u8]) -> Self {
        let mut hello = Self::default();
        let mut rest = answer;
        while let (Some(name), Some(value)) = (take(&mut rest), take(&mut rest)) {
            let value = text(value);
            match text(name).as_str() {
                "node" => hello.node = value,
                "machine" => hello.machine = value,
                "user" => hello.user = Some(value),
                "missing" => hello.missing.push(value),
                _ => {}
            }
        }
        hello
    }
}
