//! The description of a container: how Proxmox VE encodes it, and phoenix's mark in it.
//!
//! The mark is one line that a person can read, among whatever a person wrote:
//!
//! ```text
//! #phoenix made container 107, journal 0193a7c2-5f6e-7c1a-9d0b-3f2e1d0c9b8a
//! ```

use crate::domain::action::Mark;
use crate::domain::ids::{Ctid, JournalId};

const BEGINNING: &str = "phoenix made container ";
const MIDDLE: &str = ", journal ";

/// The line of the description that says that phoenix made the container.
#[must_use]
pub fn mark_line(mark: &Mark) -> String {
    format!("{BEGINNING}{}{MIDDLE}{}", mark.ctid, mark.journal)
}

/// The description with the mark, a person's own text first.
#[must_use]
pub fn marked(description: Option<&str>, mark: &Mark) -> String {
    let own = description.map(unmarked).unwrap_or_default();
    match own.is_empty() {
        true => mark_line(mark),
        false => format!("{own}\n{}", mark_line(mark)),
    }
}

/// The mark in a description: the first line that is one.
#[must_use]
pub fn read_mark(description: &str) -> Option<Mark> {
    description.lines().find_map(of_line)
}

/// The description without any mark.
#[must_use]
pub fn unmarked(description: &str) -> String {
    let lines = description.split('\n');
    let own: Vec<&str> = lines.filter(|line| of_line(line).is_none()).collect();
    own.join("\n").trim_end_matches('\n').to_owned()
}

fn of_line(line: &str) -> Option<Mark> {
    let (ctid, journal) = line.trim().strip_prefix(BEGINNING)?.split_once(MIDDLE)?;
    Some(Mark {
        journal: JournalId(journal.parse().ok()?),
        ctid: ctid.parse::<Ctid>().ok()?,
    })
}

/// Undoes Proxmox VE's encoding of a line. What is no code stays as it is.
pub(super) fn decode(line: &str) -> String {
    let bytes = line.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = bytes
            .get(at + 1..at + 3)
            .filter(|_| byte == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(code.unwrap_or(byte));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
