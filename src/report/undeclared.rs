//! Containers that phoenix made and that nobody declares any more: they are left as they are, and
//! said.

use serde_json::{Value, json};

use crate::domain::desired::DesiredState;
use crate::domain::ids::{Ctid, JournalId};
use crate::domain::observed::{ObservedWorld, Status};

/// One of them, and whether it runs.
pub type Undeclared = (Ctid, Status);

/// Those with the mark of this journal that are not declared.
#[must_use]
pub fn find(desired: &DesiredState, world: &ObservedWorld, journal: JournalId) -> Vec<Undeclared> {
    let ours = world.containers.iter().filter(|(ctid, seen)| {
        let marked =
            |mark: &crate::domain::action::Mark| mark.journal == journal && mark.ctid == **ctid;
        seen.mark.as_ref().is_some_and(marked) && !desired.containers.contains_key(ctid)
    });
    ours.map(|(ctid, seen)| (*ctid, seen.status)).collect()
}

/// A line about them; nothing when there are none.
#[must_use]
pub fn line(found: &[Undeclared]) -> String {
    /// At most this many are named.
    const NAMED: usize = 20;
    if found.is_empty() {
        return String::new();
    }
    let named = found.iter().take(NAMED);
    let named: Vec<String> = named
        .map(|(ctid, status)| format!("{ctid} ({status})"))
        .collect();
    let more = match found.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "Made by phoenix and declared no more, left as they are: {}{more}\n",
        named.join(", ")
    )
}

/// The value of the key `undeclared` of a document.
#[must_use]
pub fn json(found: &[Undeclared]) -> Value {
    let rows = found
        .iter()
        .map(|(ctid, status)| json!({ "ctid": ctid, "status": status }));
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::describe::tests::ctid;

    #[test]
    fn a_long_list_is_cut() {
        assert_eq!(line(&[]), "");
        let one = [(ctid(102), Status::Running)];
        assert_eq!(
            line(&one),
            "Made by phoenix and declared no more, left as they are: 102 (running)\n"
        );
        let many: Vec<_> = (200..225)
            .map(|number| (ctid(number), Status::Stopped))
            .collect();
        assert!(line(&many).ends_with("219 (stopped) and 5 more\n"));
    }
}
