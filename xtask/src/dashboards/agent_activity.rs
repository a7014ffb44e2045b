//! Whether the agents live and work, and if not, what they lack or wait for. Knows no JSON.

use super::{
    board::{Board, Mark, Row, Time, counted},
    panel::Panel,
    variables::Devices,
};

pub(super) fn board() -> Board {
    Board {
        name: "agent_activity",
        title: "StratoSwarm / Agent Activity",
        description: "Whether agents live and work: starts and ends, goals and messages, and what they use and wait \
                      for.",
        devices: Devices::Gpus,
        agents: Some("agent_cpu_seconds_total"),
        marks: vec![Mark::crashes(), Mark::xids()],
        rows: vec![
            well(),
            lives(),
            work(),
            processor(),
            memory(),
            calls(),
            traffic(),
            gpus(),
        ],
    }
}

fn well() -> Row {
    let panels = vec![
        Panel::stat(
            "Processes",
            "none",
            "Running processes of all agents.",
            "sum(agent_active)",
        )
        .good_from(&[(1.0, "green")]),
        Panel::stat(
            "Agents without a process",
            "none",
            "Agents of the configuration of which nothing runs on a node.",
            "count(agent_active == 0) or vector(0)",
        )
        .from(&[(1.0, "yellow")]),
        Panel::stat(
            "Crashes",
            "short",
            "Processes that a signal ended, in the time shown.",
            &format!("sum({}) or vector(0)", counted("agent_crashes_total", "signal", Time::Shown)),
        )
        .from(&[(1.0, "red")]),
        Panel::stat(
            "Killed for lack of memory",
            "short",
            "Processes that the kernel killed because memory ran out, in the time shown.",
            "sum(increase(agent_lifecycle_events_total{event=\"oom_kill\"}[$__range])) or vector(0)",
        )
        .from(&[(1.0, "red")]),
        Panel::stat(
            "Failed ends",
            "short",
            "Processes that ended with another code than 0, in the time shown.",
            "sum(increase(agent_exits_total{status=\"failure\"}[$__range])) or vector(0)",
        )
        .from(&[(1.0, "yellow")]),
        Panel::stat(
            "Waits for a CPU",
            "s",
            "What one wait for a CPU in a hundred exceeds.",
            "histogram_quantile(0.99, sum by (le) \
             (rate(sched_runqueue_latency_seconds_bucket[$__rate_interval])))",
        )
        .from(&[(0.01, "yellow"), (0.1, "red")]),
    ];
    let title = "Is it well?";
    Row { title, panels }
}

fn lives() -> Row {
    let panels = vec![
        Panel::series("Processes by agent", "none", "Running processes of each agent.")
            .query("{{agent}}", "sum by (agent) (agent_active)"),
        Panel::series(
            "Starts and ends",
            "ops",
            "Processes that began, executed a program, ended, crashed, or were killed for lack of memory.",
        )
        .query(
            "{{event}}, {{agent}}",
            "sum by (event, agent) (rate(agent_lifecycle_events_total[$__rate_interval]))",
        ),
        Panel::series(
            "Crashes by signal",
            "short",
            "Processes that a signal ended, in each step of the graph.",
        )
        .query(
            "{{signal}}, {{agent}}",
            &counted("agent_crashes_total", "signal, agent", Time::Step),
        ),
        Panel::series("How processes end", "ops", "Ends by their kind.").query(
            "{{status}}, {{agent}}",
            "sum by (status, agent) (rate(agent_exits_total[$__rate_interval]))",
        ),
    ];
    let title = "Starts and ends";
    Row { title, panels }
}

fn work() -> Row {
    let panels = vec![
        Panel::series(
            "Goals",
            "ops",
            "Goals that agents reached or failed, as applications say.",
        )
        .query(
            "{{outcome}}, {{agent}}",
            "sum by (outcome, agent) (rate(agent_goals_total[$__rate_interval]))",
        )
        .more("evolution_progress"),
        Panel::series(
            "Messages",
            "ops",
            "Sends and receives on sockets that moved at least a byte.",
        )
        .query(
            "{{direction}}, {{agent}}",
            "sum by (direction, agent) (rate(agent_messages_total[$__rate_interval]))",
        ),
    ];
    let title = "Work";
    Row { title, panels }
}

fn processor() -> Row {
    let panels = vec![
        Panel::series("CPU", "short", "CPUs that each agent keeps busy.")
            .query(
                "{{agent}}, {{mode}}",
                "sum by (agent, mode) (rate(agent_cpu_seconds_total[$__rate_interval]))",
            )
            .stacked(),
        Panel::series(
            "What tasks wait for",
            "short",
            "Tasks that are not on a CPU, mean, by the reason. `sleep` is left out: most tasks sleep most of the time.",
        )
        .query(
            "{{reason}}, {{agent}}",
            "sum by (reason, agent) \
             (rate(sched_offcpu_seconds_total{reason!=\"sleep\"}[$__rate_interval]))",
        ),
        Panel::heatmap(
            "Waits for a CPU, all agents",
            "How many waits a second lasted how long, from when a task could run until it ran.",
            "sched_runqueue_latency_seconds_bucket",
        ),
        Panel::quantiles(
            "Waits for a CPU by agent",
            "The median, and what one wait in a hundred exceeds.",
            "sched_runqueue_latency_seconds_bucket",
            "agent",
            ["half, {{agent}}", "99 %, {{agent}}"],
        ),
        Panel::series(
            "Context switches",
            "ops",
            "Voluntary: the task had nothing to do. Involuntary: another one came first.",
        )
        .query(
            "{{kind}}, {{agent}}",
            "sum by (kind, agent) (rate(sched_context_switches_total[$__rate_interval]))",
        ),
        Panel::series(
            "Samples of profiles",
            "ops",
            "Samples of CPU time, by how far stacks could be followed. They are flame graphs on the agent's own page.",
        )
        .query(
            "{{status}}, {{mode}}",
            "sum by (status, mode) (rate(profile_samples_total[$__rate_interval]))",
        )
        .stacked(),
    ];
    let title = "Processor";
    Row { title, panels }
}

fn memory() -> Row {
    let panels = vec![
        Panel::series(
            "Memory",
            "bytes",
            "Resident memory of each agent's processes.",
        )
        .query(
            "{{agent}}",
            "sum by (agent) (agent_memory_bytes{kind=\"rss\"})",
        ),
        Panel::series(
            "Memory by kind",
            "bytes",
            "What resident memory is. Heap and stack are parts of what is anonymous.",
        )
        .query(
            "{{kind}}, {{agent}}",
            "sum by (kind, agent) (agent_memory_bytes{kind!=\"rss\"})",
        ),
        Panel::series(
            "Open files",
            "none",
            "Open file descriptors. What only grows is a leak.",
        )
        .query("{{agent}}", "sum by (agent) (agent_open_fds)"),
        Panel::series("Threads", "none", "Threads that have not ended.")
            .query("{{agent}}", "sum by (agent) (agent_threads)"),
    ];
    let title = "Memory, files, threads";
    Row { title, panels }
}

fn calls() -> Row {
    let panels = vec![
        Panel::series("System calls", "ops", "The ten calls that are made most.").query(
            "{{syscall}}",
            "topk(10, sum by (syscall) (rate(syscall_total[$__rate_interval])))",
        ),
        Panel::series(
            "Time in system calls",
            "short",
            "Threads that are in a call, mean: the ten calls that take most. Those that wait for somebody are among them.",
        )
        .query(
            "{{syscall}}",
            "topk(10, sum by (syscall) (rate(syscall_duration_seconds_sum[$__rate_interval])))",
        ),
        Panel::quantiles(
            "Duration of system calls",
            "From entry to return: the median, and what one in a hundred exceeds.",
            "syscall_duration_seconds_bucket",
            "agent",
            ["half, {{agent}}", "99 %, {{agent}}"],
        ),
        Panel::series(
            "Errors of system calls",
            "ops",
            "The ten most frequent errors.",
        )
        .query(
            "{{syscall}}: {{errno}}, {{agent}}",
            "topk(10, sum by (syscall, errno, agent) (rate(syscall_errors_total[$__rate_interval])))",
        ),
    ];
    let title = "System calls";
    Row { title, panels }
}

fn traffic() -> Row {
    let panels = vec![
        Panel::series(
            "Disks",
            "Bps",
            "Bytes that each agent read and wrote. What the kernel writes back later is `other`.",
        )
        .query(
            "{{operation}}, {{agent}}",
            "sum by (operation, agent) (rate(block_io_bytes_total[$__rate_interval]))",
        ),
        Panel::series(
            "Network",
            "Bps",
            "Bytes that each agent sent and received through sockets.",
        )
        .query(
            "{{direction}}, {{agent}}",
            "sum by (direction, agent) (rate(net_socket_bytes_total[$__rate_interval]))",
        )
        .more("network_traffic"),
    ];
    let title = "Disks and network";
    Row { title, panels }
}

fn gpus() -> Row {
    let panels = vec![
        Panel::series(
            "GPU memory",
            "bytes",
            "Device memory that each agent's processes hold.",
        )
        .query(
            "{{agent}}, {{device_id}}",
            "sum by (agent, device_id) (gpu_process_memory_bytes)",
        )
        .stacked()
        .more("gpu_performance"),
        Panel::series("Launches", "ops", "Kernels that each agent launches.").query(
            "{{agent}}",
            "sum by (agent) (rate(gpu_kernel_launches_total[$__rate_interval]))",
        ),
    ];
    let title = "GPUs";
    Row { title, panels }
}
