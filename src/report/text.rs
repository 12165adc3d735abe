//! Colours, plurals, durations, tables: what every text is made of.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, SecondsFormat, Utc};

/// What is new.
pub const ADDED: Style = AnsiColor::Green.on_default();
/// What becomes different.
pub const CHANGED: Style = AnsiColor::Yellow.on_default();
/// What goes, or went wrong.
pub const BAD: Style = AnsiColor::Red.on_default();
/// What is run or asked.
pub const DONE: Style = AnsiColor::Cyan.on_default();
/// What stands out.
pub const STRONG: Style = Style::new().bold();
/// What stands back.
pub const FAINT: Style = Style::new().dimmed();

/// The text in a style.
#[must_use]
pub fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// `1 container`, `2 containers`.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A length of time as a person says it: `340 ms`, `3.2 s`, `4 min 5 s`, `2 h 3 min`.
#[must_use]
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{seconds}.{} s", ms % 1000 / 100),
        60_000..3_600_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A moment for a person.
#[must_use]
pub fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A moment for a script: RFC 3339, to the millisecond.
#[must_use]
pub fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Text from elsewhere (a script's output, a file's key) without what could steer a terminal.
#[must_use]
pub fn harmless(text: &str) -> String {
    let stripped = anstream::adapter::strip_str(text).to_string();
    stripped
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

/// The same on one line: for what is a name, and has no lines of its own.
#[must_use]
pub fn one_line(text: &str) -> String {
    harmless(text).replace(['\n', '\t'], " ")
}

/// Each line of a text behind an indentation, without blank lines at its end.
#[must_use]
pub fn indented(text: &str, indent: &str) -> String {
    let mut shown = String::new();
    for line in text.trim_end().lines() {
        let _ = writeln!(shown, "{indent}{line}");
    }
    shown
}

/// A cell of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell in a style.
    pub fn styled(style: Style, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { text, style }
    }

    /// A plain cell.
    pub fn new(text: impl Into<String>) -> Self {
        Self::styled(Style::new(), text)
    }
}

/// Rows under headings, aligned; nothing when there are no rows.
#[must_use]
pub fn table(headings: &[&str], rows: &[Vec<Cell>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let heads = headings
        .iter()
        .map(|head| Cell::styled(STRONG, *head))
        .collect();
    let all: Vec<&Vec<Cell>> = std::iter::once(&heads).chain(rows).collect();
    let width_of = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.text.chars().count()).max()
    };
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| width_of(column).unwrap_or(0))
        .collect();
    let mut shown = String::new();
    for row in all {
        let last = row.iter().rposition(|cell| !cell.text.is_empty());
        for (column, cell) in row.iter().take(last.map_or(0, |last| last + 1)).enumerate() {
            shown.push_str(&paint(cell.style, &cell.text));
            if Some(column) != last {
                let width = widths.get(column).copied().unwrap_or(0);
                let missing = width.saturating_sub(cell.text.chars().count());
                shown.extend(std::iter::repeat_n(' ', missing + 2));
            }
        }
        shown.push('\n');
    }
    shown
}

#[cfg(test)]
pub(crate) fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (ms, shown) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (3_249, "3.2 s"),
            (59_999, "59.9 s"),
            (245_000, "4 min 5 s"),
            (7_380_000, "2 h 3 min"),
        ] {
            assert_eq!(duration(ms), shown);
        }
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(count(0, "change"), "0 changes");
        assert_eq!(count(1, "change"), "1 change");
        assert_eq!(count(2, "change"), "2 changes");
    }

    #[test]
    fn tables_are_aligned_by_characters_and_end_without_blanks() {
        let rows = vec![
            vec![
                Cell::new("100"),
                Cell::styled(BAD, "ähnlich"),
                Cell::new("x"),
            ],
            vec![Cell::new("1000"), Cell::new("b"), Cell::new("")],
        ];
        let shown = plain(&table(&["CTID", "NAME", "END"], &rows));
        assert_eq!(shown, "CTID  NAME     END\n100   ähnlich  x\n1000  b\n");
        assert_eq!(table(&["CTID"], &[]), "");
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\x07c\n\td\r"), "abc\n\td");
        assert_eq!(one_line("a\x1b[2Jb\n\tc"), "ab  c");
    }
}
