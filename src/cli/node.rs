//! A Proxmox VE node, as it is named on the command line and as it is opened.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::args::Global;
use super::error::CliError;
use super::host::{HostChoice, InvalidHost};
use crate::domain::desired::DesiredState;
use crate::host::pct::{PctHost, PctNeeds, PctOptions, Place, Remote, Timeout, Timeouts};

/// `[user@]node[:port]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Node {
    destination: String,
    port: Option<u16>,
}

/// What is wrong with `pct+ssh://`.
pub(super) const NO_NAME: &str = "the node's name is missing";
const NO_PORT: &str = "the port must be a number from 1 to 65535";
const ODD_NAME: &str = "its name and its user are of letters, digits, '.', '-', '_'";
const TRAILING: &str = "nothing follows the port";

impl FromStr for Node {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.contains('/') {
            return Err(InvalidHost::Node(TRAILING));
        }
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, text),
        };
        // An IPv6 address has colons of its own, and stands in brackets.
        let (name, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, behind)) => (address, behind.strip_prefix(':')),
            None => match rest.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (rest, None),
            },
        };
        let port = port.map(|port| port.parse().ok().filter(|port| *port > 0));
        if port == Some(None) {
            return Err(InvalidHost::Node(NO_PORT));
        }
        if name.is_empty() || user == Some("") {
            return Err(InvalidHost::Node(NO_NAME));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        let odd = |word: &str| word.starts_with('-') || !word.chars().all(plain);
        if odd(name) || user.is_some_and(odd) {
            return Err(InvalidHost::Node(ODD_NAME));
        }
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        Ok(Self {
            destination: format!("{user}{name}"),
            port: port.flatten(),
        })
    }
}

/// Opens the node, to work on it or only to look at it.
pub(super) fn open(
    global: &Global,
    choice: &HostChoice,
    desired: &DesiredState,
    works: bool,
) -> Result<PctHost, CliError> {
    let place = match choice {
        HostChoice::PctSsh(node) => Place::Ssh(remote(node)),
        _ => Place::Local,
    };
    let set = global.timeouts.iter();
    Ok(PctHost::open(PctOptions {
        place,
        needs: PctNeeds::of(desired),
        works,
        timeouts: Timeouts::of(set.map(|Timeout(limit, seconds)| (*limit, *seconds))),
        root: root(),
    })?)
}

/// For phoenix's own tests only: a directory that stands for the root of a node, with stand-ins
/// of its tools in bin/.
fn root() -> String {
    std::env::var("PHOENIX_PCT_ROOT").unwrap_or_default()
}

fn remote(node: &Node) -> Remote {
    const TAKEN: [&str; 6] = [
        "HOME",
        "USER",
        "LOGNAME",
        "SSH_AUTH_SOCK",
        "XDG_RUNTIME_DIR",
        "KRB5CCNAME",
    ];
    let taken = |name: &str| Some((OsString::from(name), std::env::var_os(name)?));
    Remote {
        destination: node.destination.clone(),
        port: node.port,
        sockets: sockets(),
        config: std::env::var_os("PHOENIX_SSH_CONFIG")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from),
        environment: TAKEN.into_iter().filter_map(taken).collect(),
    }
}

/// A directory of this user alone for the sockets of ssh's connections, with a short path: a
/// socket's cannot be longer than about a hundred bytes.
fn sockets() -> Option<PathBuf> {
    const LONGEST: usize = 40;
    let user = rustix::process::geteuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("phoenix"));
    let private = runtime.filter(|dir| dir.as_os_str().len() <= LONGEST);
    let dir = private
        .into_iter()
        .chain([PathBuf::from(format!("/tmp/phoenix-{user}"))])
        .find(|dir| is_private(dir, user));
    if dir.is_none() {
        tracing::warn!("no private directory for ssh's connection: every command connects anew");
    }
    dir
}

/// Whether a directory is there, or can be made, and is nobody else's.
fn is_private(dir: &Path, user: u32) -> bool {
    let _ = fs::DirBuilder::new().mode(0o700).create(dir);
    fs::symlink_metadata(dir)
        .is_ok_and(|facts| facts.is_dir() && facts.uid() == user && facts.mode() & 0o077 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Result<(String, Option<u16>), InvalidHost> {
        let node = text.parse::<Node>()?;
        Ok((node.destination, node.port))
    }

    #[test]
    fn nodes_are_named_as_in_a_url() {
        let named = |destination: &str, port| Ok((destination.to_owned(), port));
        assert_eq!(node("pve1"), named("pve1", None));
        assert_eq!(
            node("root@pve1.lan:2222/"),
            named("root@pve1.lan", Some(2222))
        );
        assert_eq!(node("root@[fd00::1]:22"), named("root@fd00::1", Some(22)));
        assert_eq!(node("10.0.0.1"), named("10.0.0.1", None));
        for (text, why) in [
            ("", NO_NAME),
            ("root@", NO_NAME),
            ("@pve1", NO_NAME),
            ("pve1:", NO_PORT),
            ("pve1:0", NO_PORT),
            ("pve1:ssh", NO_PORT),
            ("-oProxyCommand=x", ODD_NAME),
            ("root@pve1 x", ODD_NAME),
            ("-x@pve1", ODD_NAME),
            ("pve1/etc", TRAILING),
        ] {
            assert_eq!(node(text), Err(InvalidHost::Node(why)), "{text}");
        }
    }

    #[test]
    fn a_directory_that_others_can_enter_is_not_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let user = rustix::process::geteuid().as_raw();
        let dir = tempfile::tempdir().expect("a directory");
        let own = dir.path().join("own");
        assert!(is_private(&own, user));
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).expect("opened");
        assert!(!is_private(&own, user));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).expect("linked");
        assert!(!is_private(&link, user));
    }
}
