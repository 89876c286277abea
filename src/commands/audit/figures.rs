//! `audit stats` for people.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table};

use crate::store::stats::{Named, Stats};
use crate::terminal::escaped;

pub(super) fn write(out: &mut impl Write, stats: &Stats) -> io::Result<()> {
    let share = |count: i64| match stats.decisions {
        0 => 0.0,
        all => 100.0 * count as f64 / all as f64,
    };
    writeln!(out, "{} decisions", stats.decisions)?;
    for (decision, count) in &stats.by_decision {
        writeln!(out, "  {decision:<6} {count:>12}  {:>5.1} %", share(*count))?;
    }
    writeln!(out, "a decision took {:.1} µs on average", stats.decision_us_mean)?;
    writeln!(
        out,
        "{} forwarded and answered, {} of them failed; {:.1} ms on average, {:.1} ms at most",
        stats.answered, stats.failed, stats.upstream_ms_mean, stats.upstream_ms_max
    )?;
    for (title, names) in [
        ("agent", &stats.by_agent),
        ("server", &stats.by_server),
        ("tool", &stats.by_tool),
        ("policy: rule that refused or asked", &stats.refusals_by_rule),
    ] {
        if !names.is_empty() {
            writeln!(out, "\n{}", table(title, names))?;
        }
    }
    Ok(())
}

fn table(title: &str, names: &[Named]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header([title, "decisions", "denied"]);
    for Named { name, decisions, denied } in names {
        let name = if name.is_empty() { "(none)".to_owned() } else { escaped(name) };
        table.add_row([name, decisions.to_string(), denied.to_string()]);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}
