//! MIG instances.

use crate::{Rig, one, refused};

/// A GPU with seven instances, and a process on the third.
fn divided() -> String {
    let mut script = one("h200", "utilization_gpu = 50");
    for _ in 0..7 {
        script += "[[gpus.mig]]\nprofile = \"1g.18gb\"\nvalues.memory_used = 1024\n";
    }
    script
        + "[[gpus.processes]]\npid = 42\nmemory_bytes = 77\ngpu_instance_id = 9\n\
              compute_instance_id = 0\nsm_percent = 30\n"
}

#[test]
fn seven_instances_are_seven_devices() {
    let rig = Rig::new(&divided());
    let gpu = rig.gpu();
    let mode = gpu.mig_mode().unwrap();
    assert_eq!((mode.current, mode.pending), (1, 1));
    assert_eq!(gpu.mig_device_count().unwrap(), 7);
    assert!(!gpu.mig_is_mig_device_handle().unwrap());
    let mut uuids = Vec::new();
    for index in 0..7 {
        let instance = gpu.mig_device_by_index(index).unwrap();
        assert!(instance.mig_is_mig_device_handle().unwrap());
        assert_eq!(instance.name().unwrap(), "NVIDIA H200 MIG 1g.18gb");
        assert_eq!(
            instance.mig_parent_device().unwrap().uuid().unwrap(),
            gpu.uuid().unwrap()
        );
        let memory = instance.memory_info().unwrap();
        assert_eq!((memory.total, memory.used), (150_754_820_096 / 8, 1024));
        let attributes = instance.attributes().unwrap();
        assert_eq!(attributes.multiprocessor_count, 132 / 7);
        assert_eq!(attributes.gpu_instance_slice_count, 1);
        refused!(instance.power_usage(), NotSupported);
        refused!(instance.process_utilization_stats(None), NotSupported);
        let processes = instance.running_compute_processes().unwrap();
        assert_eq!(processes.len(), usize::from(index == 2));
        uuids.push(instance.uuid().unwrap());
        assert_eq!(
            rig.nvml
                .device_by_uuid(uuids[index as usize].as_str())
                .unwrap()
                .index()
                .unwrap(),
            index
        );
    }
    uuids.dedup();
    assert_eq!(uuids.len(), 7);
    refused!(gpu.mig_device_by_index(7), InvalidArg);
}

#[test]
fn a_divided_gpu_does_not_tell_how_busy_it_is() {
    let rig = Rig::new(&divided());
    refused!(rig.gpu().utilization_rates(), NotSupported);
    refused!(rig.gpu().process_utilization_stats(None), NotSupported);
    refused!(rig.gpu().attributes(), NotSupported);
    let processes = rig.gpu().running_compute_processes().unwrap();
    assert_eq!(
        (processes[0].pid, processes[0].gpu_instance_id),
        (42, Some(9))
    );
}

#[test]
fn an_undivided_gpu_has_no_instances() {
    let rig = Rig::new(&one("a100", ""));
    assert_eq!(rig.gpu().mig_mode().unwrap().current, 0);
    assert_eq!(rig.gpu().mig_device_count().unwrap(), 0);
    refused!(rig.gpu().mig_device_by_index(0), NotFound);
    let rig = Rig::new(&one("l4", ""));
    assert_eq!(rig.gpu().mig_device_count().unwrap(), 0);
    refused!(rig.gpu().mig_device_by_index(0), NotSupported);
}

#[test]
fn instances_have_ids() {
    let rig =
        Rig::new(&(one("h100", "") + "[[gpus.mig]]\nprofile = \"3g.40gb\"\ngpu_instance_id = 2\n"));
    let instance = rig.gpu().mig_device_by_index(0).unwrap();
    let mut ids = [0; 2];
    // SAFETY: the device is one of this library's, and there is room for a number.
    unsafe {
        let device = instance.handle();
        let lib = rig.nvml.lib();
        assert_eq!(lib.nvmlDeviceGetGpuInstanceId(device, &raw mut ids[0]), 0);
        assert_eq!(
            lib.nvmlDeviceGetComputeInstanceId(device, &raw mut ids[1]),
            0
        );
    }
    assert_eq!(ids, [2, 0]);
    // Three sevenths of the chip come with half of the memory.
    assert_eq!(instance.memory_info().unwrap().total, (81559 << 20) / 2);
}
