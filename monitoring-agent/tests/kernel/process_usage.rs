//! Family `process`: what watched processes use agrees with what the kernel says of each of them.

mod cpu;
mod memory;
mod worker;

use monitoring_agent::{config::Config, source::Batch};

use crate::node::{me, sample};

const SOURCE: &str = "process";

/// Watches workers and, as another agent, this process.
fn watch(config: &mut Config) {
    config.agents = vec![worker::rule(worker::AGENT), me()];
}

/// A gauge of an agent.
fn gauge(batch: &Batch, name: &str, agent: &str) -> f64 {
    let sample = sample(batch, name, &[("agent", agent)]);
    sample
        .unwrap_or_else(|| panic!("no {name} of {agent}"))
        .get_gauge()
        .get_value()
}

/// An agent's CPU time in nanoseconds, by mode: user, system.
fn modes(batch: &Batch, agent: &str) -> [f64; 2] {
    ["user", "system"].map(|mode| {
        let labels = [("agent", agent), ("mode", mode)];
        let sample = sample(batch, "agent_cpu_seconds_total", &labels);
        let sample = sample.unwrap_or_else(|| panic!("no CPU time of {agent}"));
        sample.get_counter().get_value() * 1e9
    })
}

/// An agent's CPU time in nanoseconds.
fn cpu_ns(batch: &Batch, agent: &str) -> f64 {
    modes(batch, agent).iter().sum()
}
