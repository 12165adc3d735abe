//! The one place where the JSON of events written by an older phoenix becomes today's.
//!
//! An event's meaning never changes. When its form has to, the format version goes up by one and
//! a step is added to [`STEPS`] that rewrites the old form; nothing else learns of old forms.

use serde_json::Value;

use crate::domain::event::Event;

/// Rewrites an event's JSON from one format to the next.
type Upcast = fn(Value) -> Value;

/// `STEPS[n]` rewrites format `n + 1` into format `n + 2`.
const STEPS: [Upcast; super::record::FORMAT as usize - 1] = [];

/// Reads an event that was stored in a format.
pub(super) fn event(format: u8, json: &str) -> serde_json::Result<Event> {
    if format == super::record::FORMAT {
        return serde_json::from_str(json);
    }
    let value = serde_json::from_str(json)?;
    serde_json::from_value(through(&STEPS, format, value))
}

/// Applies the steps that a format still lacks, in order.
fn through(steps: &[Upcast], format: u8, value: Value) -> Value {
    let behind = usize::from(format).saturating_sub(1);
    steps
        .iter()
        .skip(behind)
        .fold(value, |value, step| step(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A made-up history: format 1 said `reason` as `why`, format 2 said it as `because`.
    fn steps() -> [Upcast; 2] {
        fn rename(mut value: Value, from: &str, to: &str) -> Value {
            let fields = value.as_object_mut().unwrap();
            let text = fields.shift_remove(from).unwrap();
            fields.insert(to.to_owned(), text);
            value
        }
        [
            |value| rename(value, "why", "because"),
            |value| rename(value, "because", "reason"),
        ]
    }

    #[test]
    fn an_old_event_passes_every_step_it_lacks_and_no_other() {
        let today = json!({"kind": "run_interrupted", "reason": "signal"});
        for (format, key) in [(1, "why"), (2, "because"), (3, "reason")] {
            let stored = json!({"kind": "run_interrupted", key: "signal"});
            let value = through(&steps(), format, stored);
            assert_eq!(value, today);
            let event: Event = serde_json::from_value(value).unwrap();
            assert_eq!(
                event,
                Event::RunInterrupted {
                    reason: "signal".to_owned()
                }
            );
        }
    }

    #[test]
    fn todays_events_are_read_as_they_are() {
        let event = event(
            super::super::record::FORMAT,
            r#"{"kind":"container_unchanged"}"#,
        );
        assert_eq!(event.unwrap(), Event::ContainerUnchanged);
    }
}
