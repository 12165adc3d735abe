//! Which host, and opening it.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::args::{Global, Patience};
use super::clock::{self, SystemClock};
use super::error::CliError;
use super::node::{self, Node};
use super::out::Out;
use super::state;
use crate::domain::desired::DesiredState;
use crate::domain::observed::ObservedWorld;
use crate::engine;
use crate::host::lxc::{LxcHost, LxcNeeds, LxcOptions};
use crate::host::pct::PctHost;
use crate::host::sim::{FaultPlan, Latency, SimFacts, SimHost, SimOptions};
use crate::host::{Host, ObserveRequest};

/// A host as it is named on the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum HostChoice {
    /// A simulated one, in a directory; none: the one in the state directory.
    Sim(Option<PathBuf>),
    /// Real containers by this machine's LXC, in a directory; none: the usual one.
    Lxc(Option<PathBuf>),
    /// This Proxmox VE node.
    Pct,
    /// A Proxmox VE node behind ssh.
    PctSsh(Node),
}

/// Where real containers are unless a directory is named.
const LXC_DIR: &str = "/var/lib/phoenix/lxc";

/// A text that names no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidHost {
    #[error("write the node as pct+ssh://[USER@]NODE[:PORT]: {0}")]
    Node(&'static str),
    #[error("`{0}:` wants a directory behind it")]
    NoDirectory(&'static str),
    #[error(
        "no such host: write `pct`, `pct+ssh://[USER@]NODE[:PORT]`, `sim`, `lxc`, `sim:DIR` or \
         `lxc:DIR`"
    )]
    Unknown,
}

impl FromStr for HostChoice {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(node) = text.strip_prefix("pct+ssh://") {
            return node.parse().map(Self::PctSsh);
        }
        match text.split_once(':') {
            None if text == "pct" => Ok(Self::Pct),
            None if text == "sim" => Ok(Self::Sim(None)),
            None if text == "lxc" => Ok(Self::Lxc(None)),
            Some(("sim", "")) => Err(InvalidHost::NoDirectory("sim")),
            Some(("lxc", "")) => Err(InvalidHost::NoDirectory("lxc")),
            Some(("sim", dir)) => Ok(Self::Sim(Some(dir.into()))),
            Some(("lxc", dir)) => Ok(Self::Lxc(Some(dir.into()))),
            _ => Err(InvalidHost::Unknown),
        }
    }
}

/// Where the simulated host lives.
pub(super) fn directory(global: &Global) -> Result<PathBuf, CliError> {
    match &global.host {
        Some(HostChoice::Sim(Some(dir))) => Ok(dir.clone()),
        _ => Ok(state::directory(global)?.join("sim")),
    }
}

/// The host that is named; without a name the node that this machine is, if it is one.
fn chosen(global: &Global) -> Option<HostChoice> {
    let node = || on_path("pct").then_some(HostChoice::Pct);
    global.host.clone().or_else(node)
}

/// Says which host is worked on when nobody named one.
fn announce(global: &Global, out: Out, what: &str) {
    if global.host.is_none() {
        out.remark(&format!("Working on {what} (no --host was given)."));
    }
}

fn announce_sim(global: &Global, out: Out, dir: &Path) {
    announce(
        global,
        out,
        &format!("the simulated host in {}", dir.display()),
    );
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// The facts file of the environment, if one is named.
fn facts_file() -> Option<PathBuf> {
    std::env::var_os("PHOENIX_SIM_FACTS")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

/// What the simulated host has: what a file says, else what the configuration names.
fn facts(desired: &DesiredState) -> Result<SimFacts, CliError> {
    match facts_file() {
        Some(path) => Ok(SimFacts::read(&path)?),
        None => Ok(SimFacts::offering(desired)),
    }
}

/// A host of whichever kind.
pub(super) enum AnyHost {
    Sim(Box<SimHost>),
    Lxc(LxcHost),
    Pct(Box<PctHost>),
}

impl AnyHost {
    /// What can be done with it.
    pub(super) fn get(&self) -> &dyn Host {
        match self {
            Self::Sim(host) => host.as_ref(),
            Self::Lxc(host) => host,
            Self::Pct(host) => host.as_ref(),
        }
    }

    /// How often this process looked at it.
    pub(super) fn observations(&self) -> u64 {
        match self {
            Self::Sim(host) => host.observations(),
            Self::Lxc(host) => host.observations(),
            Self::Pct(host) => host.observations(),
        }
    }
}

/// Opens the host; makes it if there is none.
pub(super) fn open(global: &Global, out: Out, desired: &DesiredState) -> Result<AnyHost, CliError> {
    match &chosen(global) {
        Some(HostChoice::Lxc(dir)) => Ok(AnyHost::Lxc(open_lxc(dir.as_deref(), desired, true)?)),
        Some(choice @ (HostChoice::Pct | HostChoice::PctSsh(_))) => {
            announce(global, out, "this Proxmox VE node");
            let host = node::open(global, choice, desired, true)?;
            Ok(AnyHost::Pct(Box::new(host)))
        }
        Some(HostChoice::Sim(_)) | None => {
            let dir = directory(global)?;
            announce_sim(global, out, &dir);
            if !matches!(global.host, Some(HostChoice::Sim(Some(_)))) {
                state::make(&dir)?;
            }
            Ok(AnyHost::Sim(Box::new(open_in(dir, desired)?)))
        }
    }
}

/// Opens this machine's LXC, to work on it or only to look at it.
fn open_lxc(dir: Option<&Path>, desired: &DesiredState, works: bool) -> Result<LxcHost, CliError> {
    Ok(LxcHost::open(LxcOptions {
        dir: dir.unwrap_or(Path::new(LXC_DIR)).to_owned(),
        needs: LxcNeeds::of(desired),
        works,
        new_identity: clock::new_uuid(),
    })?)
}

/// Opens the simulated host in a directory.
pub(super) fn open_in(dir: PathBuf, desired: &DesiredState) -> Result<SimHost, CliError> {
    let latency = match std::env::var("PHOENIX_SIM_LATENCY") {
        Ok(text) => text
            .parse()
            .map_err(|error| CliError::usage(format!("PHOENIX_SIM_LATENCY: {error}"), ""))?,
        Err(_) => Latency::default(),
    };
    let faults = match std::env::var_os("PHOENIX_SIM_FAULTS").filter(|path| !path.is_empty()) {
        Some(path) => FaultPlan::read(Path::new(&path))?,
        None => FaultPlan::default(),
    };
    Ok(SimHost::open(SimOptions {
        dir,
        facts: facts(desired)?,
        latency,
        faults,
        new_identity: clock::new_uuid(),
    })?)
}

/// Looks at everything that is declared, again while the trouble may pass.
pub(super) fn observe(
    host: &dyn Host,
    desired: &DesiredState,
    patience: Patience,
    stop: &AtomicBool,
) -> Result<ObservedWorld, CliError> {
    let request = ObserveRequest::all(desired);
    let clock = SystemClock { stop };
    let seen = engine::observe(host, &request, &patience.limits(), &clock, stop);
    match seen {
        Err(_) if stop.load(Ordering::SeqCst) => Err(CliError::Stopped),
        seen => Ok(seen?),
    }
}

/// What is seen of the host, and its identity; none: it has none yet, and is not made for being
/// looked at.
pub(super) fn look(
    global: &Global,
    out: Out,
    desired: &DesiredState,
    patience: Patience,
) -> Result<(ObservedWorld, Option<String>), CliError> {
    // Nothing is in flight while one only looks: a signal ends the process.
    let never = AtomicBool::new(false);
    match &chosen(global) {
        Some(HostChoice::Lxc(dir)) => {
            let host = open_lxc(dir.as_deref(), desired, false)?;
            let world = observe(&host, desired, patience, &never)?;
            return Ok((world, host.known_identity()));
        }
        Some(choice @ (HostChoice::Pct | HostChoice::PctSsh(_))) => {
            announce(global, out, "this Proxmox VE node");
            let host = node::open(global, choice, desired, false)?;
            let world = observe(&host, desired, patience, &never)?;
            return Ok((world, Some(host.identity()?)));
        }
        Some(HostChoice::Sim(_)) | None => {}
    }
    let dir = directory(global)?;
    let (world, identity) = if dir.join("identity").exists() {
        let host = open(global, out, desired)?;
        let world = observe(host.get(), desired, patience, &never)?;
        (world, Some(host.get().identity()?))
    } else {
        announce_sim(global, out, &dir);
        let request = ObserveRequest::all(desired);
        (facts(desired)?.untouched(&request), None)
    };
    explain(global, out, &world);
    Ok((world, identity))
}

/// Says where a simulated host on which nothing is yet has its storages from.
pub(super) fn explain(global: &Global, out: Out, world: &ObservedWorld) {
    let simulated = matches!(chosen(global), Some(HostChoice::Sim(_)) | None);
    if simulated && world.containers.is_empty() && facts_file().is_none() {
        out.remark(
            "The simulated host has no containers yet, and offers the storages, bridges and templates that the \
             configuration names (PHOENIX_SIM_FACTS=FILE says otherwise).",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_named() {
        assert_eq!("sim".parse(), Ok(HostChoice::Sim(None)));
        assert_eq!("lxc".parse(), Ok(HostChoice::Lxc(None)));
        assert_eq!("pct".parse(), Ok(HostChoice::Pct));
        assert_eq!("lxc:/c".parse(), Ok(HostChoice::Lxc(Some("/c".into()))));
        assert_eq!("sim:/a:b".parse(), Ok(HostChoice::Sim(Some("/a:b".into()))));
        for (text, error) in [
            ("pct+ssh://", InvalidHost::Node(node::NO_NAME)),
            ("sim:", InvalidHost::NoDirectory("sim")),
            ("lxc:", InvalidHost::NoDirectory("lxc")),
            ("", InvalidHost::Unknown),
            ("SIM", InvalidHost::Unknown),
            ("pct:x", InvalidHost::Unknown),
        ] {
            assert_eq!(text.parse::<HostChoice>(), Err(error), "{text}");
        }
    }
}
