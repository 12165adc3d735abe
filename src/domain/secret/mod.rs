//! Secrets: values that reach the container and nobody else, neither the journal nor a screen.
//!
//! [`Secret`] is one text that cannot be shown by mistake. [`Secrets`] is the set of values that
//! the configuration holds; it takes them out of texts that come from elsewhere (what a script
//! prints, what a tool says of its arguments), and out of events before they are written.

mod events;
pub mod names;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::AhoCorasick;

pub use events::{covers, differ_in_secrets, redacted_line};

/// What stands in the place of a secret.
pub const MARK: &str = "***";
/// What stands where a text was cut off.
pub const CUT: &str = "…";
/// A line of a secret that has several counts by itself from this length on.
const LINE: usize = 6;
/// Of a secret that was cut off, so many characters and more are taken out.
const PIECE: usize = 3;

/// A text that is not shown: not by `Debug`, not by `Display`, not when serialised.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Secret<T = String>(T);

impl<T: AsRef<str>> Secret<T> {
    /// Keeps a text secret.
    pub fn new(text: T) -> Self {
        Self(text)
    }

    /// The text, for the one who needs it.
    pub fn expose(&self) -> &str {
        self.0.as_ref()
    }

    /// The same text, borrowed.
    pub fn borrowed(&self) -> Secret<&str> {
        Secret(self.0.as_ref())
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MARK)
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MARK)
    }
}

impl<T> serde::Serialize for Secret<T> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(MARK)
    }
}

/// The values that are secret. Without any, nothing is searched.
#[derive(Clone, Default)]
pub struct Secrets(Option<Arc<Known>>);

/// There are more of them than can be searched for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the secrets of the configuration are too many, or too long, to be searched for")]
pub struct TooMany;

struct Known {
    /// Every form in which one may appear.
    forms: Vec<String>,
    searcher: AhoCorasick,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.as_ref().map_or(0, |known| known.forms.len());
        write!(f, "Secrets({count})")
    }
}

impl Secrets {
    /// These values.
    ///
    /// # Errors
    /// When there are too many.
    pub fn of<'v>(values: impl IntoIterator<Item = &'v str>) -> Result<Self, TooMany> {
        let forms: BTreeSet<String> = values.into_iter().flat_map(forms).collect();
        if forms.is_empty() {
            return Ok(Self(None));
        }
        let searcher = AhoCorasick::new(&forms).map_err(|_| TooMany)?;
        let forms = forms.into_iter().collect();
        Ok(Self(Some(Arc::new(Known { forms, searcher }))))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The text without any of them. What is left of one where the text was cut off ([`CUT`]) goes
    /// too. The result holds none, and stays as it is when this is done again.
    #[must_use]
    pub fn scrub<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut shown = Cow::Borrowed(text);
        let Some(known) = &self.0 else {
            return shown;
        };
        // Each round takes away at least one character that is no star.
        while let Some(less) = known.scrubbed(&shown) {
            shown = Cow::Owned(less);
        }
        shown
    }

    /// The same in place.
    pub fn scrub_in(&self, text: &mut String) {
        if let Cow::Owned(scrubbed) = self.scrub(text) {
            *text = scrubbed;
        }
    }
}

impl Known {
    /// The text without what is found in it in one round; none: nothing is.
    fn scrubbed(&self, text: &str) -> Option<String> {
        let whole = self.searcher.find_overlapping_iter(text);
        let mut found: Vec<Range<usize>> = whole.map(|at| at.range()).collect();
        for (at, cut) in text.match_indices(CUT) {
            let after = at + cut.len();
            let (head, tail) = self.pieces(&text[..at], &text[after..]);
            let pieces = [at - head..at, after..after + tail];
            found.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
        }
        if found.is_empty() {
            return None;
        }
        let mut shown = String::with_capacity(text.len());
        let mut done = 0;
        for at in merged(found) {
            shown.push_str(&text[done..at.start]);
            shown.push_str(MARK);
            done = at.end;
        }
        shown.push_str(&text[done..]);
        Some(shown)
    }

    /// How many bytes before and after a cut are the beginning and the end of a secret.
    fn pieces(&self, before: &str, after: &str) -> (usize, usize) {
        let head = self.forms.iter().filter_map(|form| begun(before, form));
        let tail = self.forms.iter().filter_map(|form| ended(after, form));
        (head.max().unwrap_or(0), tail.max().unwrap_or(0))
    }
}

/// What overlaps or touches is one.
fn merged(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.sort_by_key(|at| at.start);
    let mut whole: Vec<Range<usize>> = Vec::with_capacity(found.len());
    for at in found {
        match whole.last_mut() {
            Some(last) if at.start <= last.end => last.end = last.end.max(at.end),
            _ => whole.push(at),
        }
    }
    whole
}

/// From how many bytes on a piece of a secret is taken out.
fn shortest_piece(form: &str) -> usize {
    PIECE.min(form.len().div_ceil(2))
}

/// How many bytes at the end of a text are the beginning of a secret.
fn begun(text: &str, form: &str) -> Option<usize> {
    let longest = form.len().min(text.len() + 1);
    let lengths = (shortest_piece(form)..longest).rev();
    let fits = |length: &usize| {
        form.is_char_boundary(*length)
            && text.as_bytes().ends_with(&form.as_bytes()[..*length])
            && !only_marks(&form[..*length])
    };
    lengths.into_iter().find(fits)
}

/// How many bytes at the beginning of a text are the end of a secret.
fn ended(text: &str, form: &str) -> Option<usize> {
    let longest = form.len().min(text.len() + 1);
    let lengths = (shortest_piece(form)..longest).rev();
    let fits = |length: &usize| {
        let from = form.len() - length;
        form.is_char_boundary(from)
            && text.as_bytes().starts_with(&form.as_bytes()[from..])
            && !only_marks(&form[from..])
    };
    lengths.into_iter().find(fits)
}

/// What consists of nothing else cannot be told from a mark.
fn only_marks(text: &str) -> bool {
    text.chars().all(|c| c == '*')
}

/// The forms in which a value may appear: as it is, as JSON, Rust and a shell write it, on one
/// line, and each longer line of it by itself.
fn forms(value: &str) -> Vec<String> {
    let debug = format!("{value:?}");
    let json = serde_json::to_string(value).unwrap_or_default();
    let inner = |quoted: &str| {
        let inner = quoted
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        inner.unwrap_or_default().to_owned()
    };
    let words: Vec<&str> = value.split_whitespace().collect();
    let mut all = vec![
        value.to_owned(),
        value.trim().to_owned(),
        inner(&json),
        inner(&debug),
        value.replace('\'', r"'\''"),
        words.join(" "),
    ];
    if value.contains('\n') {
        let lines = value.lines().map(str::trim);
        all.extend(lines.filter(|line| line.len() >= LINE).map(str::to_owned));
    }
    all.retain(|form| !only_marks(form));
    all
}

#[cfg(test)]
mod tests;
