//! Where the configurations cannot be read: what `pct` says of them, put together as the files
//! that it has it from.

use std::collections::BTreeMap;

use super::look::{Look, take, text};
use crate::domain::ids::Ctid;

/// The script that asks.
pub(super) const ASK: &str = include_str!("sh/ask.sh");

/// Completes a look by an answer; none if that is cut off.
pub(super) fn complete(mut look: Look, answer: &[u8]) -> Option<Look> {
    let mut files = Vec::new();
    let mut rest = answer;
    let mut one = Parts::default();
    loop {
        let name = text(take(&mut rest)?);
        let value = text(take(&mut rest)?);
        let whole = matches!(name.as_str(), "container" | "end");
        if let Some(ctid) = one.ctid.filter(|_| whole) {
            let content = std::mem::take(&mut one).file().into_bytes();
            files.push((look.node.clone(), ctid, content));
        }
        match name.as_str() {
            "end" => {
                look.files = Some(files);
                look.told_by_pct = true;
                return Some(look);
            }
            "list" => look.running = running(&value),
            "container" => one.ctid = value.parse().ok(),
            "current" => one.current = value,
            "pending" => one.pending = value,
            "snapshot" => one.snapshots.push((value, String::new())),
            "config" => {
                if let Some((_, config)) = one.snapshots.last_mut() {
                    *config = value;
                }
            }
            _ => {}
        }
    }
}

/// What `pct list` says of who runs; it does not tell one start from the next.
fn running(list: &str) -> BTreeMap<Ctid, String> {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let ctid = words.next()?.parse().ok()?;
        (words.next()? == "running").then(|| (ctid, String::new()))
    };
    list.lines().filter_map(row).collect()
}

/// What `pct` said of one container.
#[derive(Default)]
struct Parts {
    ctid: Option<Ctid>,
    current: String,
    pending: String,
    snapshots: Vec<(String, String)>,
}

impl Parts {
    fn file(self) -> String {
        let mut file = format!("{}\n", self.current);
        let (new, gone) = waiting(&self.pending);
        if !(new.is_empty() && gone.is_empty()) {
            file.push_str("[pve:pending]\n");
            if !gone.is_empty() {
                file.push_str(&format!("delete: {}\n", gone.join(",")));
            }
            for line in new {
                file.push_str(&format!("{line}\n"));
            }
        }
        for (name, config) in self.snapshots {
            file.push_str(&format!("[{name}]\n{config}\n"));
        }
        file
    }
}

/// The lines `new KEY: VALUE` and the keys of `del KEY: VALUE`.
fn waiting(pending: &str) -> (Vec<&str>, Vec<&str>) {
    let lines = || pending.lines();
    let new = lines().filter_map(|line| line.strip_prefix("new "));
    let gone = lines().filter_map(|line| Some(line.strip_prefix("del ")?.split_once(':')?.0));
    (new.collect(), gone.collect())
}

#[cfg(test)]
mod tests {
    use super::super::world;
    use super::*;
    use crate::domain::observed::Status;
    use crate::domain::setting::Key;

    #[test]
    fn what_pct_says_is_read_as_its_file_would_be() {
        let list = "VMID       Status     Lock         Name\n100        running                 newname\n101        stopped    backup       btct\n";
        let current = "arch: amd64\ndescription: line one%0Aline two%3A %C3%BC %25%0A\nhostname: newname\nmemory: 64\nmp0: local:100/vm-100-disk-1.raw,mp=/data,size=1536M\nrootfs: local:100/vm-100-disk-0.raw,size=2560M\nlxc.cap.drop: sys_rawio";
        let pending = "cur arch: amd64\nnew features: nesting=1\ndel mp0: local:100/vm-100-disk-1.raw,mp=/data,size=1536M";
        let snapshot = "arch: amd64\nmemory: 128\nrootfs: local:100/vm-100-disk-0.raw,size=1G\nsnaptime: 1795373162";
        let fields = [
            ("list", list),
            ("container", "100"),
            ("current", current),
            ("pending", pending),
            ("snapshot", "s1"),
            ("config", snapshot),
            ("container", "101"),
            (
                "current",
                "lock: backup\nrootfs: local:101/vm-101-disk-0.raw,size=1G",
            ),
            ("pending", ""),
            ("end", ""),
        ];
        let answer: String = fields
            .iter()
            .map(|(name, value)| format!("{name}\0{value}\0"))
            .collect();
        let empty = || Look {
            node: "vm".to_owned(),
            ..Look::default()
        };
        let look = complete(empty(), answer.as_bytes()).expect("it is whole");
        let seen = world::containers(&look).seen;
        assert!(world::containers(&look).texts.values().all(Option::is_none));
        let ids: Vec<u32> = seen.keys().map(|ctid| ctid.get()).collect();
        assert_eq!(ids, [100, 101]);
        let first = seen.values().next().expect("it is there");
        assert_eq!(first.status, Status::Running);
        let description = first.settings.get(&Key::Other("description".to_owned()));
        assert_eq!(
            description.map(ToString::to_string).as_deref(),
            Some("line one\nline two: ü %")
        );
        let waiting: Vec<String> = first.pending.keys().map(Key::to_string).collect();
        assert_eq!(waiting, ["features", "mp0"]);
        assert_eq!(first.pending[&Key::Mount(0)], None);
        assert_eq!(first.snapshots[0].name, "s1");
        let cut = answer.strip_suffix("end\0\0").expect("its end");
        assert_eq!(complete(empty(), cut.as_bytes()), None);
    }
}
