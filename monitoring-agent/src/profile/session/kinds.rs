//! The programs that each kind of session needs, and the perf events that run them.

use std::os::fd::OwnedFd;

use perf_event::events::Software;

use super::{Event, Kind, SECOND_NS, events::Trigger, waits::PASS};
use crate::loader::{Attach, Loaded};

/// The programs of a kind.
pub(super) fn programs(kind: Kind) -> &'static [Attach] {
    match kind {
        Kind::Cpu { .. } => &[Attach::PerfEvent("on_sample")],
        // A thread that is made while the rest is attached has its memory.
        Kind::OffCpu => &[
            Attach::BtfTracepoint("on_new_task", "task_newtask"),
            Attach::BtfTracepoint("on_wakeup", "sched_wakeup"),
            Attach::BtfTracepoint("on_switch", "sched_switch"),
            Attach::Iterator(PASS, "task"),
        ],
        Kind::Memory => &[
            Attach::PerfEvent("on_fault"),
            Attach::PerfEvent("on_fault_end"),
            Attach::RawTracepoint("on_page", "mm_page_alloc"),
            Attach::RawTracepoint("on_call", "sys_enter"),
            Attach::RawTracepoint("on_call_end", "sys_exit"),
        ],
    }
}

/// The perf events of a kind.
pub(super) fn triggers(
    kind: Kind,
    hertz: u32,
    loaded: &Loaded,
) -> anyhow::Result<Vec<(Trigger, OwnedFd)>> {
    let triggers = match kind {
        Kind::Cpu { event, .. } => {
            let trigger = match event {
                Event::Auto | Event::CpuClock => Trigger::Clock {
                    period_ns: (SECOND_NS / hertz).into(),
                },
                Event::Cycles => Trigger::Cycles {
                    hertz: hertz.into(),
                },
            };
            vec![(trigger, "on_sample")]
        }
        Kind::OffCpu => Vec::new(),
        Kind::Memory => vec![
            (Trigger::Each(Software::PAGE_FAULTS_MIN), "on_fault_end"),
            (Trigger::Each(Software::PAGE_FAULTS_MAJ), "on_fault_end"),
            (Trigger::Each(Software::PAGE_FAULTS), "on_fault"),
        ],
    };
    let triggers = triggers.into_iter();
    let triggers = triggers.map(|(trigger, name)| Ok((trigger, loaded.program_fd(name)?)));
    triggers.collect()
}
