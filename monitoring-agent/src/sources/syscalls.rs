//! Source `syscalls`: reads what the kernel programs counted, once per interval.

mod hot;
mod machine;
mod since;

use std::{collections::BTreeMap, sync::Arc};

use aya::{include_bytes_aligned, maps::MapData};
use monitoring_common::{
    syscalls::{CallKey, Calls, ErrorKey, MAX_CALLS, lost},
    trace::RUNNING_SINCE,
};
use prometheus::proto::MetricFamily;

use self::{hot::Hot, since::Since};
use super::StartContext;
use crate::{
    clock::monotonic_ns,
    families::Family as Metrics,
    kernel_state::{self, Losses},
    labels::Labels,
    loader::{self, Attach, Family, Loaded},
    offsets::ABSENT,
    per_cpu::PerCpuReader,
    source::{Batch, Source, StartError},
    system_calls, tracing_globals,
};

const PROGRAMS: &[Attach] = &[
    Attach::RawTracepoint("sys_exit", "sys_exit"),
    Attach::RawTracepoint("sys_enter", "sys_enter"),
];

const CALLS_HELP: &str = "System calls, counted when they return; those that never return (exit, \
                          exit_group) when they are made. 32-bit calls are named compat_*.";
const ERRORS_HELP: &str = "System calls that returned an error, by error name. ERESTART* are \
                           calls that a signal interrupted; most of them are then restarted.";
const DURATION_HELP: &str = "Time from entry to return of system calls, waiting included. Calls \
                             that never return, that a seccomp filter refused, or that ran when \
                             the agent started are in syscall_total only.";

/// Different calls that one agent makes; a busy node makes about 150, most processes 40.
const CALLS_OF_AGENT: usize = 128;

/// Room for calls however few agents there are: every number of both tables that is in use would
/// fit.
const LEAST_CALLS: usize = 512;

struct Syscalls {
    /// Goes first, while calls are still followed.
    _since: Since,
    loaded: Loaded,
    running: MapData,
    losses: Losses,
    labels: Arc<Labels>,
    calls: MapData,
    errors: MapData,
    hot: Hot,
    call_reader: PerCpuReader<CallKey, Calls>,
    error_reader: PerCpuReader<ErrorKey, u64>,
}

/// Loads the family.
///
/// # Errors
///
/// See [`StartError`].
pub fn start(context: &mut StartContext<'_>) -> Result<Box<dyn Source>, StartError> {
    if loader::field(context.offsets, "task_struct", "tgid")? == ABSENT {
        let why = "this kernel has no BTF (CONFIG_DEBUG_INFO_BTF), which the programs need";
        return Err(StartError::Unsupported(why.to_owned()));
    }
    let mut globals = machine::globals(context.offsets)?;
    globals.push((
        "WATCHED_ONLY",
        vec![context.config.sources.syscalls.watched_only.into()],
    ));
    let trace = &context.config.sources.trace;
    globals.push((
        "TRACE_NEVER",
        machine::never_spans(&trace.exclude_system_calls),
    ));
    let began_ns = monotonic_ns();
    globals.push(("BEGAN_NS", tracing_globals::words(&[began_ns])));
    let family = Family {
        name: "syscalls",
        object: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/syscalls")),
        globals,
        map_sizes: vec![("CALLS", call_entries(context.labels.names().len()))],
        programs: PROGRAMS,
        tracing: tracing_globals::globals(context)?,
        debug: context.config.ebpf_debug,
    };
    let mut loaded = loader::load(&family, context.shared, context.offsets)?;
    context.labels.adopt(context.shared)?;
    let calls = loaded.take_map("CALLS")?;
    let errors = loaded.take_map("ERRORS")?;
    Ok(Box::new(Syscalls {
        _since: Since::tell(loaded.take_map(RUNNING_SINCE)?, began_ns)?,
        running: loaded.take_map("RUNNING")?,
        hot: Hot::new(&mut loaded)?,
        losses: Losses::new(&mut loaded, &lost::REASONS)?,
        labels: Arc::clone(context.labels),
        calls,
        errors,
        call_reader: PerCpuReader::new()?,
        error_reader: PerCpuReader::new()?,
        loaded,
    }))
}

impl Source for Syscalls {
    fn collect(&mut self) -> anyhow::Result<Batch> {
        let names = self.labels.names();
        let (mut families, calls) = self.collect_calls(&names)?;
        let (errors_family, errors) = self.collect_errors(&names)?;
        families.push(errors_family);
        let (programs, recursions) = kernel_state::programs(&self.loaded);
        let mut lost = self.losses.read()?;
        lost.push(("recursion", recursions));
        let (hot_cells, places) = self.hot.state();
        let maps = vec![
            kernel_state::map("CALLS", self.calls.fd(), Some(calls)),
            kernel_state::map("HOT", hot_cells.fd(), Some(places)),
            kernel_state::map("RUNNING", self.running.fd(), None),
            kernel_state::map("ERRORS", self.errors.fd(), Some(errors)),
        ];
        Ok(Batch {
            families,
            lost,
            programs,
            maps,
            ..Batch::default()
        })
    }
}

impl Syscalls {
    /// Counters and histograms of all calls, and the number of entries in the map.
    fn collect_calls(&mut self, agents: &[String]) -> anyhow::Result<(Vec<MetricFamily>, u64)> {
        let mut all = BTreeMap::new();
        let mut entries = 0;
        self.call_reader.for_each(self.calls.fd(), |key, per_cpu| {
            let mut sum = Calls::EMPTY;
            for calls in per_cpu {
                sum.merge(calls);
            }
            entries += 1;
            all.insert(key, sum);
        })?;
        self.hot.add_to(&mut all)?;
        self.hot.promote(&all)?;
        let mut counts = Metrics::counter("syscall_total", CALLS_HELP);
        let mut durations = Metrics::histogram("syscall_duration_seconds", DURATION_HELP);
        for (key, calls) in &all {
            let name = system_calls::name(key.syscall);
            let labels = [("agent", agent_name(agents, *key)), ("syscall", &*name)];
            counts.push(&labels, calls.count() as f64);
            if calls.timed.count() > 0 {
                durations.push_durations(&labels, &calls.timed);
            }
        }
        Ok((vec![counts.build(), durations.build()], entries))
    }

    /// Counters of all failed calls, and the number of entries in the map.
    fn collect_errors(&mut self, agents: &[String]) -> anyhow::Result<(MetricFamily, u64)> {
        let mut all = Vec::new();
        self.error_reader
            .for_each(self.errors.fd(), |key, per_cpu| {
                all.push((key, per_cpu.iter().sum::<u64>()));
            })?;
        all.sort_unstable_by_key(|(key, _)| (key.call.agent, key.call.syscall, key.errno));
        let mut errors = Metrics::counter("syscall_errors_total", ERRORS_HELP);
        for (key, count) in &all {
            let name = system_calls::name(key.call.syscall);
            let errno = system_calls::errno(key.errno);
            let agent = agent_name(agents, key.call);
            errors.push(
                &[("agent", agent), ("errno", &*errno), ("syscall", &*name)],
                *count as f64,
            );
        }
        Ok((errors.build(), all.len() as u64))
    }
}

/// Room for the pairs of call and agent that this number of agents makes.
fn call_entries(agents: usize) -> u32 {
    let wanted = agents
        .saturating_mul(CALLS_OF_AGENT)
        .clamp(LEAST_CALLS, MAX_CALLS);
    u32::try_from(wanted).unwrap_or(u32::MAX)
}

fn agent_name(agents: &[String], key: CallKey) -> &str {
    // The kernel knows only numbers that `labels` gave out.
    agents
        .get(usize::from(key.agent))
        .map_or("unknown", String::as_str)
}
