//! The exported counters of how processes start, change and end.

use std::borrow::Cow;

use aya::maps::MapData;
use monitoring_common::process::lifecycle::Lifecycle;
use prometheus::proto::MetricFamily;

use crate::{families::Family, loader::Loaded, per_cpu::PerCpuElements};

const EVENTS_HELP: &str = "Events in the lives of processes. start: a process became the agent's, \
                           forked by one of its processes or turned into one by what it executed \
                           (one that executes twice within a millisecond may be missing); \
                           exec: it executed a program; exit: it ended; crash: a signal other \
                           than SIGHUP, SIGINT and SIGTERM ended it; oom_kill: the kernel killed \
                           it for lack of memory. Ends are in exit and, where they apply, in \
                           crash and oom_kill. Threads are no processes.";
const CRASHES_HELP: &str = "Processes that a signal ended, by signal; without SIGHUP, SIGINT and \
                            SIGTERM, by which processes are asked to end.";
const EXITS_HELP: &str = "Processes that ended, by how: success is code 0, failure another code, \
                          signal any signal.";

/// Signals that ask a process to end: no crashes.
const REQUESTS: [i32; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM];

/// Signals that have a series from the start, so that the first crash is an increase.
const USUAL: [i32; 6] = [
    libc::SIGILL,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGKILL,
    libc::SIGSEGV,
];

/// Signals below the realtime ones, from 1.
const NAMES: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// The first realtime signal, as the kernel counts them.
const SIGRTMIN: usize = 32;

/// Reads the kernel's counts.
pub(super) struct Counts {
    map: MapData,
    reader: PerCpuElements<Lifecycle>,
}

impl Counts {
    pub(super) fn new(loaded: &mut Loaded) -> anyhow::Result<Self> {
        Ok(Self {
            map: loaded.take_map("LIFECYCLE")?,
            reader: PerCpuElements::new()?,
        })
    }

    /// Adds what the kernel has counted, for each agent that is there.
    pub(super) fn add_to(&mut self, sums: &mut [Lifecycle]) -> anyhow::Result<()> {
        for (agent, sum) in (0..).zip(sums) {
            for counts in self.reader.read(&self.map, agent)? {
                sum.merge(counts);
            }
        }
        Ok(())
    }
}

/// The counters; agents by number.
pub(super) fn families(agents: &[String], sums: &[Lifecycle]) -> Vec<MetricFamily> {
    let mut events = Family::counter("agent_lifecycle_events_total", EVENTS_HELP);
    let mut crashes = Family::counter("agent_crashes_total", CRASHES_HELP);
    let mut exits = Family::counter("agent_exits_total", EXITS_HELP);
    for (agent, sum) in agents.iter().zip(sums) {
        let mut of_crashes = 0;
        for (signal, count) in crash_signals(sum) {
            of_crashes += count;
            if count > 0 || USUAL.contains(&signal) {
                let name = signal_name(signal);
                crashes.push(&[("agent", agent), ("signal", &*name)], count as f64);
            }
        }
        for (event, count) in [
            ("crash", of_crashes),
            ("exec", sum.executed),
            ("exit", sum.ended()),
            ("oom_kill", sum.out_of_memory),
            ("start", sum.started),
        ] {
            events.push(&[("agent", agent), ("event", event)], count as f64);
        }
        for (status, count) in [
            ("failure", sum.failed),
            ("signal", sum.all_signalled()),
            ("success", sum.succeeded),
        ] {
            exits.push(&[("agent", agent), ("status", status)], count as f64);
        }
    }
    vec![crashes.build(), exits.build(), events.build()]
}

/// Signals that are crashes, and how often they ended a process.
fn crash_signals(sum: &Lifecycle) -> impl Iterator<Item = (i32, u64)> {
    let signals = (0..).zip(sum.signalled).skip(1);
    signals.filter(|(signal, _)| !REQUESTS.contains(signal))
}

fn signal_name(signal: i32) -> Cow<'static, str> {
    let number = usize::try_from(signal).unwrap_or(0);
    match NAMES.get(number.wrapping_sub(1)) {
        Some(name) => (*name).into(),
        None if number == SIGRTMIN => "SIGRTMIN".into(),
        None => format!("SIGRTMIN+{}", number.saturating_sub(SIGRTMIN)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_their_names() {
        let check = |signal, want: &str| assert_eq!(signal_name(signal), want);
        check(libc::SIGHUP, "SIGHUP");
        check(libc::SIGSEGV, "SIGSEGV");
        check(libc::SIGSTKFLT, "SIGSTKFLT");
        check(libc::SIGIO, "SIGIO");
        check(libc::SIGSYS, "SIGSYS");
        check(32, "SIGRTMIN");
        check(34, "SIGRTMIN+2");
        check(64, "SIGRTMIN+32");
    }

    #[test]
    fn sums_agree_with_each_other() {
        let mut sum = Lifecycle::EMPTY;
        for status in [0, 0x0100, 1, 2, 15, 9, 9, 11, 64] {
            sum.count_end(status, status == 9);
        }
        let families = families(&["a".to_owned()], &[sum]);
        let value = |name: &str, label: &str| {
            let family = families
                .iter()
                .find(|family| family.name() == name)
                .unwrap();
            let mut metrics = family
                .get_metric()
                .iter()
                .filter(|metric| metric.get_label().iter().any(|pair| pair.value() == label));
            metrics
                .next()
                .map(|metric| metric.get_counter().get_value())
        };
        let events = |event| value("agent_lifecycle_events_total", event);
        assert_eq!(events("exit"), Some(9.0));
        // Not SIGHUP, SIGINT and SIGTERM.
        assert_eq!(events("crash"), Some(4.0));
        assert_eq!(events("oom_kill"), Some(2.0));
        let exits = |status| value("agent_exits_total", status);
        assert_eq!(exits("success"), Some(1.0));
        assert_eq!(exits("failure"), Some(1.0));
        assert_eq!(exits("signal"), Some(7.0));
        let crashes = |signal| value("agent_crashes_total", signal);
        assert_eq!(crashes("SIGKILL"), Some(2.0));
        assert_eq!(crashes("SIGRTMIN+32"), Some(1.0));
        assert_eq!(crashes("SIGBUS"), Some(0.0));
        assert_eq!(crashes("SIGTERM"), None);
        assert_eq!(crashes("SIGPIPE"), None);
    }
}
