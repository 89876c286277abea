//! Time zones in expressions: `time.getHours('Europe/Berlin')`.
//!
//! They are looked up where `time_restrictions` looks them up, in the system's time zone
//! database. The interpreter would use another one, which is compiled into it and thus never
//! updated, and which would be a tenth of the gate's memory (`.cargo/config.toml` leaves it
//! out).

use cel::common::ast::{CallExpr, Expr, LiteralValue};
use cel::parser::Expression;
use cel::{ExecutionError, Value};
use chrono::{DateTime, FixedOffset};
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use crate::policy::hours::ZONE_ADVICE;

/// The function that moves a time into a time zone; no expression can spell its name.
pub(super) const IN_ZONE: &str = "@in_zone";

/// The functions that take a time zone.
/// <https://github.com/google/cel-spec/blob/master/doc/langdef.md#list-of-standard-definitions>
const GETTERS: [&str; 10] = [
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
];

/// Turns `time.getHours(zone)` into `@in_zone(time, zone).getHours()`.
///
/// # Errors
/// If the zone is a literal that names none.
pub(super) fn resolve(call: &mut CallExpr, id: u64) -> Result<(), String> {
    let operands = call.args.len() + usize::from(call.target.is_some());
    if operands != 2 || !GETTERS.contains(&call.func_name.as_str()) {
        return Ok(());
    }
    if let Some(Expr::Literal(LiteralValue::String(name))) = call.args.last().map(|it| &it.expr) {
        find(name.inner())?;
    }
    let mut args = std::mem::take(&mut call.args);
    args.splice(..0, call.target.take().map(|time| *time));
    let moved = CallExpr { func_name: IN_ZONE.to_owned(), target: None, args };
    call.target = Some(Box::new(Expression { id, expr: Expr::Call(moved) }));
    Ok(())
}

/// Implements [`IN_ZONE`].
pub(super) fn in_zone(time: Value, zone: Value) -> Result<Value, ExecutionError> {
    let error = |why: String| ExecutionError::function_error("timezone", why);
    let (Value::Timestamp(time), Value::String(zone)) = (time, zone) else {
        return Err(error("it takes a time and a time zone".to_owned()));
    };
    let zone = find(&zone).map_err(error)?;
    moved(time, &zone).map(Value::Timestamp).ok_or_else(|| error("out of range".to_owned()))
}

fn moved(time: DateTime<FixedOffset>, zone: &TimeZone) -> Option<DateTime<FixedOffset>> {
    let offset = zone.to_offset(Timestamp::from_second(time.timestamp()).ok()?);
    Some(time.with_timezone(&FixedOffset::east_opt(offset.seconds())?))
}

/// A zone by its IANA name or its offset from UTC (`+02:00`); an empty name is UTC.
fn find(name: &str) -> Result<TimeZone, String> {
    let unknown = || format!("unknown time zone `{name}`: {ZONE_ADVICE}");
    if name.is_empty() {
        return Ok(TimeZone::UTC);
    }
    match name.contains(':') {
        true => offset(name).map(TimeZone::fixed),
        false => TimeZone::get(name).ok(),
    }
    .ok_or_else(unknown)
}

/// Parses `[+-]HH:MM`.
fn offset(text: &str) -> Option<Offset> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = digits.split_once(':')?;
    let number = |part: &str, limit: i32| {
        let fits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<i32>().ok().filter(|number| fits && *number < limit)
    };
    Offset::from_seconds(sign * (number(hours, 24)? * 3_600 + number(minutes, 60)? * 60)).ok()
}
