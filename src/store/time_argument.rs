//! Times as people type them in arguments and parameters.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, Timestamp, Zoned};

/// Not a time, or not one that makes sense here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTime {
    /// It cannot be read.
    #[error("`{0}` is not a time; write 2026-11-22, 2026-11-22T09:00:00Z, 2h or 30d (ago)")]
    Unreadable(String),
    /// A number alone may be of anything.
    #[error("`{0}` has no unit; write {0}d, {0}h or {0}m (days, hours or minutes ago), or a date")]
    NoUnit(String),
    /// What lies in the future would be everything.
    #[error("`{0}` is in the future")]
    Future(String),
}

/// `since`: a date means its beginning, in the zone of `now`.
///
/// # Errors
/// [`BadTime::Unreadable`], [`BadTime::NoUnit`].
pub fn since(text: &str, now: &Zoned) -> Result<Timestamp, BadTime> {
    point(text, now, Time::MIN)
}

/// `until`: a date means its end, in the zone of `now`.
///
/// # Errors
/// [`BadTime::Unreadable`], [`BadTime::NoUnit`].
pub fn until(text: &str, now: &Zoned) -> Result<Timestamp, BadTime> {
    point(text, now, Time::MAX)
}

/// `older-than`: an age, or a date, which means its beginning.
///
/// # Errors
/// See [`BadTime`].
pub fn age(text: &str, now: &Zoned) -> Result<Timestamp, BadTime> {
    let before = since(text, now)?;
    if before <= now.timestamp() { Ok(before) } else { Err(BadTime::Future(text.to_owned())) }
}

/// A time with its zone, a local date with or without a time, or how long ago.
fn point(text: &str, now: &Zoned, time_of_date: Time) -> Result<Timestamp, BadTime> {
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
        .ok_or_else(|| match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => BadTime::NoUnit(text.to_owned()),
            false => BadTime::Unreadable(text.to_owned()),
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
