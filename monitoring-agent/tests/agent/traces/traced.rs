//! An agent that traces what its rules name, and a collector that prints what the agent sends it. Knows
//! no program.

use std::{fmt::Write as _, fs};

use monitoring::otlp::Protocol;
use tempfile::TempDir;

use super::tree::Tree;
use crate::{
    poll::poll_until,
    process::{Agent, sum},
    rotel::{Collector, Ports},
};

/// Everything that these programs do on purpose lasts longer, and nothing is left out.
const TRACE: &str = "\
    [sources.trace]\nslow_system_call = '10us'\nslow_disk_request = '0s'\nslow_connect = '0s'\n\
    connection = '0s'\nprocess = '0s'\ncuda_wait = '1ms'\nspans_per_second = 100000\n\
    [sources.cuda]\noverhead_budget = 1.0\n";

/// What an agent says when it has gone over to another configuration.
const IN_FORCE: &str = "the new configuration is in force";

/// An agent, and where its spans go.
pub(super) struct Traced {
    pub(super) agent: Agent,
    pub(super) ports: Ports,
    collector: Collector,
    folder: TempDir,
}

impl Traced {
    /// One that traces what its rules name, and sends it this way.
    pub(super) fn start(protocol: Protocol, rules: &str) -> Self {
        Self::start_at(Ports::free(), protocol, rules)
    }

    /// The same with a collector at these ports.
    pub(super) fn start_at(ports: Ports, protocol: Protocol, rules: &str) -> Self {
        Self::start_with(ports, protocol, &format!("{rules}{TRACE}"))
    }

    /// One that traces what these sections of its configuration choose.
    pub(super) fn start_with(ports: Ports, protocol: Protocol, sections: &str) -> Self {
        let collector = Collector::start(ports);
        let folder = tempfile::tempdir().unwrap();
        let way = match protocol {
            Protocol::Grpc => "grpc",
            _ => "http/protobuf",
        };
        let endpoint = ports.url(protocol);
        let mut config = format!(
            "[monitoring]\ntracing_enabled = true\ntrace_sample_rate = 1.0\n\
             otlp_endpoint = '{endpoint}'\n{sections}[otlp]\nprotocol = '{way}'\n"
        );
        for source in ["gpu", "profile"] {
            // Writing to a string does not fail.
            let _ = write!(config, "[sources.{source}]\nenabled = false\n");
        }
        Self {
            agent: Agent::with_config(folder.path(), &config),
            ports,
            collector,
            folder,
        }
    }

    /// Has the agent go over to a configuration in which one thing is another.
    pub(super) fn reload(&self, old: &str, new: &str) {
        let file = self.folder.path().join("monitoring.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.matches(old).count(), 1, "{old} in {text}");
        fs::write(&file, text.replace(old, new)).unwrap();
        let process = &self.agent.process;
        let said = || process.log().matches(IN_FORCE).count();
        let before = said();
        process.signal(libc::SIGHUP);
        poll_until(IN_FORCE, || (said() > before).then_some(()));
    }

    /// How many spans the collector has printed by now.
    pub(super) fn arrived(&self) -> usize {
        self.collector.count()
    }

    /// What the collector printed, once no traced process is left: all of it has been sent then, and
    /// each span that there was has come to an end.
    pub(super) fn spans(self) -> Tree {
        self.spans_beside(0)
    }

    /// The same where programs have sent it so many spans of their own.
    pub(super) fn spans_beside(self, others: usize) -> Tree {
        let exported = poll_until("all spans have been sent", || {
            let metrics = self.agent.fresh_metrics();
            let of = |outcome: &str| {
                let label = format!("outcome=\"{outcome}\"");
                sum(&metrics, "monitoring_agent_spans_total", &label)
            };
            let generated = sum(&metrics, "monitoring_agent_spans_generated_total", "");
            let [exported, sampled_out, dropped] = ["exported", "sampled_out", "dropped"].map(of);
            let waiting = waiting(&metrics);
            let total = exported + sampled_out + dropped + waiting;
            assert!(same(generated, total), "{metrics}");
            assert!(same(sampled_out + dropped, 0.0), "{metrics}");
            (same(waiting, 0.0) && exported > 0.0).then_some(exported)
        });
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let exported = exported as usize;
        let spans = self.collector.spans(exported + others);
        let count = spans.len();
        assert_eq!(count, exported + others, "as many as the agent says");
        Tree::new(spans)
    }
}

fn waiting(metrics: &str) -> f64 {
    let name = "monitoring_agent_spans_waiting";
    let line = metrics.lines().find(|line| line.starts_with(name));
    let (_, value) = line.unwrap().rsplit_once(' ').unwrap();
    value.parse().unwrap()
}

/// Whether two counts are.
fn same(one: f64, other: f64) -> bool {
    (one - other).abs() < 0.5
}
