//! What polls cost in time and memory, and many who ask at once.

use std::{collections::BTreeMap, fs, sync::mpsc, thread, time::Duration};

use monitoring::gpu::{GpuError, GpuMetrics};

use super::rig::{Sim, poll_until};

/// CPU time of this whole process, by the kernel's count.
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
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mut lines = status.lines();
    let kilobytes = lines.find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes = kilobytes.trim().strip_suffix(" kB").unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}

/// Eight GPUs with seven MIG instances and as many processes each. Each sample of them differs
/// from the one before.
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
    format!(
        "[[gpus]]\nmodel = \"h200\"\n[[gpus.xids]]\ncode = 31\nevery_seconds = 0.001\n\
         [gpus.values]\ngpm_sm = {{ from = 0.0, to = 100.0, period_seconds = 1000.0 }}\n{parts}"
    )
    .repeat(8)
}

/// What all GPUs and their instances are doing.
fn activities(metrics: &BTreeMap<u32, GpuMetrics>) -> Vec<Option<f64>> {
    let all = metrics.values().flat_map(|gpu| {
        let instances = gpu.mig.iter().map(|instance| &instance.activity);
        instances.chain([&gpu.activity])
    });
    all.map(|activity| activity.sm_ratio).collect()
}

/// Runs in a process of its own, because the CPU time is all of a process's.
#[test]
fn a_full_node_takes_little_time() {
    alone("cost::a_full_node_takes_little_time", || {
        const POLLS: u32 = 20;
        let sim = Sim::new(&full_node());
        let monitor = sim.open();
        let mut last = Vec::new();
        let mut spent = Duration::ZERO;
        for _ in 0..POLLS {
            // Those that took no new samples are cheaper, and do not count.
            spent += poll_until("a poll with samples taken anew", || {
                let before = cpu_time();
                let metrics = monitor.collect_all().unwrap();
                let time = cpu_time().saturating_sub(before);
                assert_eq!(metrics.len(), 8);
                let parts = metrics
                    .values()
                    .map(|gpu| (gpu.mig.len(), gpu.processes.len()));
                assert_eq!(parts.collect::<Vec<_>>(), [(7, 7); 8]);
                let now = activities(&metrics);
                let anew = now.iter().all(Option::is_some)
                    && (last.is_empty() || now.iter().zip(&last).all(|(now, last)| now != last));
                anew.then(|| last = now).map(|()| time)
            });
        }
        let each = spent / POLLS;
        println!("a poll of 8 GPUs with 7 MIG instances each takes {each:?} of CPU time");
        assert!(each < Duration::from_millis(50), "a poll took {each:?}");
    });
}

#[test]
fn a_hundred_thousand_polls_leave_nothing_behind() {
    alone(
        "cost::a_hundred_thousand_polls_leave_nothing_behind",
        || {
            const WARM_UP: u32 = 5_000;
            const POLLS: u32 = 100_000;
            // Some bytes for each poll. The heap grows in steps of 128 KiB, of which it takes one.
            const MOST: u64 = 512 << 10;
            let script = "[[gpus]]\nmodel = \"h200\"\n[[gpus.mig]]\ngpu_instance_id = 7\n\
                      [[gpus.processes]]\npid = 1\nmemory_bytes = 1\n\
                      [[gpus.xids]]\ncode = 31\nevery_seconds = 0.001\n";
            let sim = Sim::new(script);
            let monitor = sim.open();
            let poll = || assert!(monitor.collect_all().unwrap()[&0].power_watts.is_some());
            (0..WARM_UP).for_each(|_| poll());
            let before = resident();
            (0..POLLS).for_each(|_| poll());
            let after = resident();
            println!("{POLLS} polls: from {before} to {after} bytes");
            assert!(after < before + MOST, "from {before} to {after} bytes");
        },
    );
}

#[test]
fn memory_is_steady() {
    alone("cost::memory_is_steady", || {
        const WARM_UP: u32 = 3;
        const SESSIONS: u32 = 6;
        const SAMPLES: u32 = 6;
        const MOST_BY_POLLS: u64 = 256 << 10;
        // A loaded simulator leaves a little behind, and so does its loading.
        const MOST_BY_SESSION: u64 = 96 << 10;
        let node = full_node();
        let sim = Sim::new(&node);
        let monitor = sim.open();
        let mut polls = 0;
        let mut grown = 0;
        // As many polls as it takes to sample all, and then another session.
        let mut session = || {
            let mut before = 0;
            let mut samples = 0;
            let mut last = Vec::new();
            while samples < SAMPLES {
                let now = activities(&monitor.collect_all().unwrap());
                polls += 1;
                if now != last {
                    last = now;
                    samples += 1;
                    // Now there is all that there is room for from then on.
                    if samples == 3 {
                        before = resident();
                    }
                }
            }
            grown += resident().saturating_sub(before);
            // Without GPUs, so that less of the simulator stays behind when it is unloaded.
            sim.rewrite("driver_loaded = false\n");
            poll_until("the driver is gone", || monitor.collect_all().err());
            sim.rewrite(&node);
            poll_until("the driver is back", || monitor.collect_all().ok());
            (polls, grown)
        };
        let warm = (0..WARM_UP).map(|_| session()).last().unwrap();
        let before = resident();
        let end = (0..SESSIONS).map(|_| session()).last().unwrap();
        let all = resident().saturating_sub(before);
        let (polls, grown) = (end.0 - warm.0, end.1 - warm.1);
        println!("{polls} polls left {grown} bytes; with the sessions it is {all}");
        assert!(grown < MOST_BY_POLLS, "{polls} polls left {grown} bytes");
        let each = all.saturating_sub(grown) / u64::from(SESSIONS);
        assert!(each < MOST_BY_SESSION, "each session left {each} bytes");
        let errors = monitor.device(0).unwrap().xid_errors;
        assert!(errors[&31] > 256, "events came meanwhile: {errors:?}");
    });
}

#[test]
fn sessions_leave_nothing_behind() {
    alone("cost::sessions_leave_nothing_behind", || {
        let sim = Sim::new("[[gpus]]\nmodel = \"h200\"\n[[gpus.mig]]\ngpu_instance_id = 7\n");
        let open = || assert!(sim.open().collect_all().unwrap().contains_key(&0));
        (0..5).for_each(|_| open());
        let before = poll_until("threads are gone", || {
            Some(left_behind()).filter(|left| left[0] == 2)
        });
        (0..15).for_each(|_| open());
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
fn those_who_ask_at_once_share_a_poll() {
    const CALL: &str = "nvmlDeviceGetTemperature";
    const ASKERS: u32 = 8;
    let gpus = "[[gpus]]\nmodel = \"l4\"\n".repeat(4);
    let sim = Sim::new(&gpus);
    let monitor = sim.open();
    let before = monitor.latest().unwrap().number;
    sim.rewrite(&format!(
        "{gpus}[[hangs]]\ncall = \"{CALL}\"\nseconds = 300\n"
    ));
    // Another monitor sees when the simulator has the new script, in which each poll hangs.
    let witness = sim
        .builder()
        .call_deadline(Duration::from_secs(1))
        .poll()
        .unwrap();
    poll_until("the hang", || match witness.latest() {
        Err(GpuError::Hanging { call: CALL, .. }) => Some(()),
        _ => None,
    });
    thread::scope(|scope| {
        let (tell, asking) = mpsc::channel();
        for asker in 0..ASKERS {
            let (tell, monitor) = (tell.clone(), &monitor);
            scope.spawn(move || {
                tell.send(thread_id()).unwrap();
                match asker % 2 {
                    0 => assert_eq!(monitor.collect_all().unwrap().len(), 4),
                    _ => assert_eq!(monitor.device(asker / 2).unwrap().device_id, asker / 2),
                }
            });
        }
        for asker in asking.iter().take(ASKERS as usize) {
            poll_until("the asker waits", || sleeps(asker).then_some(()));
        }
        sim.rewrite(&gpus);
    });
    // One that began when the first asked, and one for all who asked after it had begun.
    let polls = monitor.latest().unwrap().number - before;
    assert!((1..=2).contains(&polls), "{polls} polls");
}

/// The kernel's number for this thread.
fn thread_id() -> libc::pid_t {
    // SAFETY: the call takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

/// Whether a thread of this process waits for something.
fn sleeps(thread: libc::pid_t) -> bool {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
    let (_, behind_name) = stat.rsplit_once(") ").unwrap();
    behind_name.starts_with('S')
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
