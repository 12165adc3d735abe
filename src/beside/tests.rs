use std::io::Cursor;

use chrono::DateTime;
use proptest::prelude::*;
use uuid::Uuid;

use super::protocol::{self, About, Ask, End, MAX_REQUEST, Reply, Request};
use crate::domain::event::{Entry, Event};
use crate::domain::ids::{Ctid, JournalId, RunId};
use crate::domain::record::Record;

fn requests() -> impl Strategy<Value = Request> {
    let entries = (any::<Option<u32>>(), any::<u64>(), any::<bool>());
    let entries = entries.prop_map(|(ctid, after, follow)| Ask::Entries {
        ctid: ctid.and_then(|number| Ctid::try_from(number).ok()),
        after,
        follow,
    });
    let ask = prop_oneof![Just(Ask::Who), Just(Ask::Record), entries];
    (any::<u32>(), ask).prop_map(|(phoenix, ask)| Request { phoenix, ask })
}

fn replies() -> impl Strategy<Value = Reply> {
    let about = (".*", any::<u32>(), any::<Option<u128>>(), any::<u64>());
    let about = about.prop_map(|(text, pid, run, durable)| {
        Reply::About(Box::new(About {
            version: text.clone(),
            pid,
            command: text.clone(),
            operator: text.clone(),
            since: DateTime::from_timestamp_millis(i64::from(pid)).expect("a time"),
            run: run.map(|run| RunId(Uuid::from_u128(run))),
            journal: JournalId(Uuid::nil()),
            host: text,
            durable,
        }))
    });
    let entry = (any::<u64>(), ".*").prop_map(|(seq, reason)| {
        Reply::Entry(Box::new(Entry {
            seq,
            at: DateTime::default(),
            run: RunId::NONE,
            ctid: None,
            event: Event::RunInterrupted { reason },
        }))
    });
    prop_oneof![
        about,
        entry,
        any::<u64>().prop_map(Reply::Upto),
        Just(Reply::Record(Box::default())),
        Just(Reply::End(End::Complete)),
        Just(Reply::End(End::Over)),
        ".*".prop_map(Reply::Refused),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_line_by_line(replies in prop::collection::vec(replies(), 0..8)) {
        let mut bytes = Vec::new();
        for reply in &replies {
            protocol::write(&mut bytes, reply).expect("written");
        }
        prop_assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), replies.len());
        let mut from = Cursor::new(bytes);
        for reply in replies {
            prop_assert_eq!(protocol::read(&mut from, 1 << 20).expect("read"), Some(reply));
        }
        prop_assert_eq!(protocol::read::<Reply>(&mut from, 1 << 20).expect("read"), None);
    }

    #[test]
    fn a_request_is_short_and_read_as_it_was(request in requests()) {
        let mut bytes = Vec::new();
        protocol::write(&mut bytes, &request).expect("written");
        prop_assert!(bytes.len() < MAX_REQUEST);
        let read = protocol::read(&mut Cursor::new(&bytes), MAX_REQUEST).expect("read");
        prop_assert_eq!(read, Some(request));
        // A line that breaks off is never taken for a whole one, nor for the end.
        let cut = &bytes[..bytes.len() - 1];
        prop_assert!(protocol::read::<Request>(&mut Cursor::new(cut), MAX_REQUEST).is_err());
    }

    #[test]
    fn anything_else_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..6000)) {
        let mut from = Cursor::new(bytes);
        let before = from.position();
        let read = protocol::read::<Request>(&mut from, MAX_REQUEST);
        prop_assert!(!matches!(read, Ok(Some(_))));
        prop_assert!(from.position() - before <= MAX_REQUEST as u64);
    }
}

#[test]
fn no_more_is_read_than_the_limit() {
    let mut endless = std::io::BufReader::new(std::io::repeat(b'x'));
    let read = protocol::read::<Request>(&mut endless, MAX_REQUEST);
    assert_eq!(
        read.expect_err("too long").kind(),
        std::io::ErrorKind::InvalidData
    );
}

#[test]
fn a_record_comes_back() {
    let record = Record::default();
    let text = serde_json::to_string(&record).expect("JSON");
    assert_eq!(
        serde_json::from_str::<Record>(&text).expect("a record"),
        record
    );
}
