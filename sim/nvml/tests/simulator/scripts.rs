//! Scripts that are replaced, broken or missing; copies and threads that share nothing they
//! should not.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use nvml_wrapper::enum_wrappers::device::TemperatureSensor;

use crate::{Rig, load, one, refused, until};

#[test]
fn a_new_script_is_read_at_once() {
    let rig = Rig::new(&one("h200", "temperature = 40"));
    let gpu = rig.gpu();
    assert_eq!(gpu.temperature(TemperatureSensor::Gpu).unwrap(), 40);
    for celsius in 41..60 {
        rig.rewrite(&one("h200", &format!("temperature = {celsius}")));
        until("it is read", || {
            gpu.temperature(TemperatureSensor::Gpu).unwrap() == celsius
        });
    }
}

#[test]
fn a_broken_script_changes_nothing() {
    let rig = Rig::new(&one("h200", "temperature = 40"));
    let gpu = rig.gpu();
    for broken in [
        "[[gpus",
        "[[gpus]]\nmodel = \"h201\"\n",
        &one("h200", "temprature = 41"),
        &one("h200", "temperature = \"warm\""),
        &(one("h200", "temperature = 41") + "[gpus.errors]\nnvmlNothing = \"UNKNOWN\"\n"),
        &(one("h200", "temperature = 41") + "[gpus.errors]\nnvmlDeviceGetName = \"BAD\"\n"),
        &(one("h200", "temperature = 41") + "[[hangs]]\ncall = \"nothing\"\nseconds = 1\n"),
    ] {
        rig.rewrite(broken);
        // Long enough that the broken one was looked at.
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(20) {
            assert_eq!(
                gpu.temperature(TemperatureSensor::Gpu).unwrap(),
                40,
                "{broken}"
            );
        }
    }
    rig.rewrite(&one("h200", "temperature = 42"));
    until("it is read", || {
        gpu.temperature(TemperatureSensor::Gpu).unwrap() == 42
    });
}

#[test]
fn without_a_script_there_is_no_start() {
    let folder = tempfile::tempdir().unwrap();
    let library = nvml_sim::install(folder.path(), "nonsense");
    refused!(load(&library), Unknown);
    fs::remove_file(folder.path().join("libnvidia-ml.so.1.toml")).unwrap();
    refused!(load(&library), Unknown);
    nvml_sim::rewrite(&library, &one("l4", ""));
    assert_eq!(load(&library).unwrap().device_count().unwrap(), 1);
}

#[test]
fn users_are_counted() {
    let rig = Rig::new(&one("l4", ""));
    let second = load(&rig.library).unwrap();
    let gpu = rig.gpu();
    drop(second);
    assert!(gpu.name().is_ok());
    // SAFETY: no arguments.
    unsafe {
        assert_eq!(rig.nvml.lib().nvmlShutdown(), 0);
        refused!(gpu.name(), Uninitialized);
        assert_eq!(rig.nvml.lib().nvmlShutdown(), 1);
        assert_eq!(rig.nvml.lib().nvmlInit_v2(), 0);
    }
    assert!(gpu.name().is_ok());
}

#[test]
fn copies_are_independent() {
    let (first, second) = (Rig::new(&one("h200", "")), Rig::new(&one("l4", "")));
    assert_eq!(first.gpu().name().unwrap(), "NVIDIA H200");
    assert_eq!(second.gpu().name().unwrap(), "NVIDIA L4");
    first.rewrite("driver_loaded = false\n");
    until("the first is gone", || first.nvml.device_count().is_err());
    assert_eq!(second.nvml.device_count().unwrap(), 1);
}

#[test]
fn many_threads_may_ask_while_the_script_changes() {
    let script = |celsius: u32| one("h200", &format!("temperature = {celsius}")).repeat(8);
    let rig = Rig::new(&script(0));
    let nvml = &rig.nvml;
    thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                let gpu = nvml.device_by_index(thread).unwrap();
                let mut last = 0;
                while last < 20 {
                    let celsius = gpu.temperature(TemperatureSensor::Gpu).unwrap();
                    assert!(celsius >= last, "{celsius} after {last}");
                    last = celsius;
                    assert_eq!(gpu.memory_info().unwrap().total, 150_754_820_096);
                }
            });
        }
        for celsius in 1..=20 {
            rig.rewrite(&script(celsius));
            until("it is read", || {
                rig.gpu().temperature(TemperatureSensor::Gpu).unwrap() == celsius
            });
        }
    });
}
