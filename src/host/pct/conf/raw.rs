//! The lines that `pct set` cannot change: `lxc.*` of the live section.

use crate::domain::setting::{Changes, Key, Value};

use super::{Conf, Line, Meaning, Section};

/// The text of a file after a change of `lxc.*` keys of its live section; keys of other kinds
/// are not looked at. A key whose lines already say what is wanted keeps them as they stand;
/// every other line of the file, whatever its section, stays byte for byte.
#[must_use]
pub fn edit_raw(text: &str, changes: &Changes) -> String {
    let mut conf = Conf::parse(text);
    for (key, value) in changes {
        if let Key::Lxc(name) = key {
            let wanted = match value {
                Some(Value::Lines(lines)) => lines.as_slice(),
                _ => &[],
            };
            conf.sections[0].replace(name, wanted);
        }
    }
    conf.to_string()
}

impl Section {
    /// Gives a key these values: where it stood first, or at the end of the section.
    fn replace(&mut self, name: &str, wanted: &[String]) {
        let is_ours = |line: &Line| matches!(&line.meaning, Meaning::Lxc(key, _) if key == name);
        let now = self.lxc().filter(|(key, _)| *key == name);
        if now
            .map(|(_, value)| value)
            .eq(wanted.iter().map(|text| text.trim()))
        {
            return;
        }
        let first = self.lines.iter().position(is_ours);
        self.lines.retain(|line| !is_ours(line));
        let at = first.unwrap_or_else(|| self.end()).min(self.lines.len());
        if let Some(before) = at.checked_sub(1)
            && !self.lines[before].text.ends_with('\n')
        {
            self.lines[before].text.push('\n');
        }
        let new = wanted.iter().map(|value| Line {
            text: format!("{name}: {}\n", value.trim()),
            meaning: Meaning::Lxc(name.to_owned(), value.trim().to_owned()),
        });
        self.lines.splice(at..at, new);
    }

    /// Behind the last line that is not empty.
    fn end(&self) -> usize {
        let last = self
            .lines
            .iter()
            .rposition(|line| !line.text.trim().is_empty());
        last.map_or(0, |last| last + 1)
    }
}
