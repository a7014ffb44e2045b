//! GPUs, as a table.

use super::{
    meter::{self, spark},
    table::{Cell, Table, column},
};
use crate::monitor::{
    figures::{Figures, gpus::Gpu},
    history::History,
    theme::Tone,
    units::{NONE, bytes, count, percent, whole},
};

/// Columns of the screen for the line of a GPU's utilisation.
const LINE: u16 = 24;

/// The screen's width from which that line is drawn.
const WIDE: u16 = 150;

/// So near to where a GPU slows down it is hot, in degrees.
const HOT: f64 = 5.0;

pub(super) fn table(figures: &Figures, history: &History, width: u16) -> Table {
    let mut columns = vec![
        column("GPU", 12, 0),
        column("UTIL", 5, 0),
        column("SM", 5, 3),
        column("MEMORY", 13, 0),
        column("TEMP", 5, 0),
        column("POWER", 9, 1),
        column("CLOCK", 7, 3),
        column("PCIe/s", 7, 5),
        column("XIDs", 5, 2),
        column("ECC", 5, 2),
        column("SLOWED BY", 14, 1),
    ];
    let is_wide = width >= WIDE;
    if is_wide {
        columns.push(column("UTIL, LAST", LINE, 6));
    }
    let row = |gpu: &Gpu| {
        let mut row = row(gpu);
        if is_wide {
            let past = history.last(&format!("gpu {}", gpu.number), LINE.into());
            row.push(Cell::text(spark(&past, Some(1.0))).tone(Tone::Accent));
        }
        row
    };
    Table {
        columns,
        rows: figures.gpus.iter().map(row).collect(),
    }
}

/// The number and the name, without the maker's.
pub(super) fn title(gpu: &Gpu) -> String {
    let name = gpu.name.as_deref().unwrap_or(NONE);
    let name = name.strip_prefix("NVIDIA ").unwrap_or(name);
    format!("{} {name}", gpu.number)
}

/// The tone of a temperature.
pub(super) fn heat(gpu: &Gpu) -> Tone {
    match gpu.celsius.zip(gpu.celsius_limit) {
        Some((celsius, limit)) if celsius >= limit => Tone::Bad,
        Some((celsius, limit)) if celsius >= limit - HOT => Tone::Warn,
        _ => Tone::Plain,
    }
}

/// Why it is slower than it could be.
pub(super) fn slowed(gpu: &Gpu) -> String {
    match &gpu.throttled {
        None => NONE.to_owned(),
        Some(reasons) if reasons.is_empty() => "no".to_owned(),
        Some(reasons) => reasons.join(" "),
    }
}

fn hertz(value: Option<f64>) -> String {
    match count(value) {
        none if none == NONE => none,
        count => count + "Hz",
    }
}

fn row(gpu: &Gpu) -> Vec<Cell> {
    let used = gpu.memory_used.zip(gpu.memory_total);
    let share = used.map(|(used, total)| used / total);
    let memory = match used {
        Some((used, total)) => format!("{}/{}", bytes(Some(used)), bytes(Some(total))),
        None => NONE.to_owned(),
    };
    let power = match gpu.watts_limit {
        Some(limit) => format!("{}/{}", whole(gpu.watts, ""), whole(Some(limit), "W")),
        None => whole(gpu.watts, "W"),
    };
    let is_slow = gpu
        .throttled
        .as_ref()
        .is_some_and(|reasons| !reasons.is_empty());
    let some = |value: Option<f64>| value.is_some_and(|value| value > 0.0);
    let title = Cell {
        order: gpu.number.parse().ok().map(|number: f64| -number),
        ..Cell::text(title(gpu))
    };
    vec![
        title.tone_if(gpu.is_lost, Tone::Bad),
        Cell::number(gpu.utilization, percent),
        Cell::number(gpu.sm_activity, percent),
        Cell {
            text: memory,
            ..Cell::number(share, percent)
        }
        .tone(meter::tone(share)),
        Cell::number(gpu.celsius, |celsius| whole(celsius, "°C")).tone(heat(gpu)),
        Cell {
            text: power,
            ..Cell::number(gpu.watts, count)
        },
        Cell::number(gpu.clock_hertz, hertz),
        Cell::number(gpu.pcie_bytes, bytes),
        Cell::number(gpu.xids, count).tone_if(some(gpu.xids), Tone::Bad),
        Cell::number(gpu.ecc, count).tone_if(some(gpu.ecc), Tone::Bad),
        if gpu.is_lost {
            Cell::text("IT DOES NOT ANSWER").tone(Tone::Bad)
        } else {
            Cell::text(slowed(gpu)).tone_if(is_slow, Tone::Warn)
        },
    ]
}
