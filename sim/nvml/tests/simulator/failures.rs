//! Lost, absent and failing GPUs, drivers that go away, and calls that hang.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nvml_wrapper::enum_wrappers::device::TemperatureSensor;

use crate::{DEADLINE, Rig, load, one, refused, until};

#[test]
fn a_lost_gpu_says_so_and_comes_back() {
    let script = |lost: bool| {
        format!(
            "{}[[gpus]]\nmodel = \"l4\"\nlost = {lost}\n",
            one("h200", "")
        )
    };
    let rig = Rig::new(&script(false));
    let second = rig.nvml.device_by_index(1).unwrap();
    assert_eq!(second.power_usage().unwrap(), 17_000);
    rig.rewrite(&script(true));
    until("it is lost", || second.power_usage().is_err());
    refused!(second.power_usage(), GpuLost);
    refused!(second.name(), GpuLost);
    refused!(rig.nvml.device_by_index(1), GpuLost);
    refused!(second.field_values_for(&[]), GpuLost);
    assert_eq!(rig.gpu().power_usage().unwrap(), 75_000);
    assert_eq!(rig.nvml.device_count().unwrap(), 2);
    rig.rewrite(&script(false));
    until("it is back", || second.power_usage().is_ok());
}

#[test]
fn an_absent_gpu_is_not_counted_at_the_next_start() {
    let script = |absent: bool| {
        format!(
            "[[gpus]]\nmodel = \"t4\"\nabsent = {absent}\n{}",
            one("l4", "")
        )
    };
    let folder = tempfile::tempdir().unwrap();
    let library = nvml_sim::install(folder.path(), &script(false));
    let nvml = load(&library).unwrap();
    let gone = nvml.device_by_index(0).unwrap();
    nvml_sim::rewrite(&library, &script(true));
    until("it is gone", || gone.name().is_err());
    refused!(gone.name(), GpuLost);
    assert_eq!(nvml.device_count().unwrap(), 2);
    drop(nvml);
    let nvml = load(&library).unwrap();
    assert_eq!(nvml.device_count().unwrap(), 1);
    assert_eq!(
        nvml.device_by_index(0).unwrap().name().unwrap(),
        "NVIDIA L4"
    );
    nvml_sim::rewrite(&library, &script(false));
    drop(nvml);
    assert_eq!(load(&library).unwrap().device_count().unwrap(), 2);
}

#[test]
fn without_a_driver_nothing_works() {
    let rig = Rig::new(&one("l4", ""));
    let gpu = rig.gpu();
    rig.rewrite("driver_loaded = false\n");
    until("the driver is gone", || gpu.name().is_err());
    refused!(gpu.name(), DriverNotLoaded);
    refused!(rig.nvml.device_count(), DriverNotLoaded);
    refused!(load(&rig.library), DriverNotLoaded);
    rig.rewrite(&one("l4", ""));
    until("the driver is back", || gpu.name().is_ok());
}

#[test]
fn a_call_fails_as_the_script_says() {
    let errors = "[gpus.errors]\nnvmlDeviceGetPowerUsage = \"UNKNOWN\"\n";
    let script = format!(
        "{}{errors}[[gpus]]\nmodel = \"l4\"\n[errors]\nnvmlDeviceGetSerial = \"NO_PERMISSION\"\n",
        one("h200", "")
    );
    let rig = Rig::new(&script);
    refused!(rig.gpu().power_usage(), Unknown);
    assert_eq!(rig.gpu().temperature(TemperatureSensor::Gpu).unwrap(), 29);
    let other = rig.nvml.device_by_index(1).unwrap();
    assert_eq!(other.power_usage().unwrap(), 17_000);
    refused!(other.serial(), NoPermission);
}

#[test]
fn initialization_may_fail_and_hang() {
    let folder = tempfile::tempdir().unwrap();
    let script = "[errors]\nnvmlInit_v2 = \"LIB_RM_VERSION_MISMATCH\"\n";
    let library = nvml_sim::install(folder.path(), script);
    refused!(load(&library), LibRmVersionMismatch);
    nvml_sim::rewrite(
        &library,
        "[[hangs]]\ncall = \"nvmlInit_v2\"\nseconds = 0.1\n",
    );
    let since = Instant::now();
    load(&library).unwrap();
    assert!(since.elapsed() >= Duration::from_millis(100));
}

#[test]
fn a_call_hangs_until_it_is_released() {
    let gpus = format!("{}[[gpus]]\nmodel = \"l4\"\n", one("h200", ""));
    let hang = "[[hangs]]\ncall = \"nvmlDeviceGetTemperature\"\nseconds = 3600\ngpu = 1\n";
    let rig = Rig::new(&format!("{gpus}{hang}"));
    thread::scope(|scope| {
        let (done, ended) = mpsc::channel();
        let (rig, nvml) = (&rig, &rig.nvml);
        scope.spawn(move || {
            let gpu = nvml.device_by_index(1).unwrap();
            done.send(None).unwrap();
            done.send(Some(gpu.temperature(TemperatureSensor::Gpu)))
                .unwrap();
        });
        assert!(ended.recv_timeout(DEADLINE).unwrap().is_none());
        // Neither other calls nor other devices hang.
        assert_eq!(rig.gpu().temperature(TemperatureSensor::Gpu).unwrap(), 29);
        assert_eq!(
            nvml.device_by_index(1).unwrap().power_usage().unwrap(),
            17_000
        );
        assert!(ended.recv_timeout(Duration::from_millis(200)).is_err());
        rig.rewrite(&gpus);
        let answer = ended.recv_timeout(DEADLINE).unwrap().unwrap();
        assert_eq!(answer.unwrap(), 38);
    });
}

#[test]
fn a_hang_ends_by_itself() {
    let hang = "[[hangs]]\ncall = \"nvmlDeviceGetPowerUsage\"\nseconds = 0.15\n";
    let rig = Rig::new(&format!("{}{hang}", one("h200", "")));
    for _ in 0..2 {
        let since = Instant::now();
        assert_eq!(rig.gpu().power_usage().unwrap(), 75_000);
        assert!(since.elapsed() >= Duration::from_millis(150));
    }
}

#[test]
fn a_call_hangs_no_longer_than_it_should() {
    let hang = "[[hangs]]\ncall = \"nvmlDeviceGetHandleByIndex_v2\"\nseconds = 1\n";
    let rig = Rig::new(&format!("{}{hang}", one("h200", "")));
    let since = Instant::now();
    rig.nvml.device_by_index(0).unwrap();
    let took = since.elapsed().as_secs_f64();
    assert!((1.0..1.9).contains(&took), "{took} s");
}
