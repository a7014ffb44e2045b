//! What GPUs answer as long as the script says only their model.

use nvml_wrapper::{
    Device,
    bitmasks::device::ThrottleReasons,
    enum_wrappers::device::{Brand, Clock, TemperatureSensor, TemperatureThreshold},
    enums::device::DeviceArchitecture,
    error::NvmlError,
};
use nvml_wrapper_sys::bindings::nvmlMemory_t;

use crate::{Rig, one, refused};

const MODELS: [&str; 8] = [
    "a100", "b200", "h100", "h200", "l4", "rtx4090", "t4", "v100",
];

/// Which models have something.
fn having(supports: impl Fn(&Device<'_>) -> Result<(), NvmlError>) -> Vec<&'static str> {
    let has = |model: &&str| {
        let rig = Rig::new(&one(model, ""));
        match supports(&rig.gpu()) {
            Ok(()) => true,
            Err(NvmlError::NotSupported) => false,
            Err(other) => panic!("{model}: {other}"),
        }
    };
    MODELS.into_iter().filter(has).collect()
}

#[test]
fn an_h200() {
    let rig = Rig::new(&one("h200", ""));
    assert_eq!(rig.nvml.device_count().unwrap(), 1);
    let gpu = rig.gpu();
    assert_eq!(gpu.name().unwrap(), "NVIDIA H200");
    let memory = gpu.memory_info().unwrap();
    assert_eq!(memory.total, 150_754_820_096);
    assert_eq!(memory.total, memory.used + memory.free + memory.reserved);
    assert_eq!(gpu.temperature(TemperatureSensor::Gpu).unwrap(), 29);
    let slowdown = gpu.temperature_threshold(TemperatureThreshold::Slowdown);
    assert_eq!(slowdown.unwrap(), 92);
    assert_eq!(gpu.max_clock_info(Clock::SM).unwrap(), 1980);
    assert_eq!(gpu.power_usage().unwrap(), 75_000);
    let capability = gpu.cuda_compute_capability().unwrap();
    assert_eq!((capability.major, capability.minor), (9, 0));
    assert_eq!(
        gpu.uuid().unwrap(),
        "GPU-00000000-5107-4a7e-8d1e-000000000000"
    );
    let pci = gpu.pci_info().unwrap();
    assert_eq!((pci.bus_id.as_str(), pci.bus), ("00000000:19:00.0", 0x19));
}

#[test]
fn models_have_what_their_like_have() {
    let newer = ["b200", "h100", "h200"];
    let gpm = having(|gpu| {
        let supported = gpu.gpm_support()?;
        supported.then_some(()).ok_or(NvmlError::NotSupported)
    });
    assert_eq!(gpm, newer);
    let mig = having(|gpu| gpu.mig_mode().map(drop));
    assert_eq!(mig, ["a100", "b200", "h100", "h200"]);
    let nvlink = having(|gpu| gpu.link_wrapper_for(0).is_active().map(drop));
    assert_eq!(nvlink, ["a100", "b200", "h100", "h200", "v100"]);
    let ecc = having(|gpu| gpu.is_ecc_enabled().map(drop));
    assert_eq!(ecc, ["a100", "b200", "h100", "h200", "l4", "t4", "v100"]);
    let pages = having(|gpu| gpu.are_pages_pending_retired().map(drop));
    assert_eq!(pages, ["t4", "v100"]);
    let serial = having(|gpu| gpu.serial().map(drop));
    assert_eq!(serial, ["a100", "b200", "h100", "h200", "l4", "t4", "v100"]);
}

#[test]
fn fans_are_where_there_are_fans() {
    let rig = Rig::new(&one("rtx4090", "fan_speed = [30, 117]"));
    let gpu = rig.gpu();
    assert_eq!(gpu.num_fans().unwrap(), 2);
    assert_eq!(gpu.fan_speed(0).unwrap(), 30);
    assert_eq!(gpu.fan_speed(1).unwrap(), 117);
    refused!(gpu.fan_speed(2), InvalidArg);
    let rig = Rig::new(&one("h200", ""));
    refused!(rig.gpu().num_fans(), NotSupported);
    refused!(rig.gpu().fan_speed(0), NotSupported);
}

#[test]
fn the_system_says_its_versions() {
    let rig = Rig::new("driver_version = \"580.95.05\"\ncuda_version = 13000\n");
    assert_eq!(rig.nvml.device_count().unwrap(), 0);
    assert_eq!(rig.nvml.sys_driver_version().unwrap(), "580.95.05");
    assert_eq!(rig.nvml.sys_nvml_version().unwrap(), "13.580.95.05");
    assert_eq!(rig.nvml.sys_cuda_driver_version().unwrap(), 13000);
    refused!(rig.nvml.device_by_index(0), InvalidArg);
}

#[test]
fn devices_are_found_by_what_is_theirs() {
    let rig = Rig::new("[[gpus]]\nmodel = \"l4\"\n[[gpus]]\nmodel = \"t4\"\nuuid = \"GPU-x\"\n");
    let second = rig.nvml.device_by_uuid("GPU-x").unwrap();
    assert_eq!(
        (second.index().unwrap(), second.minor_number().unwrap()),
        (1, 1)
    );
    let address = second.pci_info().unwrap().bus_id;
    let same = rig.nvml.device_by_pci_bus_id(address.as_str()).unwrap();
    assert_eq!(same.uuid().unwrap(), "GPU-x");
    refused!(rig.nvml.device_by_uuid("GPU-y"), NotFound);
}

#[test]
fn what_does_not_change_and_what_is_seldom_asked_for() {
    let rig = Rig::new(&one(
        "h200",
        "decoder_utilization = 9\nmemory_used = 500\n\
                                     memory_reserved = 70\nremapped_rows_pending = 1",
    ));
    let gpu = rig.gpu();
    assert_eq!(gpu.brand().unwrap(), Brand::Nvidia);
    assert_eq!(gpu.architecture().unwrap(), DeviceArchitecture::Hopper);
    assert_eq!(gpu.serial().unwrap(), "1652423010000");
    assert_eq!(gpu.vbios_version().unwrap(), "96.00.B8.00.01");
    assert_eq!(gpu.board_part_number().unwrap(), "699-2G530-0225-000");
    assert_eq!(gpu.bar1_memory_info().unwrap().total, 256 << 30);
    assert_eq!(gpu.decoder_utilization().unwrap().utilization, 9);
    assert_eq!(gpu.power_management_limit().unwrap(), 700_000);
    assert_eq!(gpu.power_management_limit_default().unwrap(), 700_000);
    let limits = gpu.power_management_limit_constraints().unwrap();
    assert_eq!((limits.min_limit, limits.max_limit), (200_000, 700_000));
    assert_eq!(gpu.max_pcie_link_gen().unwrap(), 5);
    assert_eq!(gpu.max_pcie_link_width().unwrap(), 16);
    let reasons = gpu.supported_throttle_reasons().unwrap();
    assert!(reasons.contains(ThrottleReasons::HW_THERMAL_SLOWDOWN));
    assert!(gpu.current_throttle_reasons().unwrap().is_empty());
    assert_eq!(gpu.link_wrapper_for(0).version().unwrap(), 6);
    let mut rows = [9; 4];
    let [a, b, c, d] = rows.each_mut();
    // SAFETY: the device is one of this library's, and there is room for each number.
    unsafe {
        let lib = rig.nvml.lib();
        assert_eq!(lib.nvmlDeviceGetRemappedRows(gpu.handle(), a, b, c, d), 0);
        assert_eq!(rows, [0, 0, 1, 0]);
        let mut memory = std::mem::zeroed::<nvmlMemory_t>();
        assert_eq!(
            lib.nvmlDeviceGetMemoryInfo(gpu.handle(), &raw mut memory),
            0
        );
        // This older call has what is reserved among what is used.
        assert_eq!((memory.used, memory.total - memory.free), (570, 570));
    }
}
