//! The state directory is its owner's alone.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::support::Site;

const COMMANDS: [&[&str]; 8] = [
    &["apply"],
    &["resume"],
    &["destroy", "903", "--yes"],
    &["plan"],
    &["status"],
    &["history", "901"],
    &["runs"],
    &["journal", "verify"],
];

fn refused(site: &Site, text: &str) {
    let before = std::fs::read(site.state().join("journal/anchor.json")).ok();
    for command in COMMANDS {
        site.run(command).code(7).says(text).says("--state");
    }
    let after = std::fs::read(site.state().join("journal/anchor.json")).ok();
    assert_eq!(before, after, "nothing was written");
}

#[test]
fn one_that_others_may_write_to_is_refused() {
    let site = Site::new();
    site.apply();
    for (dir, mode) in [("", 0o770), ("", 0o1777), ("journal", 0o702)] {
        let dir = site.state().join(dir);
        std::fs::set_permissions(&dir, Permissions::from_mode(mode)).expect("permitted");
        refused(&site, &format!("has mode {mode:04o}"));
        std::fs::set_permissions(&dir, Permissions::from_mode(0o700)).expect("permitted");
    }
    site.ok(&["plan", "--exit-code"]);
}

#[test]
fn one_of_somebody_else_is_refused() {
    let site = Site::new();
    site.apply();
    if std::os::unix::fs::chown(site.state(), Some(65534), None).is_err() {
        assert!(std::env::var_os("CI").is_none(), "CI runs it as root");
        eprintln!("SKIPPED: a directory cannot be given away here (root is needed)");
        return;
    }
    refused(&site, "belongs to uid 65534");
    std::os::unix::fs::chown(site.state(), Some(0), None).expect("taken back");
    site.ok(&["plan", "--exit-code"]);
}

fn all_private(dir: &Path) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        let facts = entry.metadata().expect("facts");
        let wanted = if facts.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(facts.mode() & 0o777, wanted, "{}", entry.path().display());
        if facts.is_dir() {
            all_private(&entry.path());
        }
    }
}

#[test]
fn everything_of_the_journal_is_for_its_owner_only() {
    let site = Site::new();
    site.apply();
    assert_eq!(
        site.state().metadata().expect("facts").mode() & 0o777,
        0o700
    );
    all_private(&site.state().join("journal"));
    // However it came about.
    let loose = site.state().join("journal/anchor.json");
    std::fs::set_permissions(loose, Permissions::from_mode(0o644)).expect("permitted");
    site.apply();
    all_private(&site.state().join("journal"));
}
