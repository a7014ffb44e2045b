//! Processes on a device.

use monitoring::gpu::{GpuMetrics, GpuProcess};

use super::rig::{Sim, poll_until};

#[test]
fn memory_by_process_and_instance() {
    let script = "[[gpus]]\nmodel = \"l4\"\n\
        [[gpus.processes]]\npid = 20\nmemory_bytes = 700\n\
        [[gpus.processes]]\npid = 10\nmemory_bytes = 300\ngraphics = true\n\
        [[gpus.processes]]\npid = 10\nmemory_bytes = 300\n\
        [[gpus.processes]]\npid = 30\nmemory_bytes = \"NOT_AVAILABLE\"\n";
    let processes = Sim::new(script).open().device(0).unwrap().processes;
    let want = [(10, Some(300)), (20, Some(700)), (30, None)];
    assert_eq!(
        processes
            .iter()
            .map(|it| (it.pid, it.memory_bytes))
            .collect::<Vec<_>>(),
        want
    );
    assert!(processes.iter().all(|process| process.mig.is_none()));
}

#[test]
fn a_process_counts_for_each_of_its_instances() {
    let script = "[[gpus]]\nmodel = \"h200\"\n\
        [[gpus.mig]]\ngpu_instance_id = 1\n[[gpus.mig]]\ngpu_instance_id = 2\n\
        [[gpus.processes]]\npid = 5\nmemory_bytes = 11\ngpu_instance_id = 1\ncompute_instance_id = 0\n\
        [[gpus.processes]]\npid = 5\nmemory_bytes = 12\ngpu_instance_id = 2\ncompute_instance_id = 0\n";
    let processes = Sim::new(script).open().device(0).unwrap().processes;
    let want = |gpu_instance, memory| GpuProcess {
        pid: 5,
        mig: Some((gpu_instance, Some(0))),
        memory_bytes: Some(memory),
        sm_utilization_ratio: None,
    };
    assert_eq!(processes, [want(1, 11), want(2, 12)]);
}

#[test]
fn more_processes_than_there_was_room_for() {
    let process = |pid: u32| {
        format!(
            "[[gpus.processes]]\npid = {pid}\nmemory_bytes = {}\nsm_percent = 1\n",
            pid * 2
        )
    };
    let all: String = (1..=1000).map(process).collect();
    let sim = Sim::new(&format!("[[gpus]]\nmodel = \"l4\"\n{all}"));
    let processes = sim.open().device(0).unwrap().processes;
    assert_eq!(processes.len(), 1000);
    let right = |(at, process): (u64, &GpuProcess)| process.memory_bytes == Some(at * 2);
    assert!((1..).zip(&processes).all(right));
}

#[test]
fn shares_are_of_the_processes_that_had_them() {
    let script = "[[gpus]]\nmodel = \"l4\"\n\
        [[gpus.processes]]\npid = 1\nmemory_bytes = 1\nsm_percent = 40\n\
        [[gpus.processes]]\npid = 2\nmemory_bytes = 1\nsm_percent = 25\n\
        [[gpus.processes]]\npid = 3\nmemory_bytes = 1\n\
        [[gpus.processes]]\npid = 4\nmemory_bytes = 1\nsm_percent = 4294967295\n";
    let sim = Sim::new(script);
    let monitor = sim.open();
    let shares = |metrics: &GpuMetrics| {
        let shares = metrics.processes.iter().map(|it| it.sm_utilization_ratio);
        shares.collect::<Vec<_>>()
    };
    let sampled = poll_until("a new sample", || {
        Some(shares(&monitor.device(0).unwrap())).filter(|shares| shares[0].is_some())
    });
    let idle = sampled[2];
    assert_eq!(sampled, [Some(0.4), Some(0.25), idle, None]);
    // Who is in no sample for long enough does nothing. What cannot be true says nothing.
    let want = [Some(0.4), Some(0.25), Some(0.0), None];
    poll_until("that it is idle", || {
        let shares = shares(&monitor.device(0).unwrap());
        assert!(shares[2].is_none_or(|share| share == 0.0));
        assert_eq!(
            (shares[0], shares[1], shares[3]),
            (want[0], want[1], want[3])
        );
        shares[2]
    });
    sim.rewrite(&script.replace("sm_percent = 40\n", ""));
    poll_until("that the other is idle as well", || {
        let shares = shares(&monitor.device(0).unwrap());
        (shares[0] == Some(0.0)).then_some(())
    });
}

#[test]
fn processes_that_share_by_a_service() {
    let script = "[[gpus]]\nmodel = \"l4\"\n\
        [[gpus.processes]]\npid = 1\nmemory_bytes = 100\n\
        [[gpus.processes]]\npid = 2\nmemory_bytes = 200\nmps = true\n\
        [[gpus.processes]]\npid = 2\nmemory_bytes = 200\n";
    let processes = Sim::new(script).open().device(0).unwrap().processes;
    let processes: Vec<_> = processes
        .iter()
        .map(|it| (it.pid, it.memory_bytes))
        .collect();
    assert_eq!(processes, [(1, Some(100)), (2, Some(200))]);
}

#[test]
fn a_process_in_no_compute_instance() {
    let script = "[[gpus]]\nmodel = \"h200\"\n[[gpus.mig]]\ngpu_instance_id = 1\n\
        [[gpus.processes]]\npid = 5\nmemory_bytes = 11\ngpu_instance_id = 1\n";
    let processes = Sim::new(script).open().device(0).unwrap().processes;
    assert_eq!(processes[0].mig, Some((1, None)));
}
