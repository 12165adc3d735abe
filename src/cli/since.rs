//! A moment on the command line: how long ago, a day, or a time.

use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

/// What `--since` takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Since {
    /// So long ago.
    Ago(TimeDelta),
    /// A moment.
    At(DateTime<Utc>),
}

/// Not a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no moment: write 30m, 2h, 7d, 2026-01-31, or 2026-01-31T10:00:00Z")]
pub(super) struct InvalidSince(String);

impl Since {
    /// The moment, seen from now.
    pub(super) fn moment(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::Ago(delta) => now
                .checked_sub_signed(delta)
                .unwrap_or(DateTime::<Utc>::MIN_UTC),
            Self::At(moment) => moment,
        }
    }
}

impl FromStr for Since {
    type Err = InvalidSince;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::At(moment.to_utc()));
        }
        if let Ok(day) = text.parse::<NaiveDate>() {
            return Ok(Self::At(day.and_time(NaiveTime::MIN).and_utc()));
        }
        ago(text)
            .map(Self::Ago)
            .ok_or_else(|| InvalidSince(text.to_owned()))
    }
}

fn ago(text: &str) -> Option<TimeDelta> {
    let unit = text.chars().last()?;
    let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
    let number = i64::from(number);
    match unit {
        's' => TimeDelta::try_seconds(number),
        'm' => TimeDelta::try_minutes(number),
        'h' => TimeDelta::try_hours(number),
        'd' => TimeDelta::try_days(number),
        'w' => TimeDelta::try_weeks(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use chrono::Days;

    use super::*;

    #[test]
    fn moments_are_read() {
        let now = DateTime::<Utc>::UNIX_EPOCH
            .checked_add_days(Days::new(30))
            .expect("in range");
        for (text, shown) in [
            ("30m", "1970-01-30T23:30:00+00:00"),
            ("7d", "1970-01-24T00:00:00+00:00"),
            ("1w", "1970-01-24T00:00:00+00:00"),
            ("1970-01-02", "1970-01-02T00:00:00+00:00"),
            ("1970-01-02T03:04:05+01:00", "1970-01-02T02:04:05+00:00"),
        ] {
            let since: Since = text.parse().expect(text);
            assert_eq!(since.moment(now).to_rfc3339(), shown, "{text}");
        }
        let ancient: Since = "4294967295w".parse().expect("a long time");
        assert_eq!(ancient.moment(now), DateTime::<Utc>::MIN_UTC);
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in ["", "m", "-1h", "2", "2y", "1970-13-01", "yesterday", "5ü"] {
            assert!(bad.parse::<Since>().is_err(), "{bad}");
        }
    }
}
