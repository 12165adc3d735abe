//! What a machine does to a journal: power cuts, images that a crash leaves, damage, full and
//! failing disks. `docs/reliability.md` says what each suite proves and what it counted.

mod corruption;
mod failing;
mod growth;
mod images;
mod power;
mod remembered;
mod shim;

use phoenix::domain::event::Entry;
use phoenix::journal::{Journal, JournalError};

fn entries(journal: &Journal) -> Result<Vec<Entry>, JournalError> {
    let mut all = Vec::new();
    journal.for_each(&mut |entry| {
        all.push(entry);
        Ok(())
    })?;
    Ok(all)
}

/// How many of something to try: few by default, as many as asked for by a variable.
fn wanted(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Whether to run; says why not. In CI nothing may be left out.
fn able(test: &str, obstacle: Option<String>) -> bool {
    let Some(why) = obstacle else { return true };
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{test} must run in CI: {why}"
    );
    eprintln!("SKIPPED {test}: {why}");
    false
}

/// Numbers without any pattern, the same each time.
struct Dice(u64);

impl Dice {
    fn new(seed: usize) -> Self {
        Self((seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// One of 0, 1, … below a number above 0.
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % below as u64).expect("a number")
    }
}
