//! Watched process groups, as a table.

use super::table::{Cell, Table, column};
use crate::monitor::{
    figures::agents::Agent,
    theme::Tone,
    units::{bytes, count, percent},
};

pub(super) fn table(agents: &[Agent]) -> Table {
    Table {
        columns: vec![
            column("AGENT", 14, 0),
            column("PROCS", 6, 1),
            column("CPU", 6, 0),
            column("RSS", 7, 0),
            column("FDS", 6, 2),
            column("THRDS", 6, 2),
            column("CALLS/s", 8, 1),
            column("ERR/s", 6, 3),
            column("CRASHES", 8, 1),
            column("DISK/s", 7, 4),
            column("NET/s", 7, 4),
            column("CPU WAIT p99", 12, 5),
        ],
        rows: agents.iter().map(row).collect(),
    }
}

fn row(agent: &Agent) -> Vec<Cell> {
    let crashed = agent.new_crashes.is_some_and(|new| new > 0.0);
    let has_crashed = agent.crashes.is_some_and(|crashes| crashes > 0.0);
    let waits = agent.waits_p99;
    let wait = Cell {
        text: super::quantile(waits, true),
        ..Cell::number(
            waits.map(crate::monitor::distribution::Quantile::least),
            count,
        )
    };
    vec![
        Cell::text(&agent.name),
        Cell::number(agent.processes, count),
        Cell::number(agent.cpu, percent),
        Cell::number(agent.rss_bytes, bytes),
        Cell::number(agent.fds, count),
        Cell::number(agent.threads, count),
        Cell::number(agent.calls, count),
        Cell::number(agent.call_errors, count),
        Cell::number(agent.crashes, count)
            .tone_if(crashed, Tone::Bad)
            .tone_if(has_crashed, Tone::Warn),
        Cell::number(agent.disk_bytes, bytes),
        Cell::number(agent.network_bytes, bytes),
        wait,
    ]
}
