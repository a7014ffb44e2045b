//! MIG instances.

use monitoring::gpu::MigInstance;

use super::rig::{Sim, assert_close, poll_until};

#[test]
fn instances_and_what_they_do() {
    let script = "[[gpus]]\nmodel = \"h200\"\n\
        [[gpus.mig]]\nprofile = \"3g.71gb\"\ngpu_instance_id = 1\ncompute_instance_id = 0\n\
        [gpus.mig.values]\nmemory_used = 1000\ngpm_sm = 25.0\n\
        [[gpus.mig]]\nprofile = \"1g.18gb\"\ngpu_instance_id = 9\ncompute_instance_id = 2\n\
        [gpus.mig.values]\nmemory_used = 2000\ngpm_sm = 50.0\n";
    let sim = Sim::new(script);
    let monitor = sim.open();
    let mig = poll_until("what they do", || {
        let mig = monitor.device(0).unwrap().mig;
        mig.iter()
            .all(|instance| instance.activity.sm_ratio.is_some())
            .then_some(mig)
    });
    assert_eq!(mig.len(), 2);
    let ids = |at: usize| {
        (
            mig[at].identity.gpu_instance_id,
            mig[at].identity.compute_instance_id,
        )
    };
    assert_eq!((ids(0), ids(1)), ((1, 0), (9, 2)));
    assert_eq!(mig[0].identity.name, "NVIDIA H200 MIG 3g.71gb");
    assert_eq!(
        mig[1].identity.uuid,
        "MIG-00000000-5107-4a7e-8d1e-000000000001"
    );
    let memory: Vec<_> = mig
        .iter()
        .map(|instance| instance.memory.unwrap())
        .collect();
    assert_eq!((memory[0].used_bytes, memory[1].used_bytes), (1000, 2000));
    assert_eq!(memory[0].total_bytes, 150_754_820_096 / 2);
    assert_eq!(memory[1].total_bytes, 150_754_820_096 / 8);
    let processors: Vec<_> = mig
        .iter()
        .map(|instance| instance.multiprocessors)
        .collect();
    assert_eq!(processors, [Some(132 * 3 / 7), Some(132 / 7)]);
    assert_close("first", mig[0].activity.sm_ratio, Some(0.25));
    assert_close("second", mig[1].activity.sm_ratio, Some(0.5));
}

#[test]
fn instances_come_and_go() {
    let gpu = "[[gpus]]\nmodel = \"h200\"\n";
    let one = "[[gpus.mig]]\ngpu_instance_id = 7\n";
    let two = "[[gpus.mig]]\ngpu_instance_id = 8\n";
    let sim = Sim::new(gpu);
    let monitor = sim.open();
    for (script, want) in [
        (gpu.to_owned(), vec![]),
        (format!("{gpu}{one}"), vec![7]),
        (format!("{gpu}{one}{two}"), vec![7, 8]),
        (format!("{gpu}{one}"), vec![7]),
        (gpu.to_owned(), vec![]),
    ] {
        sim.rewrite(&script);
        poll_until("the instances", || {
            let mig = monitor.device(0).unwrap().mig;
            let ids: Vec<_> = mig.iter().map(|it| it.identity.gpu_instance_id).collect();
            (ids == want).then_some(())
        });
    }
}

const TWO: &str = "[[gpus.mig]]\ngpu_instance_id = 1\nuuid = \"MIG-a\"\n\
    [gpus.mig.values]\nmemory_used = 1000\ngpm_sm = 25.0\n\
    [[gpus.mig]]\ngpu_instance_id = 2\nuuid = \"MIG-b\"\n\
    [gpus.mig.values]\nmemory_used = 2000\ngpm_sm = 50.0\n";

/// What must never be mixed up.
fn check_two(instances: &[MigInstance]) {
    for instance in instances {
        let identity = &instance.identity;
        let used = instance.memory.map(|memory| memory.used_bytes);
        match identity.uuid.as_str() {
            "MIG-a" => assert_eq!((identity.gpu_instance_id, used), (1, Some(1000))),
            "MIG-b" => assert_eq!((identity.gpu_instance_id, used), (2, Some(2000))),
            other => panic!("no instance is {other:?}"),
        }
    }
}

#[test]
fn instances_that_do_not_say_who_they_are() {
    let gpu = "[[gpus]]\nmodel = \"h200\"\n";
    for (call, error) in [
        ("nvmlDeviceGetUUID", "INVALID_ARGUMENT"),
        ("nvmlDeviceGetUUID", "NOT_FOUND"),
        ("nvmlDeviceGetUUID", "GPU_NOT_FOUND"),
        ("nvmlDeviceGetGpuInstanceId", "INVALID_ARGUMENT"),
        ("nvmlDeviceGetComputeInstanceId", "UNKNOWN"),
    ] {
        let sim = Sim::new(&format!("{gpu}{TWO}"));
        let monitor = sim.open();
        let read = |what, count: usize| {
            poll_until(what, || {
                let device = monitor.device(0).unwrap();
                check_two(&device.mig);
                (device.mig.len() == count).then_some(())
            });
        };
        read("both", 2);
        let errors = format!("[gpus.errors]\n{call} = \"{error}\"\n");
        sim.rewrite(&format!("{gpu}{errors}{TWO}"));
        read("that they are unknown", 0);
        sim.rewrite(&format!("{gpu}{TWO}"));
        read("both again", 2);
    }
}

#[test]
fn numbers_are_given_to_other_instances() {
    let gpu = "[[gpus]]\nmodel = \"h200\"\n[[gpus.mig]]\ngpu_instance_id = 3\n";
    let one = |uuid: &str, sm: u32| {
        format!("{gpu}uuid = \"{uuid}\"\n[gpus.mig.values]\ngpm_sm = {sm}.0\n")
    };
    let sim = Sim::new(&one("MIG-a", 20));
    let monitor = sim.open();
    let sampled = |uuid: &str| {
        poll_until("a sample", || {
            let mig = monitor.device(0).unwrap().mig;
            let found = mig.into_iter().find(|it| it.identity.uuid == uuid)?;
            found.activity.sm_ratio
        })
    };
    assert_close("first", Some(sampled("MIG-a")), Some(0.2));
    sim.rewrite(&one("MIG-b", 80));
    assert_close("second", Some(sampled("MIG-b")), Some(0.8));
}

#[test]
fn a_mode_changes_what_is_supported() {
    let gpu = "[[gpus]]\nmodel = \"h200\"\n";
    let errors = "[gpus.errors]\nnvmlDeviceGetTemperature = \"NOT_SUPPORTED\"\n\
        nvmlDeviceGetMaxClockInfo = \"NOT_SUPPORTED\"\n";
    let sim = Sim::new(&format!("{gpu}{errors}"));
    let monitor = sim.open();
    let metrics = monitor.device(0).unwrap();
    assert_eq!(metrics.temperature.get(), None);
    assert!(metrics.unsupported.contains(&"nvmlDeviceGetTemperature"));
    sim.rewrite(&format!("{gpu}{TWO}"));
    let metrics = poll_until("the new mode", || {
        let metrics = monitor.device(0).unwrap();
        (!metrics.mig.is_empty()).then_some(metrics)
    });
    assert!(metrics.temperature.get().is_some());
    assert!(!metrics.unsupported.contains(&"nvmlDeviceGetTemperature"));
    poll_until("what is read seldom", || {
        let clocks = monitor.device(0).unwrap().clocks_max_hertz;
        (clocks.len() == 4).then_some(())
    });
}
