//! What GPUs answer as long as the script says only their model.

use nvml_wrapper::{Nvml, enum_wrappers::device::TemperatureSensor, error::NvmlError};

fn load(script: &str) -> (tempfile::TempDir, Nvml) {
    let folder = tempfile::tempdir().unwrap();
    let library = nvml_sim::install(folder.path(), script);
    let nvml = Nvml::builder().lib_path(library.as_os_str()).init().unwrap();
    (folder, nvml)
}

#[test]
fn an_h200() {
    let (_folder, nvml) = load("[[gpus]]\nmodel = \"h200\"\n");
    assert_eq!(nvml.device_count().unwrap(), 1);
    let gpu = nvml.device_by_index(0).unwrap();
    assert_eq!(gpu.name().unwrap(), "NVIDIA H200");
    assert_eq!(gpu.memory_info().unwrap().total, 150_754_820_096);
    assert_eq!(gpu.temperature(TemperatureSensor::Gpu).unwrap(), 29);
    assert!(matches!(gpu.fan_speed(0), Err(NvmlError::InvalidArg)));
    assert_eq!(gpu.num_fans().unwrap(), 0);
    assert!(gpu.gpm_support().unwrap());
}
