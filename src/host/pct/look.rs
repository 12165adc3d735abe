//! One look at the node: what is asked, and the answer taken apart. What is made of it is in
//! `world.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::sockets;
use super::tar;
use crate::domain::ids::Ctid;
use crate::domain::observed::Directory;

/// The script that looks.
pub(super) const LOOK: &str = include_str!("sh/look.sh");
/// Where LXC has its containers, by the names of its sockets.
const LXC: &str = "/var/lib/lxc";

/// What is asked for.
#[derive(Debug, Default)]
pub(super) struct Question<'a> {
    /// None: everything, the node's own facts included.
    pub(super) containers: Option<&'a BTreeSet<Ctid>>,
    /// Storages, which cost a second.
    pub(super) storages: bool,
    /// Containers whose receipts are wanted.
    pub(super) scripted: Vec<Ctid>,
}

impl Question<'_> {
    /// The arguments of the script.
    pub(super) fn arguments(&self) -> Vec<String> {
        let scope = if self.containers.is_some() {
            "some"
        } else {
            "all"
        };
        let storages = if self.storages { "storages" } else { "" };
        let scripted: Vec<String> = self.scripted.iter().map(Ctid::to_string).collect();
        let fixed = [scope.to_owned(), storages.to_owned(), scripted.join(" ")];
        let ids = self.containers.into_iter().flatten().map(Ctid::to_string);
        fixed.into_iter().chain(ids).collect()
    }
}

/// A virtual machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Machine {
    pub(super) node: String,
    /// Whether it runs on the node that was asked.
    pub(super) runs: bool,
}

/// What was seen, as it stands.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) node: String,
    pub(super) boot: String,
    pub(super) devices: String,
    pub(super) bridges: BTreeSet<String>,
    /// What `pvesm status` printed, where it was asked.
    pub(super) storages: Option<String>,
    /// Storages that hold templates.
    pub(super) template_storages: Vec<String>,
    /// Volume ids of the templates that are there.
    pub(super) templates: Vec<String>,
    pub(super) directories: BTreeMap<String, Directory>,
    pub(super) machines: BTreeMap<Ctid, Machine>,
    /// What the cluster knows of guests on other nodes.
    pub(super) statistics: String,
    /// Containers at which something of an earlier phoenix is still at work.
    pub(super) held: BTreeSet<Ctid>,
    /// What running containers were started with, where it was noted.
    pub(super) given: BTreeMap<Ctid, String>,
    /// What containers showed as their receipts.
    pub(super) receipts: BTreeMap<Ctid, Vec<u8>>,
    /// The containers that run here, with what tells one start from the next.
    pub(super) running: BTreeMap<Ctid, String>,
    /// The configurations by node and container; none: they cannot be read.
    pub(super) files: Option<Vec<(String, Ctid, Vec<u8>)>>,
    /// The configurations are put together from what `pct` said: not the text that it has, so
    /// that nothing is compared with it or written back.
    pub(super) told_by_pct: bool,
}

/// An answer that is cut off or makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node's answer breaks off at '{0}'")]
pub(super) struct Broken(String);

/// Takes an answer apart.
pub(super) fn read(answer: &[u8]) -> Result<Look, Broken> {
    let mut look = Look::default();
    let mut rest = answer;
    let mut last = String::new();
    let mut given_to = None;
    loop {
        let broken = || Broken(last.clone());
        let name = text(take(&mut rest).ok_or_else(broken)?);
        if name == "files" {
            let entries = tar::read(rest).ok_or_else(broken)?;
            look.files = Some(entries.into_iter().filter_map(file).collect());
            return Ok(look);
        }
        let value = take(&mut rest).ok_or_else(broken)?;
        match name.as_str() {
            "unreadable" => return Ok(look),
            "no files" => {
                look.files = Some(Vec::new());
                return Ok(look);
            }
            "given_to" => given_to = text(value).parse().ok(),
            "given" => {
                let taken = given_to.take();
                look.given.extend(taken.map(|ctid| (ctid, text(value))));
            }
            name => look.note(name, &text(value)),
        }
        last = name;
    }
}

/// The bytes up to the next NUL.
pub(super) fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (value, behind) = rest.split_at(end);
    *rest = &behind[1..];
    Some(value)
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `NODE/lxc/ID.conf`
fn file(entry: tar::Entry) -> Option<(String, Ctid, Vec<u8>)> {
    let (node, name) = entry.name.split_once("/lxc/")?;
    let ctid = name.strip_suffix(".conf")?.parse().ok()?;
    Some((node.to_owned(), ctid, entry.content))
}

impl Look {
    fn note(&mut self, name: &str, value: &str) {
        match name {
            "node" => value.clone_into(&mut self.node),
            "boot" => value.trim().clone_into(&mut self.boot),
            "devices" => value.clone_into(&mut self.devices),
            "bridge" => _ = self.bridges.insert(value.to_owned()),
            "storages" => self.storages = Some(value.to_owned()),
            "template_storage" => self.template_storages.push(value.to_owned()),
            "template" => self.templates.push(value.to_owned()),
            "directory" => self.directories.extend(directory(value)),
            "machine" => self.machines.extend(machine(value)),
            "statistics" => value.clone_into(&mut self.statistics),
            "locks" => self.held = held(value),
            "receipts" => self.receipts.extend(receipts(value)),
            "sockets" => self.running = sockets::of(value, Path::new(LXC)),
            _ => {}
        }
    }
}

/// `UID GID MODE PATH`, the mode as the kernel has it, in hexadecimal digits.
fn directory(line: &str) -> Option<(String, Directory)> {
    const KIND: u32 = 0o170_000;
    const DIRECTORY: u32 = 0o040_000;
    let mut words = line.splitn(4, ' ');
    let uid = words.next()?.parse().ok()?;
    let gid = words.next()?.parse().ok()?;
    let mode = u32::from_str_radix(words.next()?, 16).ok()?;
    let path = words.next()?.to_owned();
    let mode_bits = mode & 0o7777;
    (mode & KIND == DIRECTORY).then_some((
        path,
        Directory {
            uid,
            gid,
            mode: mode_bits,
        },
    ))
}

/// `ID NODE running|stopped`
fn machine(line: &str) -> Option<(Ctid, Machine)> {
    let mut words = line.split(' ');
    let ctid = words.next()?.parse().ok()?;
    let node = words.next()?.to_owned();
    let runs = words.next()? == "running";
    Some((ctid, Machine { node, runs }))
}

/// `file INODE PATH` of each lock of phoenix, then the lines of `/proc/locks`.
fn held(text: &str) -> BTreeSet<Ctid> {
    let inode = |line: &str| -> Option<String> {
        // Who waits for a lock does not hold it.
        let place = line
            .split_whitespace()
            .nth(5)
            .filter(|_| !line.contains("->"))?;
        Some(place.rsplit(':').next()?.to_owned())
    };
    let locked: BTreeSet<String> = text
        .lines()
        .filter(|line| line.contains("FLOCK"))
        .filter_map(inode)
        .collect();
    let ours = |line: &str| -> Option<(String, Ctid)> {
        let (inode, path) = line.strip_prefix("file ")?.split_once(' ')?;
        let name = path.rsplit('/').next()?;
        Some((inode.to_owned(), name.strip_suffix(".lock")?.parse().ok()?))
    };
    text.lines()
        .filter_map(ours)
        .filter(|(inode, _)| locked.contains(inode))
        .map(|(_, ctid)| ctid)
        .collect()
}

/// `ID BASE64`
fn receipts(line: &str) -> Option<(Ctid, Vec<u8>)> {
    let (id, encoded) = line.split_once(' ')?;
    Some((id.parse().ok()?, base64(encoded)?))
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.trim().trim_end_matches('=').bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(digit)) & 0xFF_FFFF;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xFF).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ctid(id: u32) -> Ctid {
        id.try_into().expect("an id")
    }

    fn answer(fields: &[(&str, &str)], files: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in fields {
            bytes.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
        let entries: Vec<tar::Entry> = files
            .iter()
            .map(|(name, content)| tar::Entry {
                name: (*name).to_owned(),
                content: content.as_bytes().to_vec(),
                runs: false,
            })
            .collect();
        bytes.extend_from_slice(b"files\0");
        bytes.extend_from_slice(&tar::write(&entries));
        bytes
    }

    #[test]
    fn an_answer_is_taken_apart() {
        let fields = [
            ("node", "pve1"),
            ("boot", "b-1\n"),
            ("bridge", "vmbr0"),
            ("template", "local:vztmpl/a.tar.zst"),
            ("machine", "200 pve2 running"),
            (
                "locks",
                "file 77 /run/phoenix/101.lock\nfile 78 /run/phoenix/102.lock\n1: FLOCK  ADVISORY  WRITE 55 00:1a:77 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 56 00:1a:78 0 EOF\n",
            ),
            ("directory", "100000 0 41ed /srv/a b"),
            ("directory", "0 0 81a4 /srv/file"),
            ("receipts", "101 cmVjZWlwdHMK"),
            ("given_to", "101"),
            ("given", "77\nlxc.idmap: u 0 1 2\n"),
            (
                "sockets",
                "00: 00000002 00000000 00010000 0001 01 5 @/var/lib/lxc/101/command\n",
            ),
        ];
        // The content of a configuration that pretends to be more than one file.
        let hostile = "memory: 1\0files\0unreadable\0\0node\0evil";
        let files = [("pve1/lxc/101.conf", hostile), ("pve2/lxc/102.conf", "")];
        let look = read(&answer(&fields, &files)).expect("it is whole");
        assert_eq!((look.node.as_str(), look.boot.as_str()), ("pve1", "b-1"));
        assert_eq!(look.held, [ctid(101)].into());
        let state = Directory {
            uid: 100_000,
            gid: 0,
            mode: 0o755,
        };
        assert_eq!(look.directories, [("/srv/a b".to_owned(), state)].into());
        assert_eq!(look.receipts[&ctid(101)], b"receipts\n");
        assert_eq!(look.given[&ctid(101)], "77\nlxc.idmap: u 0 1 2\n");
        assert_eq!(look.running[&ctid(101)], "5");
        assert_eq!(look.machines[&ctid(200)].node, "pve2");
        let files = look.files.expect("they were read");
        assert_eq!(
            files[0],
            ("pve1".to_owned(), ctid(101), hostile.as_bytes().to_vec())
        );
        assert_eq!(files[1], ("pve2".to_owned(), ctid(102), Vec::new()));
    }

    #[test]
    fn an_answer_that_breaks_off_is_no_answer() {
        let whole = answer(
            &[("node", "pve1"), ("boot", "x")],
            &[("pve1/lxc/100.conf", "memory: 1\n")],
        );
        let archive = whole.len() - 1024;
        for end in 0..archive {
            assert!(read(&whole[..end]).is_err(), "{end}");
        }
        read(&whole).expect("it is whole");
        let none = read(b"node\0pve1\0no files\0\0").expect("it is whole");
        assert_eq!(none.files, Some(Vec::new()));
    }

    proptest! {
        #[test]
        fn any_answer_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&bytes);
        }

        #[test]
        fn base64_is_read(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            use super::super::super::process::Job;
            let dir = tempfile::tempdir().expect("a directory");
            let file = dir.path().join("bytes");
            std::fs::write(&file, &bytes).expect("written");
            let encoded = Job::new(["base64", "-w", "0"]).with([&file]).run().expect("it runs");
            prop_assert_eq!(base64(&encoded.stdout), Some(bytes));
        }
    }
}
