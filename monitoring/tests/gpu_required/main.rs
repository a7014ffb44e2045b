//! The monitor on this machine's real GPUs, against `nvidia-smi` at the same moment.
//!
//! Needs a GPU, its driver and `nvidia-smi`; without one of them every test fails and says so.
//! What `nvidia-smi` does not know of a device must be absent, and the other way round.

mod columns;

use std::{collections::BTreeMap, process::Command, thread, time::Duration};

use columns::{CHANGING, Column, STEADY, throttled_microseconds};
use monitoring::gpu::GpuMonitor;

/// What `nvidia-smi` says in some columns, for each GPU. A column that it does not know is absent.
fn ask(columns: &[&'static str]) -> Vec<BTreeMap<&'static str, String>> {
    let run = |columns: &[&str]| {
        let query = format!("--query-gpu={}", columns.join(","));
        let mut command = Command::new("nvidia-smi");
        let output = command
            .args([&query, "--format=csv,noheader,nounits"])
            .output();
        output.expect("run nvidia-smi, which comes with NVIDIA's driver")
    };
    let known: Vec<_> = columns
        .iter()
        .copied()
        .filter(|column| run(&[column]).status.success())
        .collect();
    let output = run(&known);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "nvidia-smi: {text}");
    let row = |line: &str| {
        let cells = line.split(", ").map(|cell| cell.trim().to_owned());
        known.iter().copied().zip(cells).collect()
    };
    text.lines().map(row).collect()
}

fn monitor() -> GpuMonitor {
    GpuMonitor::new().expect("this suite needs a GPU and NVIDIA's driver")
}

/// A number of `nvidia-smi`, or nothing where it says that there is none.
fn number(cell: &str) -> Option<f64> {
    cell.parse().ok()
}

fn compare(columns: &[Column]) {
    let monitor = monitor();
    let names: Vec<_> = columns.iter().map(|(name, ..)| *name).collect();
    let rows = ask(&names);
    let gpus = monitor.collect_all().unwrap();
    assert_eq!(rows.len(), gpus.len());
    let mut wrong = Vec::new();
    for (gpu, row) in gpus.values().zip(&rows) {
        for (name, read, share, beyond) in columns {
            let Some(cell) = row.get(name) else {
                println!("GPU {} {name}: unknown to this nvidia-smi", gpu.device_id);
                continue;
            };
            let (got, want) = (read(gpu), number(cell));
            println!("GPU {} {name}: {got:?}, nvidia-smi {cell}", gpu.device_id);
            let near = match (got, want) {
                (Some(got), Some(want)) => (got - want).abs() <= share * got.max(want) + beyond,
                (None, None) => true,
                _ => false,
            };
            if !near {
                wrong.push(format!(
                    "GPU {} {name}: {got:?}, nvidia-smi {cell}",
                    gpu.device_id
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn gpu_numbers_that_are_steady() {
    compare(&STEADY);
}

#[test]
fn gpu_numbers_that_change() {
    compare(&CHANGING);
}

#[test]
fn gpu_identities() {
    let columns = [
        "uuid",
        "name",
        "serial",
        "vbios_version",
        "pci.bus_id",
        "driver_version",
    ];
    let rows = ask(&columns);
    let gpus = monitor().collect_all().unwrap();
    assert_eq!(rows.len(), gpus.len());
    for (gpu, row) in gpus.values().zip(&rows) {
        let identity = &gpu.identity;
        println!("{identity:?}");
        assert_eq!(identity.uuid, row["uuid"]);
        assert_eq!(identity.name, row["name"]);
        assert_eq!(identity.vbios, row["vbios_version"]);
        assert_eq!(identity.pci_bus_id, row["pci.bus_id"]);
        assert_eq!(identity.driver_version, row["driver_version"]);
        if row["serial"].starts_with('[') {
            assert_eq!(identity.serial, "");
        } else {
            assert_eq!(identity.serial, row["serial"]);
        }
    }
}

#[test]
fn gpu_counters_lie_between_two_readings() {
    let counters: [Column; 3] = [
        (
            "clocks_event_reasons_counters.sw_power_cap",
            |gpu| throttled_microseconds(gpu, "sw_power_cap"),
            0.0,
            1.0,
        ),
        (
            "clocks_event_reasons_counters.sw_thermal_slowdown",
            |gpu| throttled_microseconds(gpu, "sw_thermal_slowdown"),
            0.0,
            1.0,
        ),
        (
            "clocks_event_reasons_counters.hw_thermal_slowdown",
            |gpu| throttled_microseconds(gpu, "hw_thermal_slowdown"),
            0.0,
            1.0,
        ),
    ];
    let names = counters.map(|(name, ..)| name);
    let monitor = monitor();
    let before = ask(&names);
    let gpus = monitor.collect_all().unwrap();
    let after = ask(&names);
    for ((gpu, before), after) in gpus.values().zip(&before).zip(&after) {
        for (name, read, _, beyond) in counters {
            let (Some(before), Some(after)) = (before.get(name), after.get(name)) else {
                println!("GPU {} {name}: unknown to this nvidia-smi", gpu.device_id);
                continue;
            };
            let got = read(gpu);
            println!(
                "GPU {} {name}: {before} <= {got:?} <= {after}",
                gpu.device_id
            );
            match (number(before), got, number(after)) {
                (Some(before), Some(got), Some(after)) => {
                    assert!(before - beyond <= got && got <= after + beyond);
                }
                (None, None, None) => {}
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}

#[test]
fn gpu_energy_is_power_over_time() {
    let monitor = monitor();
    let first = monitor.collect_all().unwrap();
    // The time to measure over: the driver counts in steps of up to 100 ms.
    let time = Duration::from_secs(2);
    wait(time);
    let second = monitor.collect_all().unwrap();
    for (id, before) in &first {
        let after = &second[id];
        let (Some(used), Some(watts)) = (
            after
                .energy_joules
                .zip(before.energy_joules)
                .map(|(after, before)| after - before),
            after.power_watts,
        ) else {
            println!("GPU {id}: no energy or no power");
            continue;
        };
        let mean = used / time.as_secs_f64();
        println!("GPU {id}: {mean} W by its energy, {watts} W now");
        assert!(mean > watts * 0.5 && mean < watts * 2.0);
    }
}

#[test]
fn gpu_processes() {
    let mut command = Command::new("nvidia-smi");
    let query = [
        "--query-compute-apps=pid,gpu_uuid",
        "--format=csv,noheader,nounits",
    ];
    let output = command.args(query).output().expect("run nvidia-smi");
    let listed = String::from_utf8_lossy(&output.stdout).lines().count();
    let gpus = monitor().collect_all().unwrap();
    let found: usize = gpus.values().map(|gpu| gpu.processes.len()).sum();
    println!("{found} processes, nvidia-smi lists {listed} that compute");
    assert!(found >= listed, "those that draw are among ours, too");
}

#[test]
fn gpu_all_that_is_read() {
    let monitor = monitor();
    let first = monitor.collect_all().unwrap();
    // Far enough apart for what is measured between two readings.
    wait(Duration::from_millis(200));
    let metrics = monitor.collect_all().unwrap();
    println!("{metrics:#?}");
    assert_eq!(first.len(), metrics.len());
    assert!(!metrics.is_empty(), "this suite needs a GPU");
    let gpu_0 = monitor.device(0).unwrap();
    println!(
        "Memory: {}/{} MB",
        gpu_0.memory_used_mb(),
        gpu_0.memory_total_mb()
    );
    assert!(gpu_0.memory_total_mb().get().is_some());
}

fn wait(time: Duration) {
    thread::sleep(time);
}
