//! Rows for people: one line each, within the terminal's width.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{ColumnConstraint, ContentArrangement, Row as Line, Table, Width};
use jiff::tz::TimeZone;

use crate::store::row::Row;
use crate::terminal::escaped;

/// Width if there is no terminal.
const DEFAULT_WIDTH: u16 = 160;

/// Number of rows buffered to be written at once.
const BATCH: usize = 256;

/// Columns with their minimum width and share of the remaining width.
const COLUMNS: [(&str, u16, u16); 9] = [
    ("TIME", 20, 0),
    ("AGENT", 9, 2),
    ("SERVER", 9, 2),
    ("TOOL", 14, 4),
    ("INTENT", 9, 0),
    ("DECISION", 9, 0),
    ("OUTCOME", 10, 0),
    ("RULE", 12, 3),
    ("REASON", 12, 8),
];

/// Columns omitted on narrow terminals, in this order.
const SPARED: [&str; 3] = ["INTENT", "REASON", "AGENT"];

/// Width of the terminal, in columns.
pub(super) fn width() -> u16 {
    terminal_size::terminal_size().map_or(DEFAULT_WIDTH, |(width, _)| width.0)
}

/// A table of rows that is written incrementally.
pub(super) struct Listing<W> {
    out: W,
    widths: Vec<u16>,
    zone: TimeZone,
    waiting: Vec<Row>,
    headed: bool,
}

impl<W: Write> Listing<W> {
    pub(super) fn new(out: W, width: u16) -> Self {
        let waiting = Vec::new();
        Self { out, widths: widths(width), zone: TimeZone::system(), waiting, headed: false }
    }

    pub(super) fn row(&mut self, row: Row) -> io::Result<()> {
        self.waiting.push(row);
        if self.waiting.len() < BATCH { Ok(()) } else { self.flush() }
    }

    pub(super) fn write_message(&mut self, what: &str) -> io::Result<()> {
        writeln!(self.out, "{what}")
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return self.out.flush();
        }
        if !std::mem::replace(&mut self.headed, true) {
            let header = self.lines(std::iter::once(COLUMNS.map(|(name, ..)| name.to_owned())));
            let bold = Style::new().bold();
            for line in header {
                writeln!(self.out, "{bold}{}{bold:#}", line.trim_end())?;
            }
        }
        let rows = std::mem::take(&mut self.waiting);
        let lines = self.lines(rows.iter().map(|row| cells(row, &self.zone)));
        for (line, row) in lines.iter().zip(&rows) {
            let style = style(row);
            writeln!(self.out, "{style}{}{style:#}", line.trim_end())?;
        }
        self.out.flush()
    }

    /// One line per row, truncated to the columns' widths.
    fn lines(&self, rows: impl Iterator<Item = [String; COLUMNS.len()]>) -> Vec<String> {
        let is_there = |width: &&u16| **width > 0;
        let mut table = Table::new();
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.load_style(comfy_table::presets::NOTHING);
        table.set_truncation_indicator("…");
        for row in rows {
            let cells = row.into_iter().zip(&self.widths).filter(|(_, width)| is_there(width));
            let mut line = Line::from(cells.map(|(cell, _)| cell));
            line.max_height(1);
            table.add_row(line);
        }
        let fixed = |width: &u16| ColumnConstraint::Absolute(Width::Fixed(*width));
        table.set_constraints(self.widths.iter().filter(is_there).map(fixed));
        for column in table.column_iter_mut() {
            column.set_padding((0, 1));
        }
        table.lines().collect()
    }
}

/// Widths of [`COLUMNS`]; 0 for omitted ones.
fn widths(total: u16) -> Vec<u16> {
    let mut spared = SPARED.iter();
    let mut columns: Vec<_> = COLUMNS.to_vec();
    loop {
        let least: u16 = columns.iter().map(|(_, least, _)| least).sum();
        let shares: u16 = columns.iter().map(|(_, _, share)| share).sum();
        if least > total
            && let Some(name) = spared.next()
        {
            columns.iter_mut().filter(|(column, ..)| column == name).for_each(|column| {
                (column.1, column.2) = (0, 0);
            });
            continue;
        }
        let left = total.saturating_sub(least);
        return columns.iter().map(|(_, least, share)| least + left * share / shares).collect();
    }
}

fn style(row: &Row) -> Style {
    match (row.decision.as_str(), row.outcome.as_str()) {
        ("deny", _) => AnsiColor::Red.on_default(),
        ("ask", _) | (_, "error") => AnsiColor::Yellow.on_default(),
        _ => Style::new(),
    }
}

fn cells(row: &Row, zone: &TimeZone) -> [String; COLUMNS.len()] {
    let time = row.time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    [
        time,
        escaped(&row.agent),
        escaped(&row.server),
        escaped(if row.tool.is_empty() { &row.method } else { &row.tool }),
        escaped(&row.intent),
        escaped(&row.decision),
        escaped(&row.outcome),
        escaped(&row.rule),
        escaped(&row.reason),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_the_terminal() {
        for width in [74, 80, 90, 104, 120, 200] {
            let listing = Listing::new(Vec::new(), width);
            let long = std::array::from_fn(|column| format!("{column} and another ").repeat(30));
            let lines = listing.lines(std::iter::once(long));
            assert_eq!(lines.len(), 1);
            for line in lines {
                let shown = line.chars().count();
                assert!(shown <= usize::from(width), "{width}: {shown} {line:?}");
                assert_eq!(line.contains("8 and"), width >= 104 - 9, "{width}: {line:?}");
            }
        }
    }
}
