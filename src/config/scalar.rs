//! Values that the files may write in more than one way.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A list. An element that could not be read is none, so that the others keep their numbers.
#[derive(Clone, Debug)]
pub(super) struct List<T>(pub(super) Vec<Option<T>>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> List<T> {
    /// The elements that could be read, with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let numbered = self.0.iter().enumerate();
        numbered.filter_map(|(index, element)| Some((index, element.as_ref()?)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        Vec::deserialize(reader).map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for List<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("list_of_{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<T>::json_schema(generator)
    }
}

/// An object, and nothing else: a derived reader alone would take a list of the members' values,
/// too.
#[derive(Clone, Debug, Default)]
pub(super) struct Object<T>(pub(super) T);

impl<T> Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_map(ObjectVisitor(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Object<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// The id of a guest, written as a number or as a text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct IdText(pub(super) String);

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = IdText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the id of a container, as a number or in quotes")
    }

    fn visit_u64<E>(self, number: u64) -> Result<IdText, E> {
        Ok(IdText(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<IdText, E> {
        Ok(IdText(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<IdText, E> {
        Ok(IdText(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for IdText {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(IdVisitor)
    }
}

impl JsonSchema for IdText {
    fn schema_name() -> Cow<'static, str> {
        "id".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The id of a guest, as a number or as a text.",
            "anyOf": [
                { "type": "string", "pattern": "^[1-9][0-9]{2,8}$" },
                { "type": "integer", "minimum": 100, "maximum": 999_999_999 }
            ]
        })
    }
}

/// One text, or a list of texts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum TextOrList {
    /// One text.
    Text(String),
    /// A list.
    List(Vec<String>),
}

/// Reads [`TextOrList`], saying what is expected in the words of the key.
struct TextOrListVisitor<T>(&'static str, PhantomData<T>);

impl<'de, T: From<TextOrList>> Visitor<'de> for TextOrListVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(TextOrList::Text(text.to_owned()).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<T, A::Error> {
        let mut all = Vec::new();
        while let Some(text) = list.next_element()? {
            all.push(text);
        }
        Ok(TextOrList::List(all).into())
    }
}

fn text_or_list_schema(text: &str) -> Schema {
    json_schema!({
        "description": text,
        "anyOf": [
            { "type": "string" },
            { "type": "array", "items": { "type": "string" } }
        ]
    })
}

macro_rules! text_or_list {
    ($name:ident, $schema:literal, $expected:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub(super) struct $name(pub(super) TextOrList);

        impl From<TextOrList> for $name {
            fn from(value: TextOrList) -> Self {
                Self(value)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
                reader.deserialize_any(TextOrListVisitor($expected, PhantomData))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                $schema.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                text_or_list_schema($doc)
            }
        }
    };
}

text_or_list!(
    NameServers,
    "name_servers",
    "addresses of name servers, as a text or a list of texts",
    "Addresses of name servers: a list, or a text that separates them by spaces or commas."
);
text_or_list!(
    Features,
    "features",
    "a list of the names of feature scripts",
    "Names of feature scripts, in the order in which they run. The old form, a text such as \
     nesting=1,keyctl=1, means options of Proxmox VE."
);
text_or_list!(
    Command,
    "command",
    "a command, as a text or as a list of its words",
    "A command: a list of its words, or a text that is split at spaces (no shell reads it)."
);
