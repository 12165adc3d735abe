//! The configuration file of a Proxmox VE container: `/etc/pve/nodes/NODE/lxc/ID.conf`.
//!
//! The part before the first header is live, `[pve:pending]` waits for the next start, every
//! other section is a snapshot. A [`Conf`] keeps every line as it stands, so that printing it
//! gives the very text that was read: whoever edits one line leaves all the others alone.

mod observed;
mod raw;
mod text;

use std::fmt;

use sha1::{Digest as _, Sha1};

pub use observed::observed;
pub(super) use observed::raw_lines;
pub use raw::edit_raw;
pub use text::{mark_line, marked, read_mark, unmarked};

/// One configuration file, line by line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conf {
    /// The live section first.
    sections: Vec<Section>,
}

/// The lines of one section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    kind: Kind,
    /// The header and its end of line; nothing for the live section.
    header: String,
    lines: Vec<Line>,
}

/// What a section is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Kind {
    Live,
    Pending,
    Snapshot(String),
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Line {
    /// As it stands in the file, end of line included.
    text: String,
    meaning: Meaning,
}

/// What a line says.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Meaning {
    /// A line of the description, decoded.
    Description(String),
    /// `key: value`
    Setting(String, String),
    /// `lxc.key: value`
    Lxc(String, String),
    /// Nothing, or nothing that Proxmox VE understands (it drops such a line at its next write).
    Nothing,
}

impl Conf {
    /// Reads a file. Nothing is refused: what Proxmox VE does not understand is kept as it is.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut sections = vec![Section::new(Kind::Live, String::new())];
        for line in text.split_inclusive('\n') {
            match header(line.trim_end()) {
                Some(kind) => sections.push(Section::new(kind, line.to_owned())),
                None => {
                    let line = Line {
                        text: line.to_owned(),
                        meaning: meaning(line),
                    };
                    if let Some(section) = sections.last_mut() {
                        section.lines.push(line);
                    }
                }
            }
        }
        Self { sections }
    }

    /// The live section.
    #[must_use]
    pub fn live(&self) -> &Section {
        &self.sections[0]
    }

    /// What waits for the next start.
    #[must_use]
    pub fn pending(&self) -> Option<&Section> {
        let mut all = self.sections.iter().rev();
        all.find(|section| section.kind == Kind::Pending)
    }

    /// The snapshots with their names, in the order of the file. Of two sections with one name
    /// the later one counts.
    pub fn snapshots(&self) -> impl Iterator<Item = (&str, &Section)> {
        let named = |section: &'_ Section| match &section.kind {
            Kind::Snapshot(name) => Some(name.clone()),
            Kind::Live | Kind::Pending => None,
        };
        self.sections
            .iter()
            .enumerate()
            .filter(move |(at, section)| {
                let name = named(section);
                let later = &self.sections[at + 1..];
                name.is_some() && later.iter().all(|other| named(other) != name)
            })
            .filter_map(|(_, section)| match &section.kind {
                Kind::Snapshot(name) => Some((name.as_str(), section)),
                Kind::Live | Kind::Pending => None,
            })
    }
}

impl Section {
    fn new(kind: Kind, header: String) -> Self {
        Self {
            kind,
            header,
            lines: Vec::new(),
        }
    }

    /// The text of a key as it stands; a later line wins. Not for `description` and `lxc.*`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let settings = self.settings();
        settings
            .filter(|(name, _)| *name == key)
            .map(|(_, value)| value)
            .last()
    }

    /// All lines `key: value` but `description` and `lxc.*`, in the order of the file.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().filter_map(|line| match &line.meaning {
            Meaning::Setting(key, value) => Some((key.as_str(), value.as_str())),
            _ => None,
        })
    }

    /// The lines `lxc.key: value`, in the order of the file.
    pub fn lxc(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().filter_map(|line| match &line.meaning {
            Meaning::Lxc(key, value) => Some((key.as_str(), value.as_str())),
            _ => None,
        })
    }

    /// The description: the lines that begin with `#`, decoded, without the last end of line.
    #[must_use]
    pub fn description(&self) -> Option<String> {
        let lines: Vec<&str> = self
            .lines
            .iter()
            .filter_map(|line| match &line.meaning {
                Meaning::Description(text) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        let text = lines.join("\n");
        let text = text.trim_end_matches('\n');
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The lines, not empty, that Proxmox VE does not understand.
    pub fn damage(&self) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .filter(|line| line.meaning == Meaning::Nothing)
            .map(|line| line.text.trim_end())
            .filter(|text| !text.trim().is_empty())
    }
}

impl fmt::Display for Conf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sections.iter().try_for_each(|section| {
            f.write_str(&section.header)?;
            let mut lines = section.lines.iter();
            lines.try_for_each(|line| f.write_str(&line.text))
        })
    }
}

/// What `pct set --digest` compares: the SHA-1 of the file's text.
#[must_use]
pub fn digest(text: &str) -> String {
    use fmt::Write as _;
    let mut shown = String::with_capacity(40);
    for byte in Sha1::digest(text.as_bytes()) {
        // Writing to a string does not fail.
        let _ = write!(shown, "{byte:02x}");
    }
    shown
}

/// The section that a line begins, if it is a header.
fn header(line: &str) -> Option<Kind> {
    let name = line.strip_prefix('[')?.strip_suffix(']')?;
    if name.eq_ignore_ascii_case("pve:pending") {
        return Some(Kind::Pending);
    }
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let well_formed = name.len() >= 2
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(word);
    well_formed.then(|| Kind::Snapshot(name.to_owned()))
}

fn meaning(line: &str) -> Meaning {
    let line = line.strip_suffix('\n').unwrap_or(line);
    if let Some(comment) = line.strip_prefix('#') {
        return Meaning::Description(text::decode(comment));
    }
    if let Some((key, value)) = lxc_line(line) {
        return Meaning::Lxc(key.to_owned(), value.to_owned());
    }
    match line.split_once(':') {
        Some(("description", value)) => {
            let decoded = text::decode(value.trim());
            Meaning::Description(decoded.trim_end_matches('\n').to_owned())
        }
        Some((key, value)) if is_key(key) && !value.trim().is_empty() => {
            Meaning::Setting(key.to_owned(), value.trim().to_owned())
        }
        _ => Meaning::Nothing,
    }
}

/// `lxc.key: value` or `lxc.key = value`.
fn lxc_line(line: &str) -> Option<(&str, &str)> {
    let part =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
    let end = line.find(|c| !part(c))?;
    let (key, rest) = line.split_at(end);
    let value = rest
        .strip_prefix(':')
        .or_else(|| rest.trim_start().strip_prefix('='))?;
    (key.len() > "lxc.".len() && key.starts_with("lxc.")).then(|| (key, value.trim()))
}

/// Lower case letters and `_`, then digits.
fn is_key(key: &str) -> bool {
    let word = key.trim_end_matches(|c: char| c.is_ascii_digit());
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

#[cfg(test)]
mod tests;
