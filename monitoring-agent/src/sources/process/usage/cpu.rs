//! CPU time, processes and threads by agent, from the kernel programs' maps.

use anyhow::Context as _;
use aya::maps::{Array, Map, MapData};
use monitoring_common::process::usage::{CpuTime, Live, WatchedProcess};

use crate::{
    clock::monotonic_ns,
    kernel_state,
    loader::{self, Loaded},
    offsets::Offsets,
    per_cpu::PerCpuElements,
    source::{MapState, StartError},
};

/// The kernel's counts.
pub(super) struct Cpu {
    live: Array<MapData, Live>,
    ended: MapData,
    tasks: MapData,
    reader: PerCpuElements<CpuTime>,
    /// By agent.
    modes: Vec<Modes>,
}

/// What a pass over all tasks brought.
pub(super) struct Pass {
    /// By agent.
    pub(super) agents: Vec<AgentCount>,
    /// Every process of a watched agent, by process id.
    pub(super) processes: Vec<WatchedProcess>,
}

/// One agent's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AgentCount {
    pub(super) user_ns: u64,
    pub(super) system_ns: u64,
    pub(super) processes: u64,
    pub(super) threads: u64,
}

/// Where the kernel programs find their fields, and since when they count.
pub(super) fn globals(offsets: &mut Offsets) -> Result<Vec<(&'static str, Vec<u32>)>, StartError> {
    let fields = [
        ("task_struct", "se.sum_exec_runtime"),
        ("task_struct", "utime"),
        ("task_struct", "stime"),
        ("task_struct", "start_time"),
        ("task_struct", "exit_state"),
        ("task_struct", "pid"),
        ("task_struct", "tgid"),
        ("task_struct", "signal"),
        ("signal_struct", "live.counter"),
    ];
    let fields = fields.map(|(structure, path)| loader::field(offsets, structure, path));
    let fields = fields.into_iter().collect::<Result<_, _>>()?;
    let now_ns = monotonic_ns();
    #[allow(clippy::cast_possible_truncation, reason = "cut into halves")]
    let since = vec![now_ns as u32, (now_ns >> 32) as u32];
    Ok(vec![("CPU_OFFSETS", fields), ("CPU_SINCE", since)])
}

impl Cpu {
    /// Takes the maps and has the kernel note what every task has used so far.
    pub(super) fn start(loaded: &mut Loaded) -> anyhow::Result<Self> {
        let live = Map::Array(loaded.take_map("CPU_LIVE")?);
        let cpu = Self {
            live: live.try_into().context("map CPU_LIVE")?,
            ended: loaded.take_map("CPU_ENDED")?,
            tasks: loaded.take_map("CPU_TASKS")?,
            reader: PerCpuElements::new()?,
            modes: Vec::new(),
        };
        loaded.iterate("cpu_of_task")?;
        Ok(cpu)
    }

    /// Has the kernel count all tasks; gives the numbers of the first `agents` agents.
    pub(super) fn pass(&mut self, loaded: &mut Loaded, agents: usize) -> anyhow::Result<Pass> {
        let before = self.live(agents)?;
        let processes = processes(&loaded.iterate("cpu_of_task")?);
        let after = self.live(agents)?;
        self.modes.resize(agents, Modes::default());
        let mut counts = Vec::with_capacity(agents);
        let live = before.iter().zip(after);
        for ((number, (before, after)), modes) in (0..).zip(live).zip(&mut self.modes) {
            let mut time = after.time;
            for ended in self.reader.read(&self.ended, number)? {
                time.add(*ended);
            }
            modes.divide(time);
            counts.push(AgentCount {
                user_ns: modes.user_ns,
                system_ns: modes.system_ns,
                processes: after.processes - before.processes,
                threads: after.threads - before.threads,
            });
        }
        Ok(Pass {
            agents: counts,
            processes,
        })
    }

    /// The kernel's maps.
    pub(super) fn maps(&self) -> Vec<MapState> {
        vec![
            kernel_state::map("CPU_TASKS", self.tasks.fd(), None),
            kernel_state::map("CPU_ENDED", self.ended.fd(), None),
        ]
    }

    fn live(&self, agents: usize) -> anyhow::Result<Vec<Live>> {
        let numbers = 0..u32::try_from(agents).context("number of agents")?;
        let elements = numbers.map(|number| self.live.get(&number, 0));
        elements.collect::<Result<_, _>>().context("map CPU_LIVE")
    }
}

/// The records that the pass wrote.
fn processes(written: &[u8]) -> Vec<WatchedProcess> {
    let records = written.chunks_exact(size_of::<WatchedProcess>());
    let records = records.map(|record| {
        // SAFETY: the bytes are as many as a record has, any bytes are one, and the read is
        // unaligned.
        unsafe { record.as_ptr().cast::<WatchedProcess>().read_unaligned() }
    });
    records.collect()
}

/// CPU time by mode, neither of which ever falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Modes {
    user_ns: u64,
    system_ns: u64,
}

impl Modes {
    /// Divides the exact time as the sampled times stand to each other, as the kernel does it for
    /// /proc. When a mode would fall, what came on top goes to the other one.
    fn divide(&mut self, time: CpuTime) {
        let run = time.run_ns.max(self.user_ns + self.system_ns);
        let sampled = u128::from(time.user_ns) + u128::from(time.system_ns);
        let part = u128::from(run) * u128::from(time.system_ns);
        // Without any sample it counts as user time, as in the kernel.
        let system = part.checked_div(sampled).unwrap_or(0);
        let system = u64::try_from(system).unwrap_or(run);
        self.system_ns = system.clamp(self.system_ns, run - self.user_ns);
        self.user_ns = run - self.system_ns;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_divide_as_their_samples_do() {
        let check = |(run_ns, user_ns, system_ns), want: (u64, u64)| {
            let mut modes = Modes::default();
            modes.divide(CpuTime {
                run_ns,
                user_ns,
                system_ns,
            });
            assert_eq!((modes.user_ns, modes.system_ns), want);
        };
        check((0, 0, 0), (0, 0));
        check((100, 0, 0), (100, 0));
        check((100, 4, 0), (100, 0));
        check((100, 0, 4), (0, 100));
        check((100, 12, 4), (75, 25));
        check((10, 1000, 1000), (5, 5));
        check((u64::MAX, u64::MAX, 0), (u64::MAX, 0));
        check((u64::MAX, 0, u64::MAX), (0, u64::MAX));
    }

    proptest! {
        #[test]
        fn no_mode_falls_and_the_sum_is_exact(
            steps in prop::collection::vec((0..1_u64 << 50, 0..1_u64 << 50, 0..1_u64 << 50), 1..20)
        ) {
            let (mut modes, mut time) = (Modes::default(), CpuTime::ZERO);
            for (run_ns, user_ns, system_ns) in steps {
                time.add(CpuTime { run_ns, user_ns, system_ns });
                let before = modes;
                modes.divide(time);
                prop_assert!(modes.user_ns >= before.user_ns);
                prop_assert!(modes.system_ns >= before.system_ns);
                prop_assert_eq!(modes.user_ns + modes.system_ns, time.run_ns);
            }
        }

        #[test]
        fn any_bytes_are_records_or_none(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(processes(&bytes).len(), bytes.len() / 16);
        }
    }
}
