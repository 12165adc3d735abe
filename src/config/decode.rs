//! Reads typed values and gathers every type error, not only the first.

use serde::de::{DeserializeOwned, Visitor};
use serde_json::Value;
use serde_path_to_error::Segment as Step;

use super::document::Segment;
use super::findings::{At, Findings};

/// Reads `text`, which is JSON. What has the wrong type is reported and taken as absent.
pub(super) fn decode<T: DeserializeOwned + Default>(
    text: &str,
    at: &At<'_>,
    findings: &mut Findings,
) -> T {
    match serde_json::from_str(text) {
        Ok(value) => value,
        Err(_) => decode_piecewise(text, at, findings),
    }
}

fn decode_piecewise<T: DeserializeOwned + Default>(
    text: &str,
    at: &At<'_>,
    findings: &mut Findings,
) -> T {
    let Ok(mut value) = serde_json::from_str::<Value>(text) else {
        return T::default();
    };
    // Each round makes one more place null, or its parent; so it ends.
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(&value) {
            Ok(found) => return found,
            Err(error) => error,
        };
        let steps: Vec<Step> = error.path().iter().cloned().collect();
        let (file, mut path) = at.resolve();
        path.0.extend(steps.iter().filter_map(segment));
        let message = error.inner().to_string();
        // A complaint about the null that an earlier round left is no news.
        if !findings.knows_mistyped(file, &path) {
            findings.mistyped(file, path, in_words(&message), help_for(&message));
        }
        if !blank(&mut value, &steps) {
            return T::default();
        }
    }
}

fn segment(step: &Step) -> Option<Segment> {
    match step {
        Step::Map { key } => Some(Segment::Key(key.clone())),
        Step::Seq { index } => Some(Segment::Index(*index)),
        Step::Enum { .. } | Step::Unknown => None,
    }
}

/// Makes the place null, or, where it is null already, the nearest one above that is not. False
/// when there is none.
fn blank(value: &mut Value, steps: &[Step]) -> bool {
    for length in (1..=steps.len()).rev() {
        let mut place = Some(&mut *value);
        for step in &steps[..length] {
            place = match (step, place) {
                (Step::Map { key }, Some(Value::Object(members))) => members.get_mut(key),
                (Step::Seq { index }, Some(Value::Array(list))) => list.get_mut(*index),
                _ => None,
            };
        }
        if let Some(found) = place
            && !found.is_null()
        {
            *found = Value::Null;
            return true;
        }
    }
    false
}

/// Turns the decoder's complaint into words for a person.
fn in_words(message: &str) -> String {
    let Some((found, expected)) = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .and_then(|rest| rest.rsplit_once(", expected "))
    else {
        return message.to_owned();
    };
    let expected = match expected {
        "u64" => "a whole number, 0 or more",
        "u32" => "a whole number from 0 to 4294967295",
        "a boolean" => "true or false",
        "a string" => "a text",
        "a sequence" => "a list",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other => other,
    };
    let found = match found {
        "map" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        "null" => "null".to_owned(),
        text if text.starts_with("string ") => text.replacen("string ", "the text ", 1),
        other => other
            .replacen("boolean ", "", 1)
            .replacen("integer ", "", 1)
            .replacen("floating point ", "", 1)
            .replace('`', ""),
    };
    format!("must be {expected}, but is {found}")
}

fn help_for(message: &str) -> &'static str {
    let quoted = message.starts_with("invalid type: string");
    if quoted && (message.ends_with("expected u64") || message.ends_with("expected u32")) {
        "write the number without quotes"
    } else if quoted && message.ends_with("expected a boolean") {
        "write true or false without quotes"
    } else if message.starts_with("invalid type: integer") && message.ends_with("a string") {
        "write it in quotes"
    } else {
        "write a value of that kind"
    }
}

/// The keys that a type reads, in the order of its declaration.
pub(super) fn fields_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // The reader only listens; that it yields no value is no error.
    let _ = T::deserialize(FieldsReader(&mut fields));
    fields
}

struct FieldsReader<'a>(&'a mut &'static [&'static str]);

impl<'de> serde::Deserializer<'de> for FieldsReader<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        visitor.visit_unit()
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
