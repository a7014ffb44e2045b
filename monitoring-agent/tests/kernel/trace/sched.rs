//! Gaps of threads, compared with what the threads themselves measured.

use std::{
    hint,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use monitoring_common::{
    sched::reason::{IO_WAIT, LOCK, PREEMPTED, RUNQUEUE, SLEEP},
    trace::{
        Record,
        detail::{NO_CALL, OffCpuDetail},
        kind::OFF_CPU,
    },
};

use super::{assert_lasted, comm, gettid, now_ns, reader::Traced};
use crate::{
    block::disk::{Data, Disk},
    poll::poll_until,
    work,
};

const FAMILIES: [&str; 3] = ["process", "syscalls", "sched"];

/// The threshold, and what is well above and well below it.
const THRESHOLD: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_millis(300);
const SHORT: Duration = Duration::from_millis(2);

/// How long a CPU is taken away: not long, because others want it.
const CROWDED: Duration = Duration::from_millis(120);

/// How long the crowd may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

type Gap = Record<OffCpuDetail>;

/// A node that traces gaps for some reasons.
fn gaps(reasons: &[u16]) -> Traced {
    Traced::start(&FAMILIES, |config| {
        config.sources.trace.off_cpu = Some(THRESHOLD);
        config.sources.trace.off_cpu_reasons = reasons.to_vec();
    })
}

fn is_of(tid: u32) -> impl Fn(&Gap) -> bool {
    move |gap| gap.header.tid == tid
}

/// Whose it is, and in which call it was, which began between two readings of the clock.
fn assert_is_mine(gap: &Gap, call: libc::c_long, before_ns: u64) {
    let Gap { header, detail } = gap;
    assert_eq!((header.pid, header.tid), (std::process::id(), gettid()));
    assert_eq!((header.comm, header.code), (comm(), 0));
    assert_eq!(i64::from(detail.syscall), call);
    assert!((before_ns..=header.start_ns).contains(&header.call_start_ns));
    assert!(header.end_ns <= now_ns());
}

/// What a thread did: the start of it by the kernel's clock, how long it took, and its number.
struct Done {
    before_ns: u64,
    took: Duration,
}

fn done(work: impl FnOnce()) -> Done {
    let before_ns = now_ns();
    let begun = Instant::now();
    work();
    Done {
        before_ns,
        took: begun.elapsed(),
    }
}

#[test]
fn a_wait_for_a_disk() {
    let disk = Disk::new();
    let mut traced = gaps(&[IO_WAIT]);
    let held = disk.backing.hold();
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut data = Data::new();
            let done = done(|| assert_eq!(disk.read(&mut data, 4096, 0).unwrap(), 4096));
            let mut gaps = traced.wait_for::<OffCpuDetail>(OFF_CPU, 1, is_of(gettid()));
            let gap = gaps.remove(0);
            assert_is_mine(&gap, libc::SYS_pread64, done.before_ns);
            assert_eq!(gap.detail.reason, u32::from(IO_WAIT));
            // It could run at the gap's end, and ran soon.
            assert_eq!(gap.detail.queued_ns, gap.header.end_ns);
            assert_lasted("a wait for a disk", &gap.header, done.took);
        });
        disk.backing.wait_until_held();
        thread::sleep(LONG);
        drop(held);
        reading.join().unwrap();
    });
    // Others of this process may have waited, too, but each was told of.
    let told = traced.spans::<OffCpuDetail>(OFF_CPU, |_| true).len();
    traced.assert_counted::<OffCpuDetail>(OFF_CPU, told, 0);
}

#[test]
fn a_wait_for_a_lock() {
    let mut traced = gaps(&[LOCK]);
    let lock = Mutex::new(());
    let held = lock.lock().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let done = done(|| drop(lock.lock().unwrap()));
            let gaps = traced.wait_for::<OffCpuDetail>(OFF_CPU, 1, is_of(gettid()));
            assert_is_mine(&gaps[0], libc::SYS_futex, done.before_ns);
            assert_eq!(gaps[0].detail.reason, u32::from(LOCK));
            assert_lasted("a wait for a lock", &gaps[0].header, done.took);
        });
        thread::sleep(LONG);
        drop(held);
        waiting.join().unwrap();
    });
}

#[test]
fn what_is_short_or_for_another_reason_is_no_gap() {
    let mut traced = gaps(&[SLEEP]);
    let in_thread = |wait: &(dyn Fn() + Sync)| {
        let work = || {
            wait();
            gettid()
        };
        thread::scope(|scope| scope.spawn(work).join().unwrap())
    };
    let naps = in_thread(&|| (0..50).for_each(|_| thread::sleep(SHORT)));
    let lock = Mutex::new(());
    let held = lock.lock().unwrap();
    let waited = thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            drop(lock.lock().unwrap());
            gettid()
        });
        thread::sleep(LONG);
        drop(held);
        waiting.join().unwrap()
    });
    // What is wanted comes behind what is not.
    let slept = in_thread(&|| thread::sleep(LONG));
    let gaps = traced.wait_for::<OffCpuDetail>(OFF_CPU, 1, is_of(slept));
    assert_eq!(gaps[0].detail.reason, u32::from(SLEEP));
    assert_lasted("a sleep", &gaps[0].header, LONG);
    for tid in [naps, waited] {
        assert_eq!(traced.spans::<OffCpuDetail>(OFF_CPU, is_of(tid)), []);
    }
}

/// Puts the calling thread before all ordinary ones.
fn go_first() {
    // SAFETY: concerns this thread only; the parameters live across the call.
    let result = unsafe {
        let mut parameters = std::mem::zeroed::<libc::sched_param>();
        parameters.sched_priority = 1;
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Has another thread take CPU 0 for [`CROWDED`], soon after `work` says so by its argument. It runs on
/// that CPU as well, when that one does not.
fn crowded(work: impl FnOnce(&AtomicBool) + Send) {
    let [crowd, over] = [AtomicBool::new(false), AtomicBool::new(false)];
    thread::scope(|scope| {
        scope.spawn(|| {
            work::pin_to(0);
            go_first();
            poll_until("the crowd is wanted", || crowd.load(Relaxed).then_some(()));
            let begun = Instant::now();
            while begun.elapsed() < CROWDED {
                hint::spin_loop();
            }
            over.store(true, Relaxed);
        });
        scope.spawn(|| {
            work::pin_to(0);
            work(&crowd);
        });
    });
    assert!(over.load(Relaxed));
}

#[test]
fn a_cpu_that_is_taken_away() {
    let mut traced = gaps(&[PREEMPTED]);
    crowded(|crowd| {
        crowd.store(true, Relaxed);
        // A thread that does nothing but look at the clock sees for itself when it did not run.
        // Each reading ends one look and begins the next: between two readings it may not run, either.
        let begun = Instant::now();
        let (mut last, mut longest) = (begun, Duration::ZERO);
        while longest < CROWDED.mul_f64(0.9) {
            let now = Instant::now();
            longest = longest.max(now - last);
            last = now;
            assert!(
                now - begun < PATIENCE,
                "never away for more than {longest:?}"
            );
        }
        let gaps = traced.spans::<OffCpuDetail>(OFF_CPU, is_of(gettid()));
        let lasted = |gap: &&Gap| gap.header.end_ns - gap.header.start_ns;
        let gap = gaps.iter().max_by_key(lasted).expect("a gap");
        assert_lasted("a preemption", &gap.header, longest);
        assert_eq!(gap.detail.reason, u32::from(PREEMPTED));
        assert_eq!((gap.detail.syscall, gap.header.call_start_ns), (NO_CALL, 0));
    });
}

#[test]
fn a_wait_for_a_cpu() {
    let mut traced = gaps(&[RUNQUEUE]);
    crowded(|crowd| {
        crowd.store(true, Relaxed);
        // Due in the middle of the crowd's time, in which nobody lets it run.
        let due_ns = now_ns() + u64::try_from((CROWDED / 3).as_nanos()).unwrap();
        let due = libc::timespec {
            tv_sec: i64::try_from(due_ns / 1_000_000_000).unwrap(),
            tv_nsec: i64::try_from(due_ns % 1_000_000_000).unwrap(),
        };
        let (clock, flags) = (libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME);
        // SAFETY: the time lives across the call, which writes nothing.
        unsafe { libc::clock_nanosleep(clock, flags, &raw const due, std::ptr::null_mut()) };
        let late = Duration::from_nanos(now_ns() - due_ns);
        assert!(late > THRESHOLD, "woken {late:?} late");
        let gaps = traced.spans::<OffCpuDetail>(OFF_CPU, is_of(gettid()));
        let lasted = |gap: &&Gap| gap.header.end_ns - gap.header.start_ns;
        let gap = gaps.iter().max_by_key(lasted).expect("a gap");
        assert_eq!(gap.detail.reason, u32::from(RUNQUEUE));
        assert_eq!(gap.detail.queued_ns, gap.header.start_ns);
        assert_eq!(i64::from(gap.detail.syscall), libc::SYS_clock_nanosleep);
        assert_lasted("a wait for a CPU", &gap.header, late);
    });
}
