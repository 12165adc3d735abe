//! The host's ends of the containers' interfaces.
//!
//! They are named by phoenix and not at random, so that what a killed start or change left of
//! them on the host is known for what it is. A pair that came to be goes with its container.

use std::fs;
use std::path::Path;

use super::super::HostError;
use super::super::process::Job;
use super::layout::Layout;
use super::work::Work;
use crate::domain::ids::{Ctid, Digest};
use crate::domain::setting::{Key, Settings, Value};

/// The kernel's limit less one: a pair that is being made has a `p` behind the name.
const LONGEST: usize = 14;
/// So much of a name keeps directories apart.
const APART: usize = 6;
/// As many interfaces as a container can have.
const SLOTS: std::ops::RangeInclusive<u8> = 0..=31;
const INTERFACES: &str = "/sys/class/net";

/// The name of the host's end of an interface: the same for each start, and no other's on this
/// machine, whatever directories there are.
fn host_end(layout: &Layout, ctid: Ctid, slot: u8) -> String {
    let number = ctid.to_string();
    let dir = layout.dir.as_os_str().as_encoded_bytes();
    let digest = Digest::of_parts([dir, number.as_bytes(), &[slot]]).to_string();
    let readable = format!("v{number}i{slot}-");
    let name = match readable.len() + APART <= LONGEST {
        true => readable,
        false => "v".to_owned(),
    };
    let rest = LONGEST - name.len();
    name + &digest[..rest]
}

/// Whether both ends of a pair are on the host.
fn is_half_made(name: &str) -> bool {
    let index = |name: &Path, file: &str| -> Option<u32> {
        let text = fs::read_to_string(Path::new(INTERFACES).join(name).join(file)).ok()?;
        text.trim().parse().ok()
    };
    let own = Path::new(name);
    let (Some(here), Some(there)) = (index(own, "ifindex"), index(own, "iflink")) else {
        return false;
    };
    if here == there {
        return false;
    }
    let all = fs::read_dir(INTERFACES).into_iter().flatten().flatten();
    // Indices of other namespaces may be the same by chance, and do not point back.
    all.map(|entry| entry.file_name()).any(|other| {
        let other = Path::new(&other);
        index(other, "ifindex") == Some(there) && index(other, "iflink") == Some(here)
    })
}

impl Work<'_> {
    /// The name of the host's end of an interface of this container.
    pub(super) fn host_end(&self, slot: u8) -> String {
        host_end(self.layout(), self.ctid, slot)
    }

    /// What `lxc-start` is told, so that it gives them these names.
    pub(super) fn named_ends(&self, settings: &Settings) -> Vec<String> {
        let pairs = settings
            .iter()
            .filter_map(|(key, value)| match (key, value) {
                (Key::Net(slot), Value::Net(net)) => {
                    let kind = net.other.get("type").map_or("veth", String::as_str);
                    (kind == "veth").then_some(*slot)
                }
                _ => None,
            });
        let define = |slot| format!("lxc.net.{slot}.veth.pair={}", self.host_end(slot));
        pairs
            .flat_map(|slot| ["-s".to_owned(), define(slot)])
            .collect()
    }

    /// Removes what was left of interfaces that never came to be.
    pub(super) fn unplug_half_made(&self) -> Result<(), HostError> {
        self.unplug(is_half_made)
    }

    /// Removes the ends of a container that does not run.
    pub(super) fn unplug_all(&self) -> Result<(), HostError> {
        self.unplug(|_| true)
    }

    fn unplug(&self, which: impl Fn(&str) -> bool) -> Result<(), HostError> {
        let exists = |name: &String| Path::new(INTERFACES).join(name).exists();
        let ends = SLOTS.map(|slot| self.host_end(slot)).filter(exists);
        for name in ends.filter(|name| which(name)) {
            let removed = Job::new(["ip", "link", "del", "dev", &name])
                .stdin(self.lock())
                .run();
            match removed {
                // The kernel was quicker.
                Err(_) if !exists(&name) => {}
                removed => _ = removed?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_no_others() {
        let layout = |dir: &str| Layout { dir: dir.into() };
        let ctid = |id: u32| Ctid::try_from(id).expect("an id");
        let mut names = Vec::new();
        for dir in ["/a", "/b"] {
            for id in [900, 901, 123_456, 999_999_999] {
                names.extend(SLOTS.map(|slot| host_end(&layout(dir), ctid(id), slot)));
            }
        }
        assert!(names.iter().all(|name| name.len() == LONGEST), "{names:?}");
        assert!(names[0].starts_with("v900i0-"), "{}", names[0]);
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn what_is_no_pair_is_not_half_made() {
        assert!(!is_half_made("lo"));
        assert!(!is_half_made("no-such-thing"));
    }
}
