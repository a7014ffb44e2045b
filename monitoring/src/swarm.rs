//! What an application says of its agents: hooks that the library's metrics and the node agent share.
//!
//! Each hook changes this process's own metrics, and is a place that others can watch (USDT, provider
//! `stratoswarm`): the node agent's family `swarm` counts them in the kernel, and so the node's
//! metrics have them without a port, a scrape or a line of configuration in the application. The
//! names are the same on both sides:
//!
//! | Hook | Metrics |
//! |---|---|
//! | [`agent_spawned`], [`agent_stopped`] | `swarm_agents_spawned_total{agent}`, `swarm_agents_stopped_total{agent}` |
//! | [`message_sent`], [`message_received`] | `swarm_messages_total{agent,direction}`, `swarm_message_bytes_total{agent,direction}`, with `direction` `transmit` or `receive` |
//! | [`goal_completed`], [`goal_failed`] | `agent_goals_total{agent,outcome}`, with `outcome` `completed` or `failed` |
//! | [`generation`] | `evolution_generation{agent}`, `evolution_fitness{agent,stat}`, with `stat` `best` or `mean` |
//! | [`job_queue_depth`] | `cluster_job_queue_depth{queue}` |
//! | [`resource_allocated`] | `cluster_resource_allocated{resource,agent}` |
//!
//! A collector's prefix and labels do not apply to them: they are what dashboards and alerts are
//! built on. Names are texts of the application's choice, and each is a series. Agents beyond a
//! thousand count as `other`, and have no gauges; nor have queues beyond a thousand, and pairs of
//! resource and agent. `monitoring_series_limited_total` says how often that was. The node shows up to 63 bytes of a name: a longer one counts as `other`
//! there, and as a loss.
//!
//! Any tool that knows such places can watch them:
//!
//! ```text
//! bpftrace -e 'usdt:./program:stratoswarm:message_sent { @bytes[str(arg0, arg1)] = sum(arg2); }'
//! ```
//!
//! # Example
//!
//! ```
//! use monitoring::swarm;
//!
//! swarm::agent_spawned("scout-1");
//! swarm::message_sent("scout-1", 512);
//! swarm::generation("scout-1", 7, 0.93, 0.61);
//! swarm::goal_completed("scout-1");
//! swarm::job_queue_depth("exploration", 12);
//! swarm::resource_allocated("gpu", "scout-1", 0.5);
//! swarm::agent_stopped("scout-1");
//! ```

mod probe;
mod registry;

use registry::registry;

/// An agent of this name begins to work.
///
/// Each hook first changes the process's metrics and is watched then: the text has been read by that
/// time, so that it is in memory when a kernel program, which may not wait for a page, reads it.
#[inline]
pub fn agent_spawned(agent: &str) {
    registry().agent_spawned(agent);
    probe::agent_spawned(agent);
}

/// An agent of this name has ended, well or not.
#[inline]
pub fn agent_stopped(agent: &str) {
    registry().agent_stopped(agent);
    probe::agent_stopped(agent);
}

/// An agent has sent a message of so many bytes.
#[inline]
pub fn message_sent(agent: &str, bytes: u64) {
    registry().message(agent, "transmit", bytes);
    probe::message_sent(agent, bytes);
}

/// An agent has received a message of so many bytes.
#[inline]
pub fn message_received(agent: &str, bytes: u64) {
    registry().message(agent, "receive", bytes);
    probe::message_received(agent, bytes);
}

/// An agent has reached a goal.
#[inline]
pub fn goal_completed(agent: &str) {
    registry().goal(agent, "completed");
    probe::goal_completed(agent);
}

/// An agent has given up a goal, or missed it.
#[inline]
pub fn goal_failed(agent: &str) {
    registry().goal(agent, "failed");
    probe::goal_failed(agent);
}

/// An agent's evolution has come to a generation: its number, and the fitness of its best member and
/// of all on average.
#[inline]
pub fn generation(agent: &str, number: u64, best: f64, mean: f64) {
    registry().generation(agent, number, best, mean);
    probe::generation(agent, number, best, mean);
}

/// So many jobs wait in a queue now.
#[inline]
pub fn job_queue_depth(queue: &str, depth: u64) {
    registry().queue_depth(queue, depth);
    probe::job_queue_depth(queue, depth);
}

/// An agent has so much of a resource now, in the resource's own unit.
#[inline]
pub fn resource_allocated(resource: &str, agent: &str, amount: f64) {
    registry().allocated(resource, agent, amount);
    probe::resource_allocated(resource, agent, amount);
}
