//! Whether the nodes are well, and if not, what of them is short. Knows no JSON.

mod agent;

use super::{
    board::{Board, Mark, Row, Time, counted},
    panel::Panel,
    variables::Devices,
};

pub(super) fn board() -> Board {
    Board {
        name: "system_overview",
        title: "StratoSwarm / System Overview",
        description: "Whether the nodes are well, and if not, which resource is short, and who uses it.",
        devices: Devices::DisksAndInterfaces,
        agents: Some("agent_cpu_seconds_total"),
        marks: vec![Mark::crashes(), Mark::xids(), Mark::throttling()],
        rows: vec![
            well(),
            nodes(),
            processor(),
            memory(),
            disks(),
            network(),
            calls(),
            agent::row(),
        ],
    }
}

fn well() -> Row {
    let panels = vec![
        Panel::stat(
            "Nodes that answer",
            "none",
            "Agents whose last scrape succeeded.",
            "sum(up)",
        )
        .good_from(&[(1.0, "green")]),
        Panel::stat(
            "Busiest node",
            "percentunit",
            "Share of all its CPUs that the busiest node used.",
            "max(1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[$__rate_interval])))",
        )
        .ratio()
        .from(&[(0.8, "yellow"), (0.95, "red")]),
        Panel::stat(
            "Least memory available",
            "percentunit",
            "Memory that programs can still have, on the node that has the least. The alert LowMemory is at 10 %.",
            "min(node_memory_available_bytes / node_memory_total_bytes)",
        )
        .ratio()
        .good_from(&[(0.1, "yellow"), (0.2, "green")]),
        Panel::stat(
            "Fullest file system",
            "percentunit",
            "Share of its room that is used, of the file system that is fullest.",
            "max(1 - node_filesystem_avail_bytes / node_filesystem_size_bytes)",
        )
        .ratio()
        .from(&[(0.85, "yellow"), (0.95, "red")]),
        Panel::stat(
            "Crashes",
            "short",
            "Processes of agents that a signal ended, in the time shown.",
            &format!("sum({}) or vector(0)", counted("agent_crashes_total", "signal", Time::Shown)),
        )
        .from(&[(1.0, "red")])
        .more("agent_activity"),
        Panel::stat(
            "Hottest GPU",
            "celsius",
            "Temperature of the hottest chip. The alert HighGPUTemperature is at 85 °C.",
            "max(gpu_temperature_celsius{sensor=\"gpu\"})",
        )
        .from(&[(75.0, "yellow"), (85.0, "red")])
        .more("gpu_performance"),
    ];
    let title = "Is it well?";
    Row { title, panels }
}

fn nodes() -> Row {
    let table = Panel::table(
        "Nodes",
        "percentunit",
        "How much of each node's resources is used. GPU columns are empty where there is no GPU.",
    )
    .query(
        "CPU",
        "1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[$__rate_interval]))",
    )
    .query(
        "Memory",
        "1 - min by (instance) (node_memory_available_bytes / node_memory_total_bytes)",
    )
    .query(
        "Fullest file system",
        "max by (instance) (1 - node_filesystem_avail_bytes / node_filesystem_size_bytes)",
    )
    .query("GPUs", "avg by (instance) (gpu_utilization_ratio)")
    .query(
        "GPU memory",
        "sum by (instance) (gpu_memory_used_bytes) / sum by (instance) (gpu_memory_total_bytes)",
    )
    .from(&[(0.85, "yellow"), (0.95, "red")])
    .wide(16);
    let types = Panel::series(
        "Nodes by type",
        "none",
        "Nodes that are scraped, by the type in their configuration. One that two jobs scrape counts once.",
    )
    .query("{{type}}", "count by (type) (max by (node, type) (node_info))")
    .stacked()
    .wide(8);
    Row {
        title: "Nodes",
        panels: vec![table, types],
    }
}

fn processor() -> Row {
    let panels = vec![
        Panel::series(
            "CPU by mode",
            "percentunit",
            "Share of all CPUs' time in each mode, without what is idle.",
        )
        .query(
            "{{mode}}",
            "avg by (mode) (rate(node_cpu_seconds_total{mode!=\"idle\"}[$__rate_interval]))",
        )
        .stacked()
        .ratio(),
        Panel::series(
            "CPU by agent",
            "short",
            "CPUs that each agent keeps busy. `other` is the rest of the node.",
        )
        .query(
            "{{agent}}",
            "sum by (agent) (rate(agent_cpu_seconds_total[$__rate_interval]))",
        )
        .stacked(),
        Panel::heatmap(
            "Waits for a CPU",
            "How many waits for a CPU a second lasted how long. What rises to milliseconds is felt.",
            "sched_runqueue_latency_seconds_bucket",
        ),
        Panel::series(
            "Waits for resources",
            "percentunit",
            "Share of the time in which some task waited for the resource, where the kernel keeps account of it (PSI).",
        )
        .query(
            "CPU, {{instance}}",
            "rate(node_pressure_cpu_waiting_seconds_total[$__rate_interval])",
        )
        .query(
            "disks, {{instance}}",
            "rate(node_pressure_io_waiting_seconds_total[$__rate_interval])",
        )
        .query(
            "memory, {{instance}}",
            "rate(node_pressure_memory_waiting_seconds_total[$__rate_interval])",
        ),
        Panel::series(
            "Load",
            "short",
            "Tasks that run or wait, as a mean of a minute, beside the number of CPUs.",
        )
        .query("load, {{instance}}", "node_load1")
        .query(
            "CPUs, {{instance}}",
            "count by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[$__rate_interval]))",
        ),
        Panel::series(
            "Open files",
            "percentunit",
            "Open files of the node, of the most that it allows.",
        )
        .query(
            "{{instance}}",
            "node_filefd_allocated / node_filefd_maximum",
        )
        .from(&[(0.8, "red")]),
    ];
    let title = "Processor";
    Row { title, panels }
}

fn memory() -> Row {
    let panels = vec![
        Panel::series(
            "Memory in use",
            "bytes",
            "Memory that programs cannot have without swapping, and the whole of it.",
        )
        .query(
            "in use, {{instance}}",
            "node_memory_total_bytes - node_memory_available_bytes",
        )
        .query("total, {{instance}}", "node_memory_total_bytes"),
        Panel::series(
            "Memory by agent",
            "bytes",
            "Resident memory of each agent's processes.",
        )
        .query(
            "{{agent}}",
            "sum by (agent) (agent_memory_bytes{kind=\"rss\"})",
        )
        .stacked(),
        Panel::series(
            "Swap in use",
            "bytes",
            "Swap space that is used. What grows here is memory that is missing.",
        )
        .query(
            "{{instance}}",
            "node_memory_swap_total_bytes - node_memory_swap_free_bytes",
        ),
        Panel::series(
            "Free, buffers, caches",
            "bytes",
            "Memory that nobody uses, and what the kernel keeps of files.",
        )
        .query("free, {{instance}}", "node_memory_free_bytes")
        .query("buffers, {{instance}}", "node_memory_buffers_bytes")
        .query("caches, {{instance}}", "node_memory_cached_bytes"),
    ];
    let title = "Memory";
    Row { title, panels }
}

fn disks() -> Row {
    let panels = vec![
        Panel::series(
            "Disks at work",
            "percentunit",
            "Share of the time in which a disk had something to do. One that works in parallel is not full at 100 %.",
        )
        .query(
            "{{device}}, {{instance}}",
            "rate(node_disk_io_time_seconds_total[$__rate_interval])",
        )
        .from(&[(0.9, "red")]),
        Panel::heatmap(
            "Duration of disk requests",
            "How many requests a second took how long, from their issue to the driver to their end.",
            "block_io_duration_seconds_bucket",
        ),
        Panel::series("Bytes by agent", "Bps", "Bytes read and written, by the agent that asked for them.")
            .query(
                "{{agent}}, {{operation}}",
                "sum by (agent, operation) (rate(block_io_bytes_total[$__rate_interval]))",
            ),
        Panel::series(
            "Requests",
            "iops",
            "Requests that were completed a second.",
        )
        .query(
            "read, {{device}}, {{instance}}",
            "sum by (device, instance) (rate(node_disk_reads_completed_total[$__rate_interval]))",
        )
        .query(
            "write, {{device}}, {{instance}}",
            "sum by (device, instance) (rate(node_disk_writes_completed_total[$__rate_interval]))",
        ),
        Panel::quantiles(
            "Requests before their issue",
            "How long requests wait in queues before the driver gets them: the median, and what one in a hundred exceeds.",
            "block_io_queue_seconds_bucket",
            "device, instance",
            ["half, {{device}}, {{instance}}", "99 %, {{device}}, {{instance}}"],
        ),
        Panel::series(
            "Room on file systems",
            "bytes",
            "Room for users other than root.",
        )
        .query("{{mountpoint}}, {{instance}}", "node_filesystem_avail_bytes"),
        Panel::series("Failed requests", "ops", "Requests that failed, in whole or in part.").query(
            "{{device}}, {{operation}}, {{instance}}",
            "sum by (device, instance, operation) (rate(block_io_errors_total[$__rate_interval]))",
        )
        .from(&[(0.001, "red")]),
        Panel::series(
            "Bytes by disk",
            "Bps",
            "Bytes read and written, as the disk counts them.",
        )
        .query(
            "read, {{device}}, {{instance}}",
            "sum by (device, instance) (rate(node_disk_read_bytes_total[$__rate_interval]))",
        )
        .query(
            "write, {{device}}, {{instance}}",
            "sum by (device, instance) (rate(node_disk_written_bytes_total[$__rate_interval]))",
        ),
    ];
    let title = "Disks";
    Row { title, panels }
}

fn network() -> Row {
    let panels = vec![
        Panel::series("Traffic", "Bps", "Bytes by network interface.")
            .query(
                "in, {{device}}, {{instance}}",
                "rate(node_network_receive_bytes_total[$__rate_interval])",
            )
            .query(
                "out, {{device}}, {{instance}}",
                "rate(node_network_transmit_bytes_total[$__rate_interval])",
            )
            .more("network_traffic"),
        Panel::series(
            "Segments sent once more",
            "pps",
            "TCP segments that got lost or came too late, by agent.",
        )
        .query(
            "{{agent}}",
            "sum by (agent) (rate(tcp_retransmits_total[$__rate_interval]))",
        ),
    ];
    let title = "Network";
    Row { title, panels }
}

fn calls() -> Row {
    let panels = vec![
        Panel::series("System calls", "ops", "Calls into the kernel, by agent.").query(
            "{{agent}}",
            "sum by (agent) (rate(syscall_total[$__rate_interval]))",
        ),
        Panel::series(
            "Errors of system calls",
            "ops",
            "The ten most frequent errors. Some, such as EAGAIN, are a program's everyday life.",
        )
        .query(
            "{{syscall}}: {{errno}}",
            "topk(10, sum by (syscall, errno) (rate(syscall_errors_total[$__rate_interval])))",
        ),
    ];
    let title = "System calls";
    Row { title, panels }
}
