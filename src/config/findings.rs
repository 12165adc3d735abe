//! Collects what is wrong while the files are read; places are looked up only at the end.

use std::collections::{BTreeMap, HashSet};

use super::document::{Path, Segment};
use crate::domain::diagnostic::Severity;
use crate::domain::ids::Ctid;

/// One of the files.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum File {
    /// `phoenix_hypervisor_config.json`
    Hypervisor,
    /// `phoenix_lxc_configs.json`
    Lxc,
    /// `phoenix_vm_configs.json`
    Vm,
}

/// A place in a file, made on the way down without allocating.
#[derive(Clone, Copy, Debug)]
pub(super) enum At<'a> {
    /// The whole file.
    File(File),
    /// A member of the object above.
    Key(&'a At<'a>, &'a str),
    /// An element of the list above.
    Index(&'a At<'a>, usize),
}

impl<'a> At<'a> {
    /// A member.
    pub(super) fn key(&'a self, key: &'a str) -> Self {
        At::Key(self, key)
    }

    /// An element.
    pub(super) fn index(&'a self, index: usize) -> Self {
        At::Index(self, index)
    }

    /// The file and the path in it.
    pub(super) fn resolve(&self) -> (File, Path) {
        match self {
            At::File(file) => (*file, Path::default()),
            At::Key(above, key) => {
                let (file, mut path) = above.resolve();
                path.0.push(Segment::Key((*key).to_owned()));
                (file, path)
            }
            At::Index(above, index) => {
                let (file, mut path) = above.resolve();
                path.0.push(Segment::Index(*index));
                (file, path)
            }
        }
    }
}

/// Something to tell the user.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) file: File,
    pub(super) path: Path,
    /// Where it stands, when that is known already.
    pub(super) offset: Option<usize>,
    /// Whether it is about the key more than about its value.
    pub(super) about_key: bool,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// What can be said once for many containers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Group {
    /// A key that the original knew and phoenix does not manage.
    Unmanaged,
    /// An old spelling of a key.
    OldSpelling,
    /// `features` as a text.
    OldFeatures,
    /// A clone without `unprivileged`.
    InheritedPrivilege,
    /// A health command that looks like shell.
    ShellCharacters,
    /// A dependency on a virtual machine.
    External,
}

/// The findings so far.
#[derive(Default)]
pub(super) struct Findings {
    /// All that have a place of their own.
    pub(super) all: Vec<Finding>,
    mistyped: HashSet<(File, Path)>,
    groups: BTreeMap<(Group, String), Vec<Ctid>>,
}

impl Findings {
    /// A mistake at a place; silent where the value itself could not be read.
    pub(super) fn error(&mut self, at: &At<'_>, message: impl Into<String>, help: &str) {
        self.add(Severity::Error, at, false, message.into(), help);
    }

    /// A mistake in a key.
    pub(super) fn key_error(&mut self, at: &At<'_>, message: impl Into<String>, help: &str) {
        self.add(Severity::Error, at, true, message.into(), help);
    }

    /// What is probably a mistake.
    pub(super) fn warning(&mut self, at: &At<'_>, message: impl Into<String>, help: &str) {
        self.add(Severity::Warning, at, true, message.into(), help);
    }

    /// What is worth knowing.
    pub(super) fn note(&mut self, at: &At<'_>, message: impl Into<String>, help: &str) {
        self.add(Severity::Note, at, true, message.into(), help);
    }

    /// A value of the wrong type: what follows from its absence is not said again.
    pub(super) fn mistyped(&mut self, file: File, path: Path, message: String, help: &str) {
        self.push(Severity::Error, file, path.clone(), None, message, help);
        self.mistyped.insert((file, path));
    }

    /// A finding whose place is known as an offset.
    pub(super) fn at_offset(
        &mut self,
        file: File,
        path: Path,
        offset: usize,
        message: String,
        help: &str,
    ) {
        self.push(Severity::Error, file, path, Some(offset), message, help);
    }

    /// Says about `key` of one container what may hold for many.
    pub(super) fn group(&mut self, group: Group, key: &str, ctid: Ctid) {
        match self.groups.get_mut(&(group, key.to_owned())) {
            Some(ctids) => ctids.push(ctid),
            None => {
                self.groups.insert((group, key.to_owned()), vec![ctid]);
            }
        }
    }

    fn add(&mut self, severity: Severity, at: &At<'_>, key: bool, message: String, help: &str) {
        let (file, path) = at.resolve();
        if severity == Severity::Error && self.is_mistyped(file, &path) {
            return;
        }
        self.push(severity, file, path, None, message, help);
        if let Some(last) = self.all.last_mut() {
            last.about_key = key;
        }
    }

    fn push(
        &mut self,
        severity: Severity,
        file: File,
        path: Path,
        offset: Option<usize>,
        message: String,
        help: &str,
    ) {
        let help = (!help.is_empty()).then(|| help.to_owned());
        let about_key = false;
        self.all.push(Finding {
            severity,
            file,
            path,
            offset,
            about_key,
            message,
            help,
        });
    }

    /// Whether exactly this place was reported to have the wrong type.
    pub(super) fn knows_mistyped(&self, file: File, path: &Path) -> bool {
        self.mistyped.contains(&(file, path.clone()))
    }

    fn is_mistyped(&self, file: File, path: &Path) -> bool {
        if self.mistyped.is_empty() {
            return false;
        }
        let prefixes = (0..=path.0.len()).map(|length| Path(path.0[..length].to_vec()));
        prefixes
            .map(|prefix| (file, prefix))
            .any(|place| self.mistyped.contains(&place))
    }

    /// Turns what was said of many containers into one note each.
    pub(super) fn close(mut self) -> Vec<Finding> {
        for ((group, key), ctids) in std::mem::take(&mut self.groups) {
            let Some(first) = ctids.iter().min().map(ToString::to_string) else {
                continue;
            };
            let (message, help) = words(group, &key, &list(ctids));
            let file = At::File(File::Lxc);
            let all = file.key("lxc_configs");
            let container = all.key(&first);
            let place = if group == Group::External {
                "dependencies"
            } else {
                &key
            };
            self.note(&container.key(place), message, &help);
        }
        self.all
    }
}

/// At most this many containers are named in a note.
const NAMED: usize = 12;

fn list(mut ctids: Vec<Ctid>) -> String {
    ctids.sort_unstable();
    ctids.dedup();
    let shown: Vec<String> = ctids.iter().take(NAMED).map(ToString::to_string).collect();
    match ctids.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn words(group: Group, key: &str, who: &str) -> (String, String) {
    match group {
        Group::Unmanaged => (
            format!("declared, but not managed by phoenix ({who})"),
            format!("phoenix neither sets nor checks '{key}'; the container's scripts can read it"),
        ),
        Group::OldSpelling => (
            format!("an old spelling, still accepted ({who})"),
            "write clone_from_ctid instead".to_owned(),
        ),
        Group::OldFeatures => (
            format!("a text here means options of Proxmox VE, as in the oldest files ({who})"),
            "write them into pct_options, as a list; a list here names feature scripts".to_owned(),
        ),
        Group::InheritedPrivilege => (
            format!("not declared: the clone has what its source has ({who})"),
            "declare it, so that the file says it".to_owned(),
        ),
        Group::ShellCharacters => (
            format!("no shell reads this command, so | > < & ; $ stand for themselves ({who})"),
            "use \"shell\" instead of \"command\" if a shell is meant".to_owned(),
        ),
        Group::External => (
            format!("{key} is a virtual machine: phoenix assumes that it is up ({who})"),
            "start it before phoenix runs".to_owned(),
        ),
    }
}
