//! What polls cost in time and memory, and many who ask at once.

use std::{fs, thread, time::Duration};

use super::rig::{Sim, poll_until};

/// CPU time of this process's threads that are the monitors' own, by the kernel's count.
fn cpu_time() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the room is of the call's own type.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, usage.as_mut_ptr()) };
    assert_eq!(result, 0);
    // SAFETY: the call has filled it.
    let time = unsafe { usage.assume_init() };
    Duration::new(
        time.tv_sec.try_into().unwrap(),
        time.tv_nsec.try_into().unwrap(),
    )
}

/// Resident memory, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Eight GPUs with seven MIG instances and as many processes each.
fn full_node() -> String {
    let instance = |id: u32| format!("[[gpus.mig]]\ngpu_instance_id = {id}\n");
    let process = |id: u32| {
        format!(
            "[[gpus.processes]]\npid = {}\nmemory_bytes = 1000\ngpu_instance_id = {id}\n\
             compute_instance_id = 0\n",
            1000 + id
        )
    };
    let parts: String = (7..14).map(|id| instance(id) + &process(id)).collect();
    format!("[[gpus]]\nmodel = \"h200\"\n{parts}").repeat(8)
}

/// Runs in a process of its own, because the CPU time is all of a process's.
#[test]
fn a_full_node_takes_little_time() {
    alone("cost::a_full_node_takes_little_time", || {
        const POLLS: u32 = 40;
        let sim = Sim::new(&full_node());
        let monitor = sim
            .builder()
            .retry_interval(Duration::from_hours(1))
            .open()
            .unwrap();
        let mut spent = Duration::ZERO;
        for _ in 0..POLLS {
            // Far enough apart that all samples are taken anew.
            poll_pause(Duration::from_millis(110));
            let before = cpu_time();
            let metrics = monitor.collect_all().unwrap();
            spent += cpu_time().saturating_sub(before);
            assert_eq!(metrics.len(), 8);
            assert!(
                metrics
                    .values()
                    .all(|gpu| gpu.mig.len() == 7 && gpu.processes.len() == 7)
            );
            let sampled = metrics.values().flat_map(|gpu| &gpu.mig);
            assert!(
                sampled
                    .map(|mig| mig.activity.sm_ratio)
                    .all(|ratio| ratio.is_some())
            );
        }
        let each = spent / POLLS;
        println!("a poll of 8 GPUs with 7 MIG instances each takes {each:?} of CPU time");
        assert!(each < Duration::from_millis(50), "a poll took {each:?}");
    });
}

#[test]
fn memory_is_steady() {
    alone("cost::memory_is_steady", || {
        const WARM_UP: u32 = 5_000;
        const POLLS: u32 = 100_000;
        const GROWTH: u64 = 1 << 20;
        let script = "[[gpus]]\nmodel = \"h200\"\n[[gpus.mig]]\ngpu_instance_id = 7\n\
                      [[gpus.processes]]\npid = 1\nmemory_bytes = 1\n\
                      [[gpus.xids]]\ncode = 31\nevery_seconds = 0.001\n";
        let sim = Sim::new(script);
        let monitor = sim.open();
        let mut polls = 0;
        let mut poll = || {
            assert!(monitor.collect_all().unwrap()[&0].power_watts.is_some());
            polls += 1;
        };
        (0..WARM_UP).for_each(|_| poll());
        let before = resident();
        (0..POLLS).for_each(|_| poll());
        let after = resident();
        println!("{polls} polls: from {before} to {after} bytes");
        assert!(after < before + GROWTH, "from {before} to {after} bytes");
        let errors = monitor.device(0).unwrap().xid_errors;
        assert!(errors[&31] > 256, "events came meanwhile: {errors:?}");
    });
}

#[test]
fn sessions_leave_nothing_behind() {
    alone("cost::sessions_leave_nothing_behind", || {
        let sim = Sim::new("[[gpus]]\nmodel = \"h200\"\n[[gpus.mig]]\ngpu_instance_id = 7\n");
        let open = || assert!(sim.open().collect_all().unwrap().contains_key(&0));
        (0..20).for_each(|_| open());
        let before = poll_until("threads are gone", || {
            Some(left_behind()).filter(|left| left[0] == 2)
        });
        (0..50).for_each(|_| open());
        // A thread has told its end a moment before it is gone.
        poll_until("all is given back", || {
            (left_behind() == before).then_some(())
        });
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(
            !maps.contains("libnvidia-ml"),
            "the library is not loaded any more"
        );
    });
}

/// Threads and open files, but for the scripts that each loaded simulator keeps open for itself.
fn left_behind() -> [usize; 2] {
    let files = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let files = files.filter_map(|file| fs::read_link(file.path()).ok());
    let files = files.filter(|file| file.extension().is_none_or(|extension| extension != "toml"));
    [
        fs::read_dir("/proc/self/task").unwrap().count(),
        files.count(),
    ]
}

#[test]
fn many_may_ask_at_once() {
    let sim = Sim::new("[[gpus]]\nmodel = \"l4\"\n".repeat(4).as_str());
    let monitor = sim.open();
    let before = monitor.latest().unwrap().number;
    thread::scope(|scope| {
        for asker in 0..8_u32 {
            let monitor = &monitor;
            scope.spawn(move || {
                for _ in 0..25 {
                    assert_eq!(monitor.collect_all().unwrap().len(), 4);
                    assert_eq!(monitor.device(asker % 4).unwrap().device_id, asker % 4);
                }
            });
        }
    });
    let polls = monitor.latest().unwrap().number - before;
    assert!((25..=8 * 50).contains(&polls), "{polls} polls");
}

/// Time that has to pass for what is measured, whatever else goes on.
fn poll_pause(time: Duration) {
    thread::sleep(time);
}

/// Runs a test of this program in a process of its own.
fn alone(name: &str, test: impl FnOnce()) {
    const ALONE: &str = "MONITORING_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return test();
    }
    let program = std::env::current_exe().unwrap();
    let mut command = std::process::Command::new(program);
    let output = command
        .args([name, "--exact", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"));
}
