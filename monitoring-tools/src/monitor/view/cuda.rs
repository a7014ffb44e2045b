//! Calls into CUDA: kernels as a table, and above it what they add up to and which calls there are.

use ratatui::{buffer::Buffer, layout::Rect};

use super::{
    heading, put, quantile,
    table::{Cell, Table, column},
};
use crate::monitor::{
    figures::cuda::{Call, Cuda, Kernel},
    theme::{Theme, Tone},
    units::{NONE, bytes, count, two},
};

/// Lines for calls, of so many lines for all.
const PART: u16 = 3;

/// Draws all but the kernels, which are the table that is returned with its place.
pub(super) fn draw(cuda: &Cuda, area: Rect, buffer: &mut Buffer, theme: Theme) -> (Table, Rect) {
    let table = kernels(&cuda.kernels);
    if cuda.is_empty() {
        return (table, area);
    }
    let copies: Vec<String> = cuda
        .copies
        .iter()
        .map(|(way, rate)| format!("{way} {}/s", bytes(*rate)))
        .collect();
    let copies = if copies.is_empty() {
        NONE.to_owned()
    } else {
        copies.join("  ")
    };
    let line = format!(
        "copied {copies}  held {}  waiting threads {}  errors {}/s",
        bytes(cuda.allocated),
        two(cuda.waiting),
        count(cuda.errors)
    );
    put(
        buffer,
        (area.x, area.y),
        area.width,
        &line,
        theme.style(Tone::Plain),
        false,
    );
    let wanted = u16::try_from(cuda.calls.len())
        .unwrap_or(u16::MAX)
        .saturating_add(1);
    // Calls may have a part, and what kernels do not need.
    let of_kernels = u16::try_from(table.rows.len()).unwrap_or(u16::MAX);
    let spare = area.height.saturating_sub(of_kernels.saturating_add(3));
    let height = wanted.min(spare.max(area.height / PART)).max(3);
    let calls_area = Rect {
        y: area.y + 1,
        height,
        ..area
    };
    calls(&cuda.calls).draw(calls_area, buffer, theme, None);
    let title = Rect {
        y: calls_area.bottom(),
        height: 1,
        ..area
    };
    heading(buffer, title, "Kernels", "launches of all agents", theme);
    let below = Rect {
        y: title.bottom(),
        height: area.bottom().saturating_sub(title.bottom()),
        ..area
    };
    (table, below)
}

fn kernels(kernels: &[Kernel]) -> Table {
    let row = |kernel: &Kernel| {
        vec![
            Cell::text(&kernel.name),
            Cell::number(kernel.launches, count),
            Cell::number(kernel.total, count),
            Cell::text(&kernel.devices),
            Cell::text(&kernel.agents),
        ]
    };
    Table {
        columns: vec![
            column("KERNEL", 24, 0),
            column("LAUNCH/s", 9, 0),
            column("TOTAL", 8, 1),
            column("GPUs", 8, 2),
            column("AGENTS", 20, 3),
        ],
        rows: kernels.iter().map(row).collect(),
    }
}

fn calls(calls: &[Call]) -> Table {
    let row = |call: &Call| {
        let is_failing = call.errors.is_some_and(|errors| errors > 0.0);
        let time = |value| Cell {
            is_text: false,
            ..Cell::text(quantile(value, true))
        };
        vec![
            Cell::text(&call.name),
            Cell::number(call.calls, count),
            Cell::number(call.total, count),
            time(call.p50),
            time(call.p99),
            Cell::number(call.errors, count).tone_if(is_failing, Tone::Bad),
        ]
    };
    Table {
        columns: vec![
            column("CALL", 24, 0),
            column("CALLS/s", 9, 0),
            column("TOTAL", 8, 1),
            column("p50", 8, 0),
            column("p99", 8, 0),
            column("ERR/s", 7, 1),
        ],
        rows: calls.iter().map(row).collect(),
    }
}
