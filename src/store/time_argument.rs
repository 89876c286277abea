//! Times as people type them in arguments and parameters.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, Timestamp, Zoned};

/// Error of parsing a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTime {
    /// Not in a known format.
    #[error("`{0}` is not a time; write 2026-11-22, 2026-11-22T09:00:00Z, 2h or 30d (ago)")]
    Unreadable(String),
    /// A bare number: the unit is missing.
    #[error("`{0}` has no unit; write {0}d, {0}h or {0}m (days, hours or minutes ago), or a date")]
    NoUnit(String),
    /// In the future: as an age it would select everything.
    #[error("`{0}` is in the future")]
    Future(String),
}

/// Parses the value of `since`. A date without a time means its first moment in the zone of
/// `now`.
///
/// # Errors
/// [`BadTime::Unreadable`], [`BadTime::NoUnit`].
pub fn since(text: &str, now: &Zoned) -> Result<Timestamp, BadTime> {
    point(text, now, Time::MIN)
}

/// Parses the value of `until`. A date without a time means its last moment in the zone of
/// `now`.
///
/// # Errors
/// [`BadTime::Unreadable`], [`BadTime::NoUnit`].
pub fn until(text: &str, now: &Zoned) -> Result<Timestamp, BadTime> {
    point(text, now, Time::MAX)
}

/// Parses the value of `older-than`: an age, or a date, which means its first moment.
///
/// # Errors
/// See [`BadTime`].
pub fn age(text: &str, now: &Zoned) -> Result<Timestamp, BadTime> {
    let before = since(text, now)?;
    if before <= now.timestamp() { Ok(before) } else { Err(BadTime::Future(text.to_owned())) }
}

/// A timestamp with a zone, a local date with or without a time, or a duration before `now`.
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
