//! Rows as CSV, as RFC 4180 has it, and so that no spreadsheet takes a value for a
//! formula: what begins with `=`, `+`, `-`, `@`, one of them in full width, or a control
//! character gets a `'` in front.

use std::io::{self, Write};

use super::row::{COLUMNS, Row};

/// Writes the header line.
pub(crate) fn header(out: &mut impl Write) -> io::Result<()> {
    line(out, COLUMNS)
}

/// Writes one row.
pub(crate) fn row(out: &mut impl Write, row: &Row) -> io::Result<()> {
    let values = row.values();
    line(out, values.iter().map(String::as_str))
}

/// Writes one line of `values`.
pub(crate) fn line<'v>(
    out: &mut impl Write,
    values: impl IntoIterator<Item = &'v str>,
) -> io::Result<()> {
    for (index, value) in values.into_iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        field(out, value)?;
    }
    out.write_all(b"\r\n")
}

fn field(out: &mut impl Write, value: &str) -> io::Result<()> {
    let formula =
        value.starts_with(|first: char| "=+-@＝＋－＠".contains(first) || first.is_control());
    let value = if formula { format!("'{value}") } else { value.to_owned() };
    if value.contains(['"', ',', '\r', '\n']) {
        return write!(out, "\"{}\"", value.replace('"', "\"\""));
    }
    out.write_all(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_formulas_are_not() {
        for (value, written) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-2+3,4", "\"'-2+3,4\""),
            ("\t=1", "'\t=1"),
            ("＝1+1", "'＝1+1"),
        ] {
            let mut out = Vec::new();
            field(&mut out, value).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), written);
        }
    }
}
