//! Whether the evolution gets on, and what holds it up. Knows no JSON.

use super::{
    board::{Board, Mark, Row},
    panel::Panel,
    variables::Devices,
};

pub(super) fn board() -> Board {
    Board {
        name: "evolution_progress",
        title: "StratoSwarm / Evolution Progress",
        description: "Whether agents reach their goals and get fitter from generation to generation, and what they \
                      have to do it with.",
        devices: Devices::Gpus,
        agents: Some("agent_goals_total|evolution_generation|swarm_agents_spawned_total"),
        marks: vec![Mark::crashes(), Mark::xids()],
        rows: vec![well(), fitness(), goals(), population(), resources()],
    }
}

fn well() -> Row {
    let panels = vec![
        Panel::stat(
            "Best fitness",
            "short",
            "Fitness of the best individual of all agents.",
            "max(evolution_fitness{stat=\"best\"})",
        ),
        Panel::stat(
            "Mean fitness",
            "short",
            "Mean fitness of the populations, as a mean over agents.",
            "avg(evolution_fitness{stat=\"mean\"})",
        ),
        Panel::stat(
            "Generation",
            "none",
            "The generation that the most advanced agent has come to.",
            "max(evolution_generation)",
        ),
        Panel::stat(
            "Goals reached",
            "percentunit",
            "Goals that agents reached, of all that ended in the time shown.",
            "sum(increase(agent_goals_total{outcome=\"completed\"}[$__range])) \
             / sum(increase(agent_goals_total[$__range]))",
        )
        .ratio()
        .good_from(&[(0.5, "yellow"), (0.9, "green")]),
        Panel::stat(
            "Goals ended",
            "ops",
            "Goals that agents reached or failed, a second.",
            "sum(rate(agent_goals_total[$__rate_interval]))",
        ),
        Panel::stat(
            "Jobs that wait",
            "short",
            "Jobs in all queues.",
            "sum(cluster_job_queue_depth)",
        )
        .from(&[(100.0, "yellow"), (1000.0, "red")]),
    ];
    let title = "Does it get on?";
    Row { title, panels }
}

fn fitness() -> Row {
    let panels = vec![
        Panel::series(
            "Best fitness by agent",
            "short",
            "Fitness of the best individual in each agent's generation.",
        )
        .query("{{agent}}", "max by (agent) (evolution_fitness{stat=\"best\"})"),
        Panel::series(
            "Mean fitness by agent",
            "short",
            "Mean fitness of each agent's generation.",
        )
        .query("{{agent}}", "avg by (agent) (evolution_fitness{stat=\"mean\"})"),
        Panel::series(
            "Best over mean",
            "short",
            "How far the best is ahead of the rest. Near 0 the population has become alike, and evolution stands still.",
        )
        .query(
            "{{agent}}",
            "max by (agent) (evolution_fitness{stat=\"best\"}) \
             - avg by (agent) (evolution_fitness{stat=\"mean\"})",
        ),
        Panel::series(
            "Generations",
            "none",
            "The generation that each agent's evolution has come to. A flat line is a standstill.",
        )
        .query("{{agent}}", "max by (agent) (evolution_generation)"),
    ];
    let title = "Fitness";
    Row { title, panels }
}

fn goals() -> Row {
    let panels = vec![
        Panel::series("Goals", "ops", "Goals that ended, by what came of them.")
            .query(
                "{{outcome}}",
                "sum by (outcome) (rate(agent_goals_total[$__rate_interval]))",
            )
            .stacked(),
        Panel::series(
            "Goals reached by agent",
            "percentunit",
            "Goals that each agent reached, of all that ended.",
        )
        .query(
            "{{agent}}",
            "sum by (agent) (rate(agent_goals_total{outcome=\"completed\"}[$__rate_interval])) \
             / sum by (agent) (rate(agent_goals_total[$__rate_interval]))",
        )
        .ratio(),
    ];
    let title = "Goals";
    Row { title, panels }
}

fn population() -> Row {
    let panels = vec![
        Panel::series(
            "Agents begun and ended",
            "ops",
            "Agents that began to work, and that ended, as applications say.",
        )
        .query(
            "{{agent}}: begun",
            "sum by (agent) (rate(swarm_agents_spawned_total[$__rate_interval]))",
        )
        .query(
            "{{agent}}: ended",
            "sum by (agent) (rate(swarm_agents_stopped_total[$__rate_interval]))",
        ),
        Panel::series(
            "Messages",
            "ops",
            "Messages that agents sent and received, as applications say.",
        )
        .query(
            "{{agent}}, {{direction}}",
            "sum by (agent, direction) (rate(swarm_messages_total[$__rate_interval]))",
        ),
        Panel::series("Bytes of messages", "Bps", "Bytes of these messages.").query(
            "{{agent}}, {{direction}}",
            "sum by (agent, direction) (rate(swarm_message_bytes_total[$__rate_interval]))",
        ),
        Panel::series(
            "Programs that speak",
            "none",
            "Programs and libraries in use that have the hooks by which all this is known.",
        )
        .query("{{instance}}", "swarm_probed_files"),
    ];
    let title = "Population";
    Row { title, panels }
}

fn resources() -> Row {
    let panels = vec![
        Panel::series(
            "Jobs that wait by queue",
            "short",
            "Jobs in each queue. What only grows is not kept up with.",
        )
        .query("{{queue}}", "sum by (queue) (cluster_job_queue_depth)"),
        Panel::series(
            "Resources allocated",
            "short",
            "How much of each resource agents have, in the resource's own unit.",
        )
        .query(
            "{{resource}}: {{agent}}",
            "sum by (resource, agent) (cluster_resource_allocated)",
        )
        .stacked(),
        Panel::series(
            "GPUs at work",
            "percentunit",
            "Share of the time in which a kernel ran on each GPU.",
        )
        .query("{{device_id}}, {{instance}}", "gpu_utilization_ratio")
        .ratio()
        .more("gpu_performance"),
        Panel::series(
            "CPUs at work",
            "percentunit",
            "Share of each node's CPU time that was used.",
        )
        .query(
            "{{instance}}",
            "1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[$__rate_interval]))",
        )
        .ratio()
        .more("system_overview"),
    ];
    let title = "What it has to work with";
    Row { title, panels }
}
