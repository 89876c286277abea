//! Points in time as people type them.

use anyhow::Context as _;
use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, Timestamp, Zoned};

/// `--since`: a date means its beginning.
pub(super) fn since(text: &str, now: &Zoned) -> anyhow::Result<Timestamp> {
    point(text, now, Time::MIN)
}

/// `--until`: a date means its end.
pub(super) fn until(text: &str, now: &Zoned) -> anyhow::Result<Timestamp> {
    point(text, now, Time::MAX)
}

/// `--older-than`: an age, or a date, which means its beginning. What lies in
/// the future would be everything, and is refused.
pub(super) fn age(text: &str, now: &Zoned) -> anyhow::Result<Timestamp> {
    let before = since(text, now)?;
    anyhow::ensure!(before <= now.timestamp(), "`{text}` is in the future");
    Ok(before)
}

/// A time with its zone, a local date with or without a time, or how long ago.
fn point(text: &str, now: &Zoned, time_of_date: Time) -> anyhow::Result<Timestamp> {
    let local = |time: DateTime| now.time_zone().to_timestamp(time).ok();
    let date = || -> Option<Timestamp> {
        let date: Date = text.parse().ok().filter(|_| !text.contains(':'))?;
        local(date.to_datetime(time_of_date))
    };
    let ago = || -> Option<Timestamp> {
        let span: Span = text.parse().ok()?;
        now.checked_sub(span.abs()).ok().map(|then| then.timestamp())
    };
    text.parse::<Timestamp>()
        .ok()
        .or_else(date)
        .or_else(|| text.parse().ok().and_then(local))
        .or_else(ago)
        .with_context(|| {
            format!("`{text}` is no time; write 2026-11-22, 2026-11-22T09:00:00Z or 2h (ago)")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        "2026-11-22T09:30:00+09:00[Asia/Tokyo]".parse().unwrap()
    }

    #[test]
    fn every_form_is_read() {
        for (text, time) in [
            ("2026-11-20T00:00:00Z", "2026-11-20T00:00:00Z"),
            ("2026-11-20T09:00:00+09:00", "2026-11-20T00:00:00Z"),
            ("2026-11-20", "2026-11-19T15:00:00Z"),
            ("2026-11-20T09:00", "2026-11-20T00:00:00Z"),
            ("2026-11-20 09:00:00", "2026-11-20T00:00:00Z"),
            ("2h", "2026-11-21T22:30:00Z"),
            ("90m", "2026-11-21T23:00:00Z"),
            ("1h30m", "2026-11-21T23:00:00Z"),
            ("30d", "2026-10-23T00:30:00Z"),
            ("2w", "2026-11-08T00:30:00Z"),
        ] {
            let read = since(text, &now()).unwrap();
            assert_eq!(read.to_string(), time, "{text}");
        }
    }

    #[test]
    fn until_a_date_includes_it() {
        let read = until("2026-11-20", &now()).unwrap();
        assert_eq!(read.to_string(), "2026-11-20T14:59:59.999999999Z");
    }

    #[test]
    fn nonsense_and_the_future_are_refused() {
        for text in ["", "yesterday-ish", "2026-13-01", "12", "5"] {
            assert!(since(text, &now()).is_err(), "{text}");
        }
        assert!(age("2027-01-01", &now()).is_err());
    }
}
