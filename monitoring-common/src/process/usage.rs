//! What tasks use: CPU time and their number, by agent.

/// Most tasks of the node whose CPU time is followed. The buckets of 65,536 are 1 MiB of kernel
/// memory; each task that runs takes 96 bytes more.
pub const MAX_TASKS: usize = 65_536;

/// CPU time, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CpuTime {
    /// All of it, exact: the scheduler's `sum_exec_runtime`.
    pub run_ns: u64,
    /// What the kernel saw of it in user mode. Where it looks at ticks only, a sample.
    pub user_ns: u64,
    /// What the kernel saw of it in kernel mode, in the same way.
    pub system_ns: u64,
}

const _: () = assert!(size_of::<CpuTime>() == 8 + 8 + 8);

impl CpuTime {
    /// No time.
    pub const ZERO: Self = Self {
        run_ns: 0,
        user_ns: 0,
        system_ns: 0,
    };

    /// What was added since `earlier`.
    #[inline(always)]
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            run_ns: self.run_ns.saturating_sub(earlier.run_ns),
            user_ns: self.user_ns.saturating_sub(earlier.user_ns),
            system_ns: self.system_ns.saturating_sub(earlier.system_ns),
        }
    }

    /// Adds another time to this one.
    #[inline(always)]
    pub const fn add(&mut self, more: Self) {
        self.run_ns = self.run_ns.wrapping_add(more.run_ns);
        self.user_ns = self.user_ns.wrapping_add(more.user_ns);
        self.system_ns = self.system_ns.wrapping_add(more.system_ns);
    }
}

/// What is known of a task, from its first count to its end. Kernel side only.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CountedTask {
    /// What was counted of its time already.
    pub time: CpuTime,
    /// When the task started: another task may have had its address.
    pub start_ns: u64,
    /// The agent that the time from here on belongs to.
    pub agent: u32,
    /// 1 since the task began to end: its agent stays what it is, whatever becomes of the label.
    pub ending: u32,
}

const _: () = assert!(size_of::<CountedTask>() == 24 + 8 + 4 + 4);

/// What passes over all tasks found of one agent's. All fields are sums over all passes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Live {
    /// CPU time of tasks that had not ended.
    pub time: CpuTime,
    /// Processes with at least one thread that had not ended.
    pub processes: u64,
    /// Threads that had not ended.
    pub threads: u64,
}

const _: () = assert!(size_of::<Live>() == 24 + 8 + 8);

/// A process of a watched agent, as a pass over all tasks writes it for the agent to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct WatchedProcess {
    /// When it started, on the monotonic clock: tells processes apart that had the same number.
    pub start_ns: u64,
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Its agent; never [`crate::agents::OTHER`].
    pub agent: u32,
}

const _: () = assert!(size_of::<WatchedProcess>() == 8 + 4 + 4);
crate::plain_data!(CpuTime, CountedTask, Live, WatchedProcess);
