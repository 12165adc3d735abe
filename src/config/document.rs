//! A JSON text that can say where its parts stand.
//!
//! Parts are slices of the text itself, so their place is their distance from its beginning.
//! Nothing is looked for before somebody asks: a file without mistakes is never searched.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// One member of an object, duplicates included.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// Its key, without escapes.
    pub(super) key: Cow<'a, str>,
    /// Its value as it stands in the text.
    pub(super) value: &'a str,
}

/// One step down into a document.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum Segment {
    /// Into an object.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// A place in a document.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) struct Path(pub(super) Vec<Segment>);

impl Path {
    /// Reads `mount_points[0].host_path`.
    pub(super) fn parse(text: &str) -> Self {
        let mut segments = Vec::new();
        for part in text.split('.').filter(|part| !part.is_empty()) {
            let (name, indexes) = part.split_once('[').unwrap_or((part, ""));
            if !name.is_empty() {
                segments.push(Segment::Key(name.to_owned()));
            }
            let numbers = indexes.split(['[', ']']).filter_map(|n| n.parse().ok());
            segments.extend(numbers.map(Segment::Index));
        }
        Self(segments)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if position == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Where `part` begins in `text`, of which it is a slice.
pub(super) fn offset_in(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

/// The members of an object; none when the text is no object.
pub(super) fn entries(text: &str) -> Option<Vec<Entry<'_>>> {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.deserialize_map(EntriesVisitor).ok()
}

/// The elements of a list; none when the text is no list.
pub(super) fn elements(text: &str) -> Option<Vec<&str>> {
    let raw: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(raw.into_iter().map(RawValue::get).collect())
}

/// What stands at `path` below `base`, a slice of `text`, or at the nearest place above it: the
/// range of the value, and of its key where it has one that is written without escapes.
pub(super) fn locate(text: &str, base: Range<usize>, path: &[Segment]) -> Located {
    let mut found = Located {
        key: None,
        value: base,
        depth: 0,
    };
    for segment in path {
        let Some(part) = text.get(found.value.clone()) else {
            break;
        };
        let next =
            match segment {
                // Of two members with one key the last is the one that counts.
                Segment::Key(key) => {
                    entries(part).and_then(|all| all.into_iter().rfind(|entry| entry.key == *key))
                }
                Segment::Index(index) => elements(part)
                    .and_then(|all| all.get(*index).copied())
                    .map(|value| Entry {
                        key: Cow::Borrowed(""),
                        value,
                    }),
            };
        let Some(entry) = next else { break };
        let start = offset_in(text, entry.value);
        found = Located {
            key: key_offset(text, &entry),
            value: start..start + entry.value.len(),
            depth: found.depth + 1,
        };
    }
    found
}

/// Where something stands.
pub(super) struct Located {
    /// Where its key begins.
    pub(super) key: Option<usize>,
    /// Its value.
    pub(super) value: Range<usize>,
    /// How many segments of the path were found.
    pub(super) depth: usize,
}

/// Where the key of a member begins, its quote included.
pub(super) fn key_offset(text: &str, entry: &Entry<'_>) -> Option<usize> {
    match &entry.key {
        Cow::Borrowed(key) if !key.is_empty() => offset_in(text, key).checked_sub(1),
        _ => None,
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Vec<Entry<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let value: &'de RawValue = map.next_value()?;
            found.push(Entry {
                key,
                value: value.get(),
            });
        }
        Ok(found)
    }
}

/// Reads a key without copying it, where it has no escapes.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// Reads the whole text: whether it is JSON at all, and whether any object has a key twice.
pub(super) fn has_duplicates(text: &str) -> Result<bool, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = DuplicateScan.deserialize(&mut reader)?;
    reader.end()?;
    Ok(found)
}

/// Beyond this many keys a set is quicker than a look at each.
const MANY_KEYS: usize = 24;

struct DuplicateScan;

impl<'de> DeserializeSeed<'de> for DuplicateScan {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for DuplicateScan {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(inner) = list.next_element_seed(Self)? {
            found |= inner;
        }
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut found = false;
        let mut few: Vec<Cow<'de, str>> = Vec::new();
        let mut many: HashSet<Cow<'de, str>> = HashSet::new();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            if few.len() < MANY_KEYS {
                found |= few.contains(&key);
                few.push(key);
            } else {
                found |= few.contains(&key) || !many.insert(key);
            }
            found |= map.next_value_seed(Self)?;
        }
        Ok(found)
    }
}

/// Calls `report` with the path and the offset of every key that its object already has.
pub(super) fn each_duplicate(text: &str, report: &mut dyn FnMut(Path, usize)) {
    let mut pending = vec![(text, Path::default())];
    while let Some((part, path)) = pending.pop() {
        if let Some(members) = entries(part) {
            let mut seen = HashSet::new();
            for entry in &members {
                let mut below = path.clone();
                below.0.push(Segment::Key(entry.key.clone().into_owned()));
                if !seen.insert(entry.key.as_ref()) {
                    let value = offset_in(text, entry.value);
                    report(below.clone(), key_offset(text, entry).unwrap_or(value));
                }
                pending.push((entry.value, below));
            }
        } else if let Some(list) = elements(part) {
            for (index, value) in list.into_iter().enumerate() {
                let mut below = path.clone();
                below.0.push(Segment::Index(index));
                pending.push((value, below));
            }
        }
    }
}

/// Turns offsets into lines and columns; cheapest when asked in ascending order.
pub(super) struct Cursor<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
    column: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning of a text.
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            offset: 0,
            line: 1,
            column: 1,
        }
    }

    /// Line and column, in characters, from 1.
    pub(super) fn place(&mut self, offset: usize) -> (usize, usize) {
        if offset < self.offset {
            *self = Self::new(self.text);
        }
        let passed = self.text.get(self.offset..offset).unwrap_or_default();
        self.offset += passed.len();
        match passed.rfind('\n') {
            Some(last) => {
                self.line += passed.bytes().filter(|byte| *byte == b'\n').count();
                self.column = passed[last + 1..].chars().count() + 1;
            }
            None => self.column += passed.chars().count(),
        }
        (self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_it_prints() {
        for text in ["", "a", "mount_points[0].host_path", "a.b[1][2].c"] {
            assert_eq!(Path::parse(text).to_string(), text);
        }
    }

    #[test]
    fn a_place_is_found_or_the_nearest_above_it() {
        let text = "{\"a\": [1, {\"b\": 2}]}";
        let at = |path: &str| {
            let found = locate(text, 0..text.len(), &Path::parse(path).0);
            text[found.value].to_owned()
        };
        assert_eq!(at("a[1].b"), "2");
        assert_eq!(at("a[1].c"), "{\"b\": 2}");
        assert_eq!(at("a[7]"), "[1, {\"b\": 2}]");
    }

    #[test]
    fn duplicates_are_found_at_any_depth_and_through_escapes() {
        for (text, expected) in [
            (r#"{"a":1,"b":{"a":1}}"#, vec![]),
            (r#"{"a":1,"a":2}"#, vec![("a", 7)]),
            (r#"[{"x":{"a":1,"\u0061":2}}]"#, vec![("[0].x.a", 22)]),
        ] {
            assert_eq!(
                has_duplicates(text).ok(),
                Some(!expected.is_empty()),
                "{text}"
            );
            let mut found = Vec::new();
            each_duplicate(text, &mut |path, at| found.push((path.to_string(), at)));
            let expected: Vec<_> = expected
                .iter()
                .map(|(p, at)| ((*p).to_owned(), *at))
                .collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_duplicate_among_many_keys_is_found() {
        let members = |last: &str| {
            let all: Vec<String> = (0..100).map(|n| format!("\"k{n}\":0")).collect();
            format!("{{{},\"{last}\":1}}", all.join(","))
        };
        assert_eq!(has_duplicates(&members("k3")).ok(), Some(true));
        assert_eq!(has_duplicates(&members("k90")).ok(), Some(true));
        assert_eq!(has_duplicates(&members("other")).ok(), Some(false));
    }

    #[test]
    fn columns_count_characters() {
        let text = "ab\nßü\"x\"";
        let mut cursor = Cursor::new(text);
        assert_eq!(cursor.place(1), (1, 2));
        assert_eq!(cursor.place(7), (2, 3));
        assert_eq!(cursor.place(0), (1, 1));
    }
}
