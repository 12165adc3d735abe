//! What `/proc/net/unix` tells: LXC's monitor of each running container listens at an abstract
//! socket of its own.

use std::collections::BTreeMap;
use std::path::Path;

use crate::domain::ids::Ctid;

/// The containers of a directory that run, each with the number of its socket: it differs from
/// start to start.
pub(super) fn of(sockets: &str, dir: &Path) -> BTreeMap<Ctid, String> {
    // A connection to the socket has its name too, and a number of its own.
    const LISTENS: &str = "00010000";
    let prefix = format!("@{}/", dir.display());
    let found = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, LISTENS, _, _, number, name] = *words.as_slice() else {
            return None;
        };
        let id = name.strip_prefix(&prefix)?.strip_suffix("/command")?;
        let ctid: Ctid = id.parse().ok()?;
        // A leading zero would make two names of one container.
        (ctid.to_string() == id).then(|| (ctid, number.to_owned()))
    };
    sockets.lines().filter_map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_tell_what_runs_here() {
        let sockets = "Num RefCount Protocol Flags Type St Inode Path\n\
            00: 00000002 00000000 00010000 0001 01 101867 @/d/900/command\n\
            00: 00000003 00000000 00000000 0001 03 101999 @/d/900/command\n\
            00: 00000002 00000000 00010000 0001 01 101868 @/other/901/command\n\
            00: 00000002 00000000 00010000 0001 01 101869 @/d/web/command\n\
            00: 00000002 00000000 00010000 0001 01 101869 @/d/0902/command\n\
            00: 00000002 00000000 00010000 0001 01 101870\n";
        let running: Vec<_> = of(sockets, Path::new("/d")).into_iter().collect();
        let ctid = 900.try_into().expect("an id");
        assert_eq!(running, [(ctid, "101867".to_owned())]);
    }
}
