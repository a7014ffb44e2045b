//! Traces: what kernel programs of all families tell of single events, and how they choose them.
//!
//! An *event* is something that a family timed. A *candidate* is an event that lasted long enough, or
//! failed in a way that counts, of a process that is traced. A *span* is a candidate that was chosen:
//! it goes up the ring as a [`Record`]. Each candidate is counted once, in [`TraceCounts`].

pub mod connection;
pub mod cuda;
pub mod detail;

pub use detail::{DiskDetail, OffCpuDetail, ProcessDetail, SystemCallDetail, TcpDetail};

/// Name of the ring buffer of [`Record`]s.
pub const SPANS: &str = "SPANS";

/// Name of the per-CPU array of one [`TraceCounts`].
pub const TRACE_COUNTS: &str = "TRACE_COUNTS";

/// Name of the array, by agent, of what is used of the spans of a second; see [`budget`].
pub const TRACE_BUDGET: &str = "TRACE_BUDGET";

/// Name of the map process id → [`Place`], written by the agent.
pub const TRACE_PLACES: &str = "TRACE_PLACES";

/// Name of the task storage of running system calls, which family `syscalls` writes; see
/// [`crate::syscalls::TaskCall`].
pub const RUNNING: &str = "RUNNING";

/// Name of the array of one number: since when [`RUNNING`] is up to date, by `CLOCK_MONOTONIC`; 0 while
/// it is not, because family `syscalls` does not run.
pub const RUNNING_SINCE: &str = "RUNNING_SINCE";

/// Bytes of the ring buffer: about 5,000 spans.
pub const SPANS_BYTES: usize = 1 << 20;

/// Who reads the ring is woken when so much of it waits. It looks by itself several times a second.
pub const SPANS_WAKE_BYTES: usize = SPANS_BYTES / 4;

/// Most processes whose threads publish a context. 16,384 entries are about 1.2 MB of kernel memory,
/// all of it taken at once: programs of tracepoints look into the map, and in those older kernels, and
/// those for real time, want no map that allocates.
pub const MAX_PLACES: usize = 16_384;

/// What kind of event a span is of.
pub mod kind {
    /// A system call, from entry to return.
    pub const SYSTEM_CALL: usize = 0;
    /// A disk request, from submission to its end.
    pub const DISK_REQUEST: usize = 1;
    /// A TCP handshake, as the connecting side has it.
    pub const TCP_CONNECT: usize = 2;
    /// A TCP connection, from when it is established to its end.
    pub const TCP_CONNECTION: usize = 3;
    /// A thread off its CPU.
    pub const OFF_CPU: usize = 4;
    /// A process, from start to end.
    pub const PROCESS: usize = 5;
    /// A wait for a GPU: the root of its window.
    pub const CUDA_WINDOW: usize = 6;
    /// A launch of a GPU kernel.
    pub const CUDA_LAUNCH: usize = 7;
    /// A copy to, from or on a GPU.
    pub const CUDA_COPY: usize = 8;
    /// Memory of a GPU, allocated or freed.
    pub const CUDA_MEMORY: usize = 9;
    /// Another call into CUDA.
    pub const CUDA_CALL: usize = 10;
    /// The root of a process's spans for a minute. No kernel program tells of one; the agent makes
    /// them.
    pub const ROOT: usize = 11;
    /// The kinds' label values, by number.
    pub const NAMES: [&str; super::KINDS] = [
        "system_call",
        "disk_request",
        "tcp_connect",
        "tcp_connection",
        "off_cpu",
        "process",
        "cuda_window",
        "cuda_launch",
        "cuda_copy",
        "cuda_memory",
        "cuda_call",
        "root",
    ];
}

/// How many kinds there are.
pub const KINDS: usize = 12;

/// Bits of [`Header::flags`].
pub mod flags {
    /// It failed; [`super::Header::code`] says how.
    pub const FAILED: u8 = 1;
    /// [`super::Header::context`] is the application's span within which it began.
    pub const JOINED: u8 = 2;
    /// A system call of the 32-bit table.
    pub const COMPAT: u8 = 4;
    /// A system call whose number no table of this machine has: on x86-64 every one of the x32 ABI.
    pub const UNKNOWN_CALL: u8 = 8;
    /// Chosen because it failed: it lasted less than its kind's threshold, or was not in the sample.
    pub const FOR_FAILURE: u8 = 16;
}

/// Bits of the global `TRACE`.
pub mod switch {
    /// Spans are told of.
    pub const ON: u32 = 1;
    /// Only of watched agents.
    pub const WATCHED_ONLY: u32 = 2;
}

/// The span in which an application is, as it publishes it: `otel_thread_ctx_v1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ThreadContext {
    /// As W3C's traceparent has it, the first byte first. Zeros: none.
    pub trace_id: [u8; 16],
    /// As above.
    pub span_id: [u8; 8],
}

impl ThreadContext {
    /// Not in a span.
    pub const NONE: Self = Self {
        trace_id: [0; 16],
        span_id: [0; 8],
    };
}

/// What is known of the span in which a thread is.
pub mod parent {
    /// Nothing is published, or no span is current.
    pub const NONE: u32 = 0;
    /// A span that is recorded: what happens within it is, too.
    pub const SAMPLED: u32 = 1;
    /// A span that is not recorded: what happens within it is neither.
    pub const NOT_SAMPLED: u32 = 2;
    /// A span of which nobody says whether it is recorded, of a trace that is not in the sample: only
    /// what fails within it is told of. One whose trace is in the sample counts as recorded.
    pub const NOT_DRAWN: u32 = 3;
}

/// Who an event is of, and within what it began. Captured where it began: whoever ends it may be an
/// interrupt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Origin {
    /// When the system call was entered within which it began; 0 if none is known.
    pub call_start_ns: u64,
    /// When the process started, by the clock that counts while the machine sleeps
    /// (`CLOCK_BOOTTIME`); 0 if unknown. Tells processes of one number apart.
    pub process_start_ns: u64,
    /// The process (`tgid`), in the initial pid namespace.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// The thread's name.
    pub comm: [u8; 16],
    /// The application's span; zeros unless `parent` is [`parent::SAMPLED`] or
    /// [`parent::NOT_DRAWN`].
    pub context: ThreadContext,
    /// One of [`parent`].
    pub parent: u32,
    /// The process's [`crate::agents::AgentId`].
    pub agent: u32,
}

const _: () = assert!(size_of::<Origin>() == 8 + 8 + 4 + 4 + 16 + 24 + 4 + 4);

impl Origin {
    /// Nobody.
    pub const NOBODY: Self = Self {
        call_start_ns: 0,
        process_start_ns: 0,
        pid: 0,
        tid: 0,
        comm: [0; 16],
        context: ThreadContext::NONE,
        parent: parent::NONE,
        agent: 0,
    };
}

/// What all spans have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// Beginning and end, by `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// As above.
    pub end_ns: u64,
    /// When the system call was entered within which it began, 0 if none is known. A system call's
    /// own start.
    pub call_start_ns: u64,
    /// Start of the CUDA window that it belongs to, 0 if it belongs to none.
    pub window_start_ns: u64,
    /// As [`Origin::process_start_ns`].
    pub process_start_ns: u64,
    /// The process (`tgid`).
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// The process's [`crate::agents::AgentId`].
    pub agent: u16,
    /// One of [`kind`].
    pub kind: u8,
    /// Bits of [`flags`].
    pub flags: u8,
    /// How it failed: a positive error number, a `CUresult`, a block status, an exit code. 0 if it
    /// did not.
    pub code: i32,
    /// The application's span within which it began, if [`flags::JOINED`].
    pub context: ThreadContext,
    /// The thread's name.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<Header>() == 5 * 8 + 2 * 4 + 2 + 1 + 1 + 4 + 24 + 16);

/// A span, as it goes up the ring. Its kind says what `D` is, and each kind's records have one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Record<D> {
    /// What all have in common.
    pub header: Header,
    /// What this kind has.
    pub detail: D,
}

const _: () =
    assert!(size_of::<Record<TcpDetail>>() == size_of::<Header>() + size_of::<TcpDetail>());

// SAFETY: both parts are plain data; whoever tells of a span asserts that there is nothing between
// and behind them.
#[cfg(feature = "user")]
unsafe impl<D: aya::Pod> aya::Pod for Record<D> {}

/// What became of candidates. Totals of one CPU since the map was made: the candidates of a kind are
/// the records of that kind, and the kind's share of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TraceCounts {
    /// Candidates, by [`kind`].
    pub generated: [u64; KINDS],
    /// Those that were not in the sample, by [`kind`].
    pub sampled_out: [u64; KINDS],
    /// Those for which the agent's second had no room, of all kinds.
    pub capped: u64,
    /// Those for which the ring had no room, of all kinds.
    pub ring_full: u64,
    /// Reads of a context that failed, because its page was not in memory or its address wrong: the
    /// event counted as one without a context.
    pub context_unread: u64,
}

const _: () = assert!(size_of::<TraceCounts>() == 2 * KINDS * 8 + 3 * 8);

impl TraceCounts {
    /// Nothing yet.
    pub const EMPTY: Self = Self {
        generated: [0; KINDS],
        sampled_out: [0; KINDS],
        capped: 0,
        ring_full: 0,
        context_unread: 0,
    };

    /// Adds another CPU's.
    pub fn merge(&mut self, other: &Self) {
        let add = |to: &mut [u64], from: &[u64]| {
            for (to, from) in to.iter_mut().zip(from) {
                *to = to.wrapping_add(*from);
            }
        };
        add(&mut self.generated, &other.generated);
        add(&mut self.sampled_out, &other.sampled_out);
        self.capped = self.capped.wrapping_add(other.capped);
        self.ring_full = self.ring_full.wrapping_add(other.ring_full);
        self.context_unread = self.context_unread.wrapping_add(other.context_unread);
    }
}

/// Where the threads of a process publish their context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Place {
    /// From the thread's register to the variable with the address of the context.
    pub offset: i64,
    /// When the process started, by [`crate::agents::start_ticks`]: a later process of the number has
    /// another program.
    pub started_ticks: u32,
    /// Bits of [`place`].
    pub flags: u32,
}

/// Bits of [`Place::flags`].
pub mod place {
    /// Contexts say whether their span is recorded, in the byte behind `valid` as in W3C's traceparent:
    /// the crate `monitoring` does. By the proposal that byte is reserved, and 0.
    pub const SAYS_RECORDED: u32 = 1;
}

const _: () = assert!(size_of::<Place>() == 8 + 4 + 4);
crate::plain_data!(Origin, Header, TraceCounts, Place);

/// What is used of an agent's spans of a second, as one word, so that it can be changed at once.
pub mod budget {
    /// Nanoseconds of a second.
    const SECOND_NS: u64 = 1_000_000_000;

    /// The word after one more span at this time, or `None` if the second has had `cap` of them. A
    /// time before the word's second, of a CPU that was held up, counts in that.
    #[inline(always)]
    #[must_use]
    pub const fn taken(word: u64, now_ns: u64, cap: u32) -> Option<u64> {
        let second = now_ns / SECOND_NS;
        if second > word >> 32 {
            return if cap == 0 {
                None
            } else {
                Some(second << 32 | 1)
            };
        }
        if word & 0xffff_ffff >= cap as u64 {
            return None;
        }
        Some(word + 1)
    }

    /// The word after as many of `count` more spans at this time as `cap` has room for, and how many
    /// those are.
    #[inline(always)]
    #[must_use]
    pub const fn taken_many(word: u64, now_ns: u64, cap: u32, count: u64) -> (u64, u64) {
        let second = now_ns / SECOND_NS;
        let word = if second > word >> 32 {
            second << 32
        } else {
            word
        };
        let left = (cap as u64).saturating_sub(word & 0xffff_ffff);
        let taken = if count < left { count } else { left };
        (word + taken, taken)
    }
}

/// A number that is as good as drawn by lot, and the same for the same chain: all of its events are
/// chosen, or none.
#[inline(always)]
#[must_use]
pub const fn lot(chain: u64) -> u32 {
    // The finalizer of MurmurHash3: each bit of its result depends on each bit of the chain.
    let mut bits = chain;
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (bits >> 32) as u32
}

/// The chain of what a thread began at a time, such as a system call and what happens within it.
#[inline(always)]
#[must_use]
pub const fn chain(tid: u32, start_ns: u64) -> u64 {
    start_ns ^ (tid as u64) << 40 ^ (tid as u64) >> 24
}

impl Origin {
    /// The chain of an event of this origin: that of the system call within which it began, or its
    /// own.
    #[inline(always)]
    #[must_use]
    pub const fn chain(&self, start_ns: u64) -> u64 {
        if self.call_start_ns == 0 {
            chain(self.tid, start_ns)
        } else {
            chain(self.tid, self.call_start_ns)
        }
    }
}

#[cfg(test)]
mod tests;
