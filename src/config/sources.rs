//! The texts that were read, kept to say where something stands in them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::document::{Cursor, Located, Path, Segment, locate};
use super::findings::{File, Finding};
use crate::domain::diagnostic::{Diagnostic, Problem, Severity};
use crate::domain::ids::Ctid;

/// The files that were read.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: BTreeMap<File, SourceFile>,
    containers: HashMap<Ctid, ContainerPlace>,
}

#[derive(Clone)]
struct SourceFile {
    name: String,
    text: Arc<str>,
}

impl fmt::Debug for SourceFile {
    /// The text holds secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Where a container is declared: so that one of ten thousand is found without a search.
#[derive(Clone, Debug)]
pub(super) struct ContainerPlace {
    pub(super) key: Option<usize>,
    pub(super) value: Range<usize>,
}

impl Sources {
    pub(super) fn add_file(&mut self, file: File, name: String, text: Arc<str>) {
        self.files.insert(file, SourceFile { name, text });
    }

    pub(super) fn add_container(&mut self, ctid: Ctid, place: ContainerPlace) {
        self.containers.insert(ctid, place);
    }

    pub(super) fn text(&self, file: File) -> Option<Arc<str>> {
        self.files.get(&file).map(|source| Arc::clone(&source.text))
    }

    /// The place of a problem with a container. Its key is one of the container's declaration,
    /// or `shared_volumes.NAME`, which lies in the hypervisor file; empty: the container itself.
    #[must_use]
    pub fn diagnostic(&self, ctid: Ctid, problem: &Problem) -> Diagnostic {
        let (file, path) = match problem.key.strip_prefix("shared_volumes.") {
            Some(name) => (File::Hypervisor, keys(["shared_volumes", name])),
            None => {
                let mut path = keys(["lxc_configs", &ctid.to_string()]);
                path.0.extend(Path::parse(&problem.key).0);
                (File::Lxc, path)
            }
        };
        let finding = Finding {
            severity: Severity::Error,
            file,
            path,
            offset: None,
            about_key: false,
            message: problem.message.clone(),
            help: (!problem.help.is_empty()).then(|| problem.help.clone()),
        };
        let (line, column) = match self.files.get(&file) {
            Some(source) => Cursor::new(&source.text).place(self.offset(&finding, &source.text)),
            None => (0, 0),
        };
        self.diagnostic_at(finding, line, column)
    }

    /// The findings with their places, by file and line.
    pub(super) fn place(&self, findings: Vec<Finding>) -> Vec<Diagnostic> {
        let mut placed: Vec<(Option<usize>, Finding)> = findings
            .into_iter()
            .map(|finding| {
                let source = self.files.get(&finding.file);
                (
                    source.map(|source| self.offset(&finding, &source.text)),
                    finding,
                )
            })
            .collect();
        placed.sort_by(|(left_offset, left), (right_offset, right)| {
            let order = |offset: &Option<usize>, finding: &Finding| (finding.file, *offset);
            order(left_offset, left)
                .cmp(&order(right_offset, right))
                .then_with(|| left.severity.cmp(&right.severity))
                .then_with(|| left.path.cmp(&right.path))
        });
        let mut cursors: BTreeMap<File, Cursor<'_>> = self
            .files
            .iter()
            .map(|(file, source)| (*file, Cursor::new(&source.text)))
            .collect();
        let mut diagnostics: Vec<Diagnostic> = placed
            .into_iter()
            .map(|(offset, finding)| {
                let cursor = cursors.get_mut(&finding.file);
                let (line, column) = cursor
                    .zip(offset)
                    .map_or((0, 0), |(cursor, offset)| cursor.place(offset));
                self.diagnostic_at(finding, line, column)
            })
            .collect();
        diagnostics.sort_by(|left, right| (&left.file, left.line).cmp(&(&right.file, right.line)));
        diagnostics
    }

    fn diagnostic_at(&self, finding: Finding, line: usize, column: usize) -> Diagnostic {
        let file = match self.files.get(&finding.file) {
            Some(source) => source.name.clone(),
            None => super::file_name(finding.file).to_owned(),
        };
        Diagnostic {
            severity: finding.severity,
            file,
            line,
            column,
            path: finding.path.to_string(),
            message: finding.message,
            help: finding.help,
        }
    }

    fn offset(&self, finding: &Finding, text: &str) -> usize {
        if let Some(offset) = finding.offset {
            return offset;
        }
        let (start, rest) = self.start(finding, text);
        let below = locate(text, start.value.clone(), rest);
        let found = if below.depth == 0 { start } else { below };
        let value = found.value.start;
        let large = text[value..].starts_with(['{', '[']);
        match found.key {
            Some(key) if finding.about_key || large => key,
            _ => value,
        }
    }

    /// Where the search for a path begins, and what of the path is still to go.
    fn start<'f>(&self, finding: &'f Finding, text: &str) -> (Located, &'f [Segment]) {
        let segments = finding.path.0.as_slice();
        if finding.file == File::Lxc
            && let [Segment::Key(all), Segment::Key(id), rest @ ..] = segments
            && all == "lxc_configs"
            && let Some(place) = id
                .parse()
                .ok()
                .and_then(|ctid: Ctid| self.containers.get(&ctid))
        {
            (
                Located {
                    key: place.key,
                    value: place.value.clone(),
                    depth: 2,
                },
                rest,
            )
        } else {
            let before = text.len() - text.trim_start().len();
            (
                Located {
                    key: None,
                    value: before..text.len(),
                    depth: 0,
                },
                segments,
            )
        }
    }
}

fn keys<'k>(names: impl IntoIterator<Item = &'k str>) -> Path {
    Path(
        names
            .into_iter()
            .map(|name| Segment::Key(name.to_owned()))
            .collect(),
    )
}
