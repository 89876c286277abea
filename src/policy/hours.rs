//! `time_restrictions`: the hours and days on which a policy allows requests.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

use super::document::HoursDoc;
use super::fields::{At, Reader};

/// Compiled `time_restrictions` of a policy.
#[derive(Debug, Clone)]
pub(crate) struct Hours {
    /// The policy.
    pub(crate) policy: Arc<str>,
    zone: TimeZone,
    /// Start (inclusive) and end (exclusive); `None` for the whole day.
    hours: Option<(Time, Time)>,
    /// Monday first.
    days: [bool; 7],
}

impl Hours {
    pub(crate) fn compile(
        reader: &mut Reader<'_>,
        policy: &Arc<str>,
        document: &HoursDoc,
    ) -> Option<Self> {
        let zone = match &document.timezone {
            None => Some(TimeZone::UTC),
            Some(name) => zone(reader, name),
        };
        let mut parse =
            |text: &Option<At<String>>| text.as_ref().and_then(|text| time(reader, text));
        let hours = parse(&document.start).zip(parse(&document.end));
        Some(Self { policy: Arc::clone(policy), zone: zone?, hours, days: document.days })
    }

    /// Whether `at` is within the hours. Hours across midnight belong to the day on which they
    /// start; equal start and end mean the whole day.
    pub(crate) fn allow(&self, at: Timestamp) -> bool {
        let local = at.to_zoned(self.zone.clone());
        let (now, today) = (local.time(), local.weekday());
        let on = |day: Weekday| {
            let index = usize::try_from(day.to_monday_zero_offset()).unwrap_or_default();
            self.days.get(index).copied().unwrap_or_default()
        };
        match self.hours {
            Some((start, end)) if start < end => on(today) && start <= now && now < end,
            Some((start, end)) if start > end => {
                (now >= start && on(today)) || (now < end && on(today.previous()))
            }
            _ => on(today),
        }
    }
}

/// What to write in place of an unknown time zone.
pub(super) const ZONE_ADVICE: &str = "use a name such as `Asia/Tokyo` or `UTC`";

fn zone(reader: &mut Reader<'_>, name: &At<String>) -> Option<TimeZone> {
    match TimeZone::get(&name.value) {
        Ok(zone) => Some(zone),
        Err(_) => {
            let finding = reader.finding(name.span, format!("unknown time zone `{}`", name.value));
            reader.found.push(finding.help(ZONE_ADVICE));
            None
        }
    }
}

/// Parses `HH:MM`; `24:00` is the end of the day.
fn time(reader: &mut Reader<'_>, text: &At<String>) -> Option<Time> {
    let parsed = text.value.split_once(':').and_then(|(hour, minute)| {
        let two_digits = |part: &str| {
            let fits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<i8>().ok().filter(|_| fits)
        };
        let (hour, minute) = (two_digits(hour)?, two_digits(minute)?);
        let hour = if (hour, minute) == (24, 0) { 0 } else { hour };
        Time::new(hour, minute, 0, 0).ok()
    });
    if parsed.is_none() {
        let finding = reader.finding(text.span, format!("`{}` is not a time of day", text.value));
        reader.found.push(finding.help("write hours and minutes, such as `\"09:00\"`"));
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(start: &str, end: &str, days: [bool; 7], zone: &str) -> Hours {
        let time = |text: &str| text.parse().unwrap();
        Hours {
            policy: "p".into(),
            zone: TimeZone::get(zone).unwrap(),
            hours: Some((time(start), time(end))),
            days,
        }
    }

    const WEEKDAYS: [bool; 7] = [true, true, true, true, true, false, false];

    #[test]
    fn office_hours_in_a_time_zone() {
        let office = hours("09:00", "18:00", WEEKDAYS, "Asia/Tokyo");
        for (at, inside) in [
            ("2026-11-20T00:00:00Z", true),  // Friday 09:00
            ("2026-11-19T23:59:59Z", false), // Friday 08:59:59
            ("2026-11-20T08:59:59Z", true),
            ("2026-11-20T09:00:00Z", false), // Friday 18:00
            ("2026-11-21T01:00:00Z", false), // Saturday
            ("2026-11-22T23:00:00Z", false), // Monday 08:00
        ] {
            assert_eq!(office.allow(at.parse().unwrap()), inside, "{at}");
        }
    }

    #[test]
    fn hours_across_midnight_belong_to_the_day_they_start_on() {
        let mut friday = [false; 7];
        friday[4] = true;
        let night = hours("22:00", "06:00", friday, "UTC");
        for (at, inside) in [
            ("2026-11-20T22:00:00Z", true),
            ("2026-11-21T05:59:00Z", true),
            ("2026-11-21T06:00:00Z", false),
            ("2026-11-20T05:00:00Z", false),
            ("2026-11-21T22:00:00Z", false),
        ] {
            assert_eq!(night.allow(at.parse().unwrap()), inside, "{at}");
        }
        assert!(
            hours("00:00", "00:00", friday, "UTC").allow("2026-11-20T12:00:00Z".parse().unwrap())
        );
    }
}
