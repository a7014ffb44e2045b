//! Latencies, as a table with a line of what the slowest were.

use super::{
    meter::spark,
    quantile,
    table::{Cell, Table, column},
};
use crate::monitor::{
    distribution::Quantile,
    figures::{Figures, latency::Latency},
    history::History,
    theme::Tone,
    units::{count, seconds},
};

/// Columns for the line, of a screen so wide, and of a wider one.
const NARROW: (u16, u16) = (120, 12);
const WIDE: u16 = 40;

pub(super) fn table(figures: &Figures, history: &History, width: u16) -> Table {
    let line = if width < NARROW.0 { NARROW.1 } else { WIDE };
    Table {
        columns: vec![
            column("WHAT", 34, 0),
            column("/s", 6, 1),
            column("MEAN", 7, 2),
            column("p50", 7, 0),
            column("p99", 7, 0),
            column("p99, LAST", line, 1),
        ],
        rows: figures
            .latencies
            .iter()
            .map(|one| row(one, history, line))
            .collect(),
    }
}

fn row(latency: &Latency, history: &History, line: u16) -> Vec<Cell> {
    let at = |value: Option<Quantile>| Cell {
        text: quantile(value, latency.is_time),
        ..Cell::number(value.map(Quantile::least), count)
    };
    let mean = if latency.is_time { seconds } else { count };
    let past = history.last(&latency.key(), line.into());
    vec![
        Cell::text(format!("{} {}", latency.metric, latency.what)),
        Cell::number(latency.rate, count),
        Cell::number(latency.mean, mean),
        at(latency.p50),
        at(latency.p99),
        Cell::text(spark(&past, None)).tone(Tone::Accent),
    ]
}
