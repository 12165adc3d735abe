//! Containers of a Proxmox VE node, on it or over ssh.
//!
//! What is there is read from files, in one round trip, by a script (`sh/look.sh`); what is done
//! is done by `pct`, as few calls as can be (`argv.rs`). Whether it worked is never taken from
//! an exit code alone: the engine looks again.

mod act;
mod argv;
pub mod conf;
mod failure;
mod fallback;
mod link;
mod look;
mod open;
mod quote;
mod scripts;
mod tar;
#[cfg(test)]
mod tests;
mod timeouts;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Applied, Call, Host, HostError, ObserveRequest};
use crate::domain::action::Action;
use crate::domain::ids::Ctid;
use crate::domain::observed::{HostFacts, ObservedWorld, TemplateState};
use crate::domain::refusal::FailureKind;

use self::link::Link;
use self::look::{LOOK, Look, Question};
use self::world::Containers;

pub use self::link::{Place, Remote};
pub use self::open::{PctNeeds, PctOptions, Unusable};
pub use self::timeouts::{InvalidTimeout, Limit, Timeout, Timeouts};

/// How often a held lock is looked at again.
const PAUSE: Duration = Duration::from_millis(500);

/// A Proxmox VE node.
#[derive(Debug)]
pub struct PctHost {
    link: Link,
    identity: String,
    needs: PctNeeds,
    /// Whether to wait for what an earlier phoenix left running before anything is looked at.
    works: bool,
    known: Mutex<Known>,
    observations: AtomicU64,
}

/// What was seen last.
#[derive(Debug, Default)]
struct Known {
    /// The node's own facts, without directories: they hold for a run.
    facts: Option<HostFacts>,
    /// Volume ids of template archives.
    archives: BTreeSet<String>,
    /// The storage that a template is downloaded to when none is named.
    template_storage: Option<String>,
    /// The containers, with the texts that were compared.
    containers: Containers,
    /// The sockets of running containers.
    running: BTreeMap<Ctid, String>,
    /// What running containers were started with.
    given: BTreeMap<Ctid, String>,
}

impl PctHost {
    /// How often this process looked at the node.
    #[must_use]
    pub fn observations(&self) -> u64 {
        self.observations.load(Ordering::SeqCst)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One look, after which what an earlier phoenix left running has ended.
    fn settled(&self, request: &ObserveRequest) -> Result<Look, HostError> {
        let patience = self.link.timeouts.duration(Limit::Leftover);
        let began = Instant::now();
        let mut said = false;
        loop {
            let look = self.look(request)?;
            if !self.works || look.held.is_empty() {
                return Ok(look);
            }
            if began.elapsed() > patience {
                let busy: Vec<String> = look.held.iter().map(Ctid::to_string).collect();
                return Err(HostError::new(
                    FailureKind::Permanent,
                    format!(
                        "after {} s, another or an earlier phoenix is still at work on {}; wait \
                         for it, or end it (fuser /run/phoenix/{}.lock tells who it is)",
                        patience.as_secs(),
                        busy.join(", "),
                        busy[0]
                    ),
                ));
            }
            if !said {
                tracing::warn!(containers = ?look.held, "waiting for what an earlier run left running");
                said = true;
            }
            thread::sleep(PAUSE);
        }
    }

    fn look(&self, request: &ObserveRequest) -> Result<Look, HostError> {
        let everything = request.containers.is_none();
        let scripted = self.needs.scripted.iter().copied();
        let wanted = |ctid: &Ctid| {
            let all = request.containers.as_ref();
            all.is_none_or(|wanted| wanted.contains(ctid))
        };
        let question = Question {
            containers: request.containers.as_ref(),
            storages: everything && self.known().facts.is_none(),
            scripted: scripted.filter(wanted).collect(),
        };
        let mut input = Vec::new();
        for path in &request.directories {
            input.extend_from_slice(path.as_bytes());
            input.push(0);
        }
        let answer = self.link.ask(LOOK, &question.arguments(), &input)?;
        let look = look::read(&answer)
            .map_err(|broken| HostError::new(FailureKind::Transient, broken.to_string()))?;
        if let Some(text) = look.storages.as_deref()
            && !text.lines().any(|line| line.starts_with("Name "))
        {
            let why = text.trim().lines().last().unwrap_or("it printed nothing");
            let message = format!("`pvesm status` does not tell the storages: {why}");
            return Err(HostError::new(FailureKind::Permanent, message));
        }
        match look.files {
            Some(_) => Ok(look),
            None => self.ask_pct(look, request),
        }
    }

    /// The configurations cannot be read: `pct` is asked for them.
    fn ask_pct(&self, look: Look, request: &ObserveRequest) -> Result<Look, HostError> {
        if request.containers.is_none() {
            tracing::warn!(
                "/etc/pve/nodes cannot be read: asking `pct`, which takes seconds a container"
            );
        }
        let wanted = request.containers.iter().flatten().map(Ctid::to_string);
        let wanted: Vec<String> = wanted.collect();
        let answer = self.link.ask(fallback::ASK, &wanted, &[])?;
        let look = fallback::complete(look, &answer);
        look.ok_or_else(|| {
            HostError::new(
                FailureKind::Transient,
                "neither /etc/pve/nodes nor `pct list` tells what is there; is the cluster file \
                 system mounted (systemctl status pve-cluster)?",
            )
        })
    }

    /// What `pveam` can download is asked for only when a template is missing that is needed.
    fn downloadable(&self, facts: &mut HostFacts, seen: &Containers) -> Result<(), HostError> {
        let missing = self.needs.templates.iter().any(|(ctid, file)| {
            let taken = seen.seen.contains_key(ctid) || facts.elsewhere.contains_key(ctid);
            !taken && !facts.templates.contains_key(file)
        });
        if !missing {
            return Ok(());
        }
        let listed = self
            .link
            .ask("timeout 60 pveam available 2>/dev/null; exit 0", &[], &[])?;
        for file in world::available(&look::text(&listed)) {
            facts
                .templates
                .entry(file)
                .or_insert(TemplateState::Downloadable);
        }
        Ok(())
    }

    /// What is seen of everything; the node's facts are kept.
    fn observe_all(&self, request: &ObserveRequest) -> Result<ObservedWorld, HostError> {
        let look = self.settled(request)?;
        let containers = world::containers(&look);
        let mut facts = world::facts(&look);
        if look.storages.is_none()
            && let Some(known) = &self.known().facts
        {
            facts.storages.clone_from(&known.storages);
        }
        self.downloadable(&mut facts, &containers)?;
        let host = facts.clone();
        facts.directories.clear();
        let mut known = self.known();
        known.archives = look.templates.iter().cloned().collect();
        known.template_storage = look.template_storages.first().cloned();
        known.facts = Some(facts);
        known.running = look.running;
        known.given = look.given;
        let seen = containers.seen.clone();
        known.containers = containers;
        Ok(ObservedWorld {
            host,
            containers: seen,
        })
    }

    /// What is seen of some containers; everything else is as it was.
    fn observe_some(
        &self,
        request: &ObserveRequest,
        wanted: &BTreeSet<Ctid>,
    ) -> Result<ObservedWorld, HostError> {
        let look = self.look(request)?;
        let found = world::containers(&look);
        let seen = found.seen.clone();
        let mut known = self.known();
        let mut host = known.facts.clone().unwrap_or_default();
        host.boot_id.clone_from(&look.boot);
        host.directories.clone_from(&look.directories);
        for ctid in wanted {
            known.containers.seen.remove(ctid);
            known.containers.texts.remove(ctid);
        }
        known.containers.seen.extend(found.seen);
        known.containers.texts.extend(found.texts);
        known.running = look.running;
        known.given = look.given;
        Ok(ObservedWorld {
            host,
            containers: seen,
        })
    }
}

impl Host for PctHost {
    fn identity(&self) -> Result<String, HostError> {
        Ok(self.identity.clone())
    }

    fn observe(&self, request: &ObserveRequest) -> Result<ObservedWorld, HostError> {
        self.observations.fetch_add(1, Ordering::SeqCst);
        match &request.containers {
            None => self.observe_all(request),
            Some(wanted) => self.observe_some(request, wanted),
        }
    }

    fn apply(&self, call: &Call<'_>, action: &Action) -> Result<Applied, HostError> {
        self.act(call, action)
    }
}

/// Reads any bytes as everything that is read of a node: what a look answers, a container's
/// configuration, what a command said.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8]) {
    if let Ok(look) = look::read(bytes) {
        let _ = world::containers(&look);
        let _ = world::facts(&look);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let read = conf::Conf::parse(text);
    assert_eq!(read.to_string(), text, "it prints what it read");
    if let Ok(ctid) = Ctid::try_from(950) {
        use crate::domain::observed::Status;
        let _ = conf::observed(&read, ctid, Status::Running, None);
    }
    let _ = failure::kind(1, text);
    let _ = failure::reason(text);
}
