//! The last line before the standard streams: whatever is written to them is written without the
//! secrets of the configuration, wherever it comes from.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::OnceLock;

use serde_json::Value;

use crate::domain::secret::Secrets;

/// The secrets of the one configuration that this process reads.
static SECRETS: OnceLock<Secrets> = OnceLock::new();

/// From now on these are not written.
pub(super) fn hide(secrets: &Secrets) {
    // A process reads one configuration, once; were it read again, it would be the same.
    let _ = SECRETS.set(secrets.clone());
}

/// The text without them.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    SECRETS
        .get()
        .map_or(Cow::Borrowed(text), |secrets| secrets.scrub(text))
}

/// The document without them.
pub(super) fn document(document: &Value) -> Cow<'_, Value> {
    match SECRETS.get() {
        Some(secrets) if !secrets.is_empty() => Cow::Owned(scrubbed(secrets, document)),
        _ => Cow::Borrowed(document),
    }
}

fn scrubbed(secrets: &Secrets, value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(secrets.scrub(text).into_owned()),
        Value::Array(list) => list.iter().map(|value| scrubbed(secrets, value)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (key.clone(), scrubbed(secrets, value)))
            .collect(),
        other => other.clone(),
    }
}

/// Standard error for logs, which come line by line.
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        io::stderr().write_all(text(&line).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
