//! The rounds of a subject, in its process: threads that do chunks at the same time, and time
//! themselves.
//!
//! A figure that another thread takes has the time in it that threads need to begin and to end.

use std::{
    hint,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

use crate::{
    child,
    clocks::{process_cpu_ns, thread_cpu_ns},
    load::Load,
    memory,
};

/// Answers with the figures of one round for each question, and at last with what has become of
/// the operations; see [`crate::rounds`], which reads them.
pub(crate) fn work(begin: fn() -> Load, threads: usize) {
    let base_bytes = memory::resident_bytes();
    let load = begin();
    let crew = Crew {
        threads,
        begin: Barrier::new(threads + 1),
        end: Barrier::new(threads + 1),
        awake: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        members: (0..threads).map(|_| Member::default()).collect(),
    };
    let mut rounds = 0;
    thread::scope(|scope| {
        for (at, member) in crew.members.iter().enumerate() {
            let (crew, chunk) = (&crew, &*load.chunk);
            scope.spawn(move || {
                pin(at);
                crew.work(member, chunk);
            });
        }
        // The first round is to warm up, and the answer says that it is done.
        loop {
            let figures = crew.round(&load);
            rounds += 1;
            child::answer(&figures);
            if !child::is_asked() {
                break;
            }
        }
        crew.is_over.store(true, Relaxed);
        crew.begin.wait();
    });
    let outcome = (load.outcome)();
    let done = rounds * load.chunks * load.operations * threads as u64;
    let [recorded, said_lost] =
        [outcome.recorded, outcome.said_lost].map(|count| count.map_or(-1.0, |count| count as f64));
    let peak = memory::peak_bytes().saturating_sub(base_bytes);
    child::answer(&[done as f64, recorded, said_lost, peak as f64]);
}

/// Threads that begin each chunk together.
struct Crew {
    threads: usize,
    begin: Barrier,
    end: Barrier,
    /// How often a thread has woken up for a chunk.
    awake: AtomicU64,
    is_over: AtomicBool,
    members: Vec<Member>,
}

/// What one thread has measured so far, in nanoseconds. A cache line of its own keeps the others' writes away.
#[derive(Default)]
#[repr(align(128))]
struct Member {
    wall: AtomicU64,
    cpu: AtomicU64,
    /// With all that it did outside of the chunks.
    total_cpu: AtomicU64,
}

impl Crew {
    fn work(&self, member: &Member, chunk: &(dyn Fn() + Sync)) {
        let mut chunks = 0;
        loop {
            self.begin.wait();
            if self.is_over.load(Relaxed) {
                return;
            }
            chunks += 1;
            self.awake.fetch_add(1, Relaxed);
            // None begins before all are awake: the barrier wakes them one after the other.
            while self.awake.load(Relaxed) < chunks * self.threads as u64 {
                hint::spin_loop();
            }
            let cpu_ns = thread_cpu_ns();
            let begun = Instant::now();
            chunk();
            let wall = begun.elapsed();
            let now_ns = thread_cpu_ns();
            let wall_ns = u64::try_from(wall.as_nanos()).expect("less than centuries");
            member.wall.fetch_add(wall_ns, Relaxed);
            member.cpu.fetch_add(now_ns - cpu_ns, Relaxed);
            member.total_cpu.store(now_ns, Relaxed);
            self.end.wait();
        }
    }

    /// Nanoseconds of an operation: by the clock, on the CPU, and what other threads did for it.
    fn round(&self, load: &Load) -> [f64; 3] {
        let sum = |of: fn(&Member) -> &AtomicU64| {
            let values = self.members.iter().map(|member| of(member).load(Relaxed));
            values.sum::<u64>()
        };
        let read = || {
            [
                sum(|member| &member.wall),
                sum(|member| &member.cpu),
                sum(|member| &member.total_cpu) + thread_cpu_ns(),
                process_cpu_ns(),
            ]
        };
        let before = read();
        let mut settling_ns = 0;
        for _ in 0..load.chunks {
            self.begin.wait();
            self.end.wait();
            let begun_ns = thread_cpu_ns();
            (load.settle)();
            settling_ns += thread_cpu_ns() - begun_ns;
        }
        let after = read();
        let [wall, cpu, own, process] = [0, 1, 2, 3].map(|at| (after[at] - before[at]) as f64);
        let operations = (load.chunks * load.operations * self.threads as u64) as f64;
        let behind = (process - own + settling_ns as f64).max(0.0);
        [wall, cpu, behind].map(|ns| ns / operations)
    }
}

/// Two of the threads never share a CPU while there are enough.
fn pin(at: usize) {
    let cpus = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // From the last one down: what else the system does is rather on the first.
    let cpu = cpus - 1 - at % cpus;
    // SAFETY: the set is a plain bit field, and the CPU is within it.
    let result = unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
