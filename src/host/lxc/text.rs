//! The lines of a container's configuration file.
//!
//! Three kinds matter: `KEY = VALUE` of LXC, `# phoenix KEY: VALUE` with what LXC has no word
//! for, and everything else, which is somebody's and is kept as it stands.

use std::fmt;

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Line {
    /// `# phoenix KEY: VALUE`
    Note(String, String),
    /// `KEY = VALUE`
    Entry(String, String),
    /// Anything else.
    Raw(String),
}

const NOTE: &str = "# phoenix ";

impl Line {
    pub(super) fn parse(text: &str) -> Self {
        let note = text
            .strip_prefix(NOTE)
            .and_then(|rest| rest.split_once(':'));
        if let Some((key, value)) = note {
            return Self::Note(key.trim().to_owned(), value.trim().to_owned());
        }
        let trimmed = text.trim();
        let entry = trimmed
            .split_once('=')
            .filter(|_| !trimmed.starts_with('#'));
        match entry {
            Some((key, value)) if key.trim_end().starts_with("lxc.") => {
                Self::Entry(key.trim_end().to_owned(), unquoted(value.trim()).to_owned())
            }
            _ => Self::Raw(text.trim_end().to_owned()),
        }
    }

    pub(super) fn entry(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Entry(key.into(), value.into())
    }

    pub(super) fn note(key: impl Into<String>, value: impl fmt::Display) -> Self {
        Self::Note(key.into(), value.to_string())
    }
}

/// LXC takes a pair of quotes off a value.
fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = value
            .strip_prefix(quote)
            .and_then(|value| value.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner;
        }
    }
    value
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(key, value) => write!(f, "{NOTE}{key}: {value}"),
            Self::Entry(key, value) => write!(f, "{key} = {value}"),
            Self::Raw(text) => f.write_str(text),
        }
    }
}

/// All lines of a file.
pub(super) fn parse(text: &str) -> Vec<Line> {
    text.lines().map(Line::parse).collect()
}

/// The file of these lines.
pub(super) fn print(lines: &[Line]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A path as a field of `lxc.mount.entry`, which is read like a line of fstab.
pub(super) fn escaped(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            ' ' => text.push_str("\\040"),
            '\t' => text.push_str("\\011"),
            '\n' => text.push_str("\\012"),
            '\\' => text.push_str("\\134"),
            _ => text.push(c),
        }
    }
    text
}

/// The path that such a field means.
pub(super) fn unescaped(field: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(field.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        for (text, line) in [
            ("# phoenix swap: 512", Line::note("swap", 512)),
            ("lxc.uts.name=web", Line::entry("lxc.uts.name", "web")),
            (
                "  lxc.uts.name =  \"web\" ",
                Line::entry("lxc.uts.name", "web"),
            ),
            (
                "# lxc.uts.name = web",
                Line::Raw("# lxc.uts.name = web".to_owned()),
            ),
            (
                "# a person's note: yes",
                Line::Raw("# a person's note: yes".to_owned()),
            ),
            ("", Line::Raw(String::new())),
        ] {
            assert_eq!(Line::parse(text), line, "{text}");
        }
    }

    #[test]
    fn paths_round_trip_through_a_mount_entry() {
        for path in ["/srv/a b", "/srv/\\x", "/plain", "/tab\there"] {
            let field = escaped(path);
            assert!(!field.contains([' ', '\t']), "{field}");
            assert_eq!(unescaped(&field), path);
        }
    }
}
