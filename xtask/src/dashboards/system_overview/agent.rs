//! How the agent itself does, and what it costs. Knows no JSON.

use crate::dashboards::{board::Row, panel::Panel};

pub(in crate::dashboards) fn row() -> Row {
    let mut panels = vec![
        Panel::states(
            "Sources",
            "Whether each source's last collection succeeded. `gpu` and `cuda` are off where there is no GPU.",
            "{{source}}, {{instance}}",
            "monitoring_agent_source_up",
        )
        .means(&[(0.0, "off", "red"), (1.0, "up", "green")]),
        Panel::series(
            "Events lost",
            "ops",
            "Events that could not be accounted for: the ten most frequent reasons, and all. Numbers are too small by them.",
        )
        .query(
            "{{source}}: {{reason}}",
            "topk(10, sum by (source, reason) (rate(monitoring_agent_lost_total[$__rate_interval])))",
        )
        .query(
            "all",
            "sum(rate(monitoring_agent_lost_total[$__rate_interval]))",
        ),
        Panel::series(
            "Age of the numbers",
            "s",
            "How old the snapshot was that a scrape was answered with, and the oldest source's numbers in it.",
        )
        .query("snapshot, {{instance}}", "monitoring_agent_snapshot_age_seconds")
        .query(
            "{{source}}, {{instance}}",
            "topk(3, monitoring_agent_source_age_seconds)",
        )
        .from(&[(60.0, "red")]),
        Panel::series(
            "What watching costs",
            "short",
            "CPUs that the agent's own process keeps busy.",
        )
        .query(
            "{{instance}}",
            "rate(process_cpu_seconds_total[$__rate_interval])",
        ),
        Panel::series(
            "Memory of the agent",
            "bytes",
            "Resident memory of the agent's process, and memory of its kernel maps.",
        )
        .query("resident, {{instance}}", "process_resident_memory_bytes")
        .query(
            "maps, {{instance}}",
            "sum by (instance) (monitoring_agent_bpf_map_bytes)",
        ),
    ];
    panels.extend(work());
    let title = "The agent itself";
    Row { title, panels }
}

/// What it does all the time.
fn work() -> Vec<Panel> {
    vec![
        Panel::series(
            "Duration of collections",
            "s",
            "How long each source's last collection took.",
        )
        .query(
            "{{source}}, {{instance}}",
            "monitoring_agent_source_collect_seconds",
        ),
        Panel::series(
            "Spans",
            "ops",
            "Spans by what became of them. Those that are dropped are missing from traces.",
        )
        .query(
            "{{outcome}}, {{instance}}",
            "sum by (outcome, instance) (rate(monitoring_agent_spans_total[$__rate_interval]))",
        ),
    ]
}
