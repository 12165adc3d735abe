use std::io::Write;
use std::path::Path;

use super::super::error::JournalError;
use super::super::open::Tuning;
use super::super::{Journal, space};
use super::support::*;

/// A small file system of its own.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// None where mounting is not permitted.
    fn new(mib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mib}m");
        let mounted = command("mount", &["-t", "tmpfs", "-o", &size, "tmpfs"], dir.path());
        if !mounted {
            eprintln!("SKIPPED: a small tmpfs cannot be mounted here (root is needed)");
        }
        mounted.then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        command("umount", &[], self.0.path());
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "only a real mount has a real ENOSPC"
)]
fn command(program: &str, arguments: &[&str], path: &Path) -> bool {
    let mut command = std::process::Command::new(program);
    command
        .args(arguments)
        .arg(path)
        .stderr(std::process::Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Appends until the journal refuses; how many events it took.
fn fill(journal: &Journal, from: u64) -> (u64, JournalError) {
    for n in (from..).step_by(50) {
        if let Err(error) = journal.append(&many(n..n + 50)) {
            return (n - 1, error);
        }
    }
    unreachable!("an endless disk")
}

#[test]
fn a_disk_that_fills_up_is_refused_in_time_and_nothing_is_lost() {
    let Some(disk) = SmallDisk::new(12) else {
        return;
    };
    let state = disk.path().join("state");
    let ballast = state.join("journal/ballast");
    let journal = open(&state);
    assert!(ballast.exists());
    let (events, error) = fill(&journal, 1);
    assert!(
        matches!(error, JournalError::NoSpace { free: Some(_), .. }),
        "{error:?}"
    );
    assert!(events > 0);
    assert!(!ballast.exists(), "the ballast is given up");
    assert!(journal.append(&[numbered(1)]).is_err(), "it stays refused");
    assert!(journal.close().is_err());
    assert!(
        space::free(disk.path()).unwrap() > 4 << 20,
        "it stopped long before the end"
    );

    // Somebody takes the rest: the journal still opens and reads, and still refuses to write.
    let mut hog = std::fs::File::create(disk.path().join("hog")).unwrap();
    let take = space::free(disk.path()).unwrap() - (512 << 10);
    hog.write_all(&vec![7; take as usize]).unwrap();
    let journal = open(&state);
    assert_eq!(entries(&journal).len() as u64, events);
    assert!(matches!(
        journal.append(&[numbered(1)]),
        Err(JournalError::NoSpace { .. })
    ));
    drop(journal);

    std::fs::remove_file(disk.path().join("hog")).unwrap();
    let (left, right) = (open(&state), events + 1);
    assert_eq!(left.verify().unwrap().problem, None);
    assert_eq!(entries(&left).len() as u64 + 1, right);
}

#[test]
fn a_disk_that_is_suddenly_full_loses_nothing_that_was_acknowledged() {
    let Some(disk) = SmallDisk::new(10) else {
        return;
    };
    let state = disk.path().join("state");
    drop(open(&state));
    // Without the check beforehand, the disk itself refuses.
    let unchecked = || Tuning {
        min_free: 0,
        ..Tuning::default()
    };
    let journal = open_tuned(&state, unchecked());
    let (events, error) = fill(&journal, 1);
    assert!(matches!(error, JournalError::NoSpace { .. }), "{error:?}");
    drop(journal);
    let found = entries(&open(&state));
    assert!(found.len() as u64 >= events, "{} of {events}", found.len());
    assert!(found.iter().zip(1..).all(|(entry, n)| number(entry) == n));
}
