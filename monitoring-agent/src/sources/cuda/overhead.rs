//! What the probes cost those who are watched: measured when they are loaded, taken off durations, told by
//! agent, and kept within a budget.
//!
//! Owns what the kernel programs are told of it. Knows neither files nor how programs are attached.

mod budget;
mod calibration;

use std::time::Instant;

use anyhow::Context as _;
use aya::maps::{Array, Map, MapData};
use monitoring_common::{agents::MAX_AGENTS, cuda::Cost};
use prometheus::proto::MetricFamily;
use tracing::{debug, info, warn};

use self::budget::{Budget, Change};
use super::{
    calls::{CallMaps, agent},
    probes::Ends,
};
use crate::{families::Family as Metrics, loader::Loaded};

pub(super) use calibration::Trap;

const TRAP_HELP: &str = "What a probe adds to a call of an empty function, measured when the \
                         kernel programs were loaded: by a call that is counted when it is entered, by the \
                         return of one that is timed, and by one within another, which does not \
                         count.";
const RATIO_HELP: &str = "Share of one CPU that an agent's threads spent in probes of CUDA's \
                          functions between the last two collections: an estimate, calls times \
                          what a probe cost when the kernel programs were loaded.";
const DROPPED_HELP: &str = "Whether an agent's launches, copies and plain calls of the driver are \
                            counted when they are entered, without durations and errors, because \
                            its probes had cost more than overhead_budget.";

/// What an agent's threads did so far, as far as probes saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Activity {
    /// Calls whose entry and return were seen.
    pub(super) timed: u64,
    /// Those of them that could have been counted at entry.
    pub(super) timed_leaves: u64,
    /// Calls that were counted at entry.
    pub(super) untimed: u64,
    /// Functions entered within calls.
    pub(super) nested: u64,
}

/// The probes' cost, and what is done about it.
pub(super) struct Overhead {
    cost: Array<MapData, Cost>,
    repeated: Array<MapData, u32>,
    /// What `cost` holds.
    written: Cost,
    /// Agents, bit by bit, that it has named since files are probed.
    ever_untimed: u64,
    trap: Option<Trap>,
    budget: Budget,
    /// Whether each agent's returns can be dropped by themselves, or only everybody's.
    by_agent: bool,
    /// Whether it was said that returns cannot be dropped.
    told: bool,
    collected: Instant,
}

impl Overhead {
    /// Measures what a probe costs, and tells the kernel programs. `limit` is the share of a CPU
    /// that an agent's probes may take.
    pub(super) fn new(
        loaded: &mut Loaded,
        ends: &Ends,
        calls: &mut CallMaps,
        limit: f64,
    ) -> anyhow::Result<Self> {
        let cost = Map::Array(loaded.take_map("COST")?);
        let repeated = Map::Array(loaded.take_map("REPEATED")?);
        let mut overhead = Self {
            cost: Array::try_from(cost).context("map COST")?,
            repeated: Array::try_from(repeated).context("map REPEATED")?,
            written: Cost::default(),
            ever_untimed: 0,
            trap: None,
            budget: Budget::new(limit),
            by_agent: ends.is_session(),
            told: false,
            collected: Instant::now(),
        };
        // Nothing else is attached yet, so that the whole node may be told anything meanwhile.
        let measured = calibration::measure(loaded, ends, calls, |untimed| {
            overhead.write(Cost {
                untimed_agents: if untimed { u64::MAX } else { 0 },
                ..Cost::default()
            })
        });
        let trap = match measured {
            Ok(trap) => {
                debug!(?trap, "what probes cost");
                Some(trap)
            }
            Err(error) => {
                warn!("what probes cost is not known, durations contain it: {error:#}");
                None
            }
        };
        overhead.write(Cost {
            own_ns: trap.map_or(0, |trap| whole(trap.own_ns)),
            nested_ns: trap.map_or(0, |trap| whole(trap.nested_ns)),
            ..Cost::default()
        })?;
        overhead.trap = trap;
        Ok(overhead)
    }

    /// What agents did since the last time, by number: tells what it cost, and drops or restores
    /// returns for it.
    pub(super) fn collect(
        &mut self,
        agents: &[String],
        activities: &[Activity; MAX_AGENTS],
    ) -> anyhow::Result<Vec<MetricFamily>> {
        let elapsed = self.collected.elapsed().as_secs_f64();
        self.collected = Instant::now();
        let mut traps = Metrics::gauge("cuda_probe_overhead_seconds", TRAP_HELP);
        let mut ratios = Metrics::gauge("cuda_probe_overhead_ratio", RATIO_HELP);
        let mut dropped = Metrics::gauge("cuda_probe_returns_dropped", DROPPED_HELP);
        let Some(trap) = self.trap else {
            return Ok([traps, ratios, dropped].map(Metrics::build).into());
        };
        for (probe, ns) in [
            ("entry", trap.entry_ns),
            ("return", trap.return_ns),
            ("nested", trap.nested_ns),
        ] {
            traps.push(&[("probe", probe)], ns / 1e9);
        }
        let repeated = self.repeated.get(&0, 0).context("read map REPEATED")? != 0;
        for (number, activity) in (0_u16..).zip(activities) {
            let judged = self
                .budget
                .judge(number, *activity, &trap, elapsed, !repeated);
            let name = agent(agents, number);
            if let Some(change) = judged.change {
                say(change, name, judged.share);
            }
            if *activity != Activity::default() {
                ratios.push(&[("agent", name)], judged.share);
                let untimed = self.written.is_untimed(number);
                dropped.push(&[("agent", name)], f64::from(u8::from(untimed)));
            }
        }
        if repeated && !self.told {
            self.told = true;
            warn!("two libraries are one file to the kernel: overhead_budget has no effect");
        }
        self.apply()?;
        Ok([traps, ratios, dropped].map(Metrics::build).into())
    }

    /// Agents, bit by bit, of which calls may have been counted at entry alone.
    pub(super) fn ever_untimed(&self) -> u64 {
        self.ever_untimed
    }

    /// Whether somebody has to see to it that returns are attached, or are not.
    pub(super) fn is_dropping(&self) -> bool {
        !self.by_agent && self.written.untimed_agents != 0
    }

    /// Whether the returns of leaves are to be attached. Where they are not, they may be.
    pub(super) fn wants_returns(&self) -> bool {
        self.by_agent || self.budget.dropped() == 0
    }

    /// All returns are attached: calls may be timed again, where they are wanted to be.
    pub(super) fn returns_attached(&mut self) -> anyhow::Result<()> {
        if self.by_agent || self.written.untimed_agents == 0 {
            return Ok(());
        }
        self.untimed(0)
    }

    /// A file is about to be probed. It may be one to the kernel that is probed already, which is
    /// noticed only while calls are timed; so they are, until the budget is judged anew.
    pub(super) fn file_found(&mut self) -> anyhow::Result<()> {
        self.budget.forget();
        if self.by_agent && self.written.untimed_agents != 0 {
            return self.untimed(0);
        }
        Ok(())
    }

    /// Tells the kernel programs whose returns are dropped.
    fn apply(&mut self) -> anyhow::Result<()> {
        match (self.by_agent, self.budget.dropped()) {
            (true, agents) if agents != self.written.untimed_agents => self.untimed(agents),
            (false, 1..) if self.written.untimed_agents == 0 => self.untimed(u64::MAX),
            // Returns are brought back by who attaches them, who then says so.
            _ => Ok(()),
        }
    }

    fn untimed(&mut self, agents: u64) -> anyhow::Result<()> {
        self.ever_untimed |= agents;
        self.write(Cost {
            untimed_agents: agents,
            ..self.written
        })
    }

    fn write(&mut self, cost: Cost) -> anyhow::Result<()> {
        self.cost.set(0, cost, 0).context("write map COST")?;
        self.written = cost;
        Ok(())
    }
}

fn say(change: Change, agent: &str, share: f64) {
    let percent = format!("{:.1}", share * 100.0);
    match change {
        Change::Dropped => info!(
            agent,
            percent_of_a_cpu = percent,
            "its probes cost more than overhead_budget: launches, copies and plain calls of the \
             driver are counted without durations and errors"
        ),
        Change::Restored => info!(agent, "its calls of the driver are timed again"),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, which is far beyond what a trap takes"
)]
fn whole(ns: f64) -> u32 {
    ns.max(0.0) as u32
}
