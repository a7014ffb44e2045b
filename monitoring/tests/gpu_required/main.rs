//! The monitor on this machine's real GPUs, against `nvidia-smi` at the same moment.
//!
//! Needs a GPU, its driver and `nvidia-smi`; without one of them every test fails and says so.
//! What `nvidia-smi` does not know of a device must be absent, and the other way round.

mod columns;

use std::{
    collections::BTreeMap,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use columns::{CHANGING, Column, REMAPPED_ROWS, STEADY, count, number, throttled_microseconds};
use monitoring::gpu::{Activity, GpuMetrics, GpuMonitor};

/// Far longer than anything takes that works.
const PATIENCE: Duration = Duration::from_mins(1);

/// What `nvidia-smi` prints, unless it refuses.
fn nvidia_smi(arguments: &[&str]) -> Option<String> {
    let output = Command::new("nvidia-smi").args(arguments).output();
    let output = output.expect("run nvidia-smi, which comes with NVIDIA's driver");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

/// The cells of a table, row by row.
fn table(query: &str, columns: &[&str]) -> Option<Vec<Vec<String>>> {
    let query = format!("--query-{query}={}", columns.join(","));
    let text = nvidia_smi(&[&query, "--format=csv,noheader,nounits"])?;
    let cells = |line: &str| {
        line.split(", ")
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    Some(text.lines().map(cells).collect())
}

/// Those columns that this `nvidia-smi` knows.
fn known(columns: &[&'static str]) -> Vec<&'static str> {
    let known = columns.iter().copied();
    known
        .filter(|column| table("gpu", &[column]).is_some())
        .collect()
}

/// What `nvidia-smi` says in some columns that it knows, for each GPU.
fn ask(columns: &[&'static str]) -> Vec<BTreeMap<&'static str, String>> {
    // Where it knows none of them, there are as many rows all the same.
    let columns = [&["index"], columns].concat();
    let rows = table("gpu", &columns).expect("nvidia-smi knows these columns");
    let row = |cells: Vec<String>| columns.iter().copied().zip(cells).collect();
    rows.into_iter().map(row).collect()
}

fn monitor() -> GpuMonitor {
    GpuMonitor::new().expect("this suite needs a GPU and NVIDIA's driver")
}

/// Compares with what `nvidia-smi` said before or after.
fn compare(columns: &[Column]) {
    let monitor = monitor();
    let names: Vec<_> = columns.iter().map(|(name, ..)| *name).collect();
    let names = known(&names);
    let before = ask(&names);
    let gpus = monitor.collect_all().unwrap();
    let after = ask(&names);
    assert_eq!((before.len(), after.len()), (gpus.len(), gpus.len()));
    let mut wrong = Vec::new();
    for ((gpu, before), after) in gpus.values().zip(&before).zip(&after) {
        for (name, read, share, beyond) in columns {
            let (Some(before), Some(after)) = (before.get(name), after.get(name)) else {
                println!("GPU {} {name}: unknown to this nvidia-smi", gpu.device_id);
                continue;
            };
            let got = read(gpu);
            let near = |cell: &String| match (got, number(cell)) {
                (Some(got), Some(want)) => (got - want).abs() <= share * got.max(want) + beyond,
                (None, None) => true,
                _ => false,
            };
            let said = format!(
                "GPU {} {name}: {got:?}, nvidia-smi {before}, then {after}",
                gpu.device_id
            );
            println!("{said}");
            if !near(before) && !near(after) {
                wrong.push(said);
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
    let names = known(&counters.map(|(name, ..)| name));
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
fn gpu_remapped_rows() {
    let mut columns = vec!["gpu_uuid"];
    columns.extend(REMAPPED_ROWS.map(|(column, _)| column));
    // It knows no such table where no GPU remaps rows.
    let rows = table("remapped-rows", &columns).unwrap_or_default();
    for gpu in monitor().collect_all().unwrap().values() {
        let row = rows.iter().find(|row| row[0] == gpu.identity.uuid);
        for (at, (column, name)) in (1..).zip(REMAPPED_ROWS) {
            let got = count(&gpu.remapped_rows, name);
            let cell = row.map(|row| row[at].as_str());
            println!(
                "GPU {} {column}: {got:?}, nvidia-smi {cell:?}",
                gpu.device_id
            );
            assert_eq!(got, cell.and_then(number), "{column}");
        }
    }
}

#[test]
fn gpu_energy_is_power_over_time() {
    const LONG: f64 = 2.0;
    let monitor = monitor();
    let first = (Instant::now(), monitor.collect_all().unwrap());
    let mut powers: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    // The driver counts in steps of up to 100 ms, which are little of so long a time.
    let (time, last) = poll_until("a time to measure power over", || {
        let now = (Instant::now(), monitor.collect_all().unwrap());
        for (id, gpu) in &now.1 {
            powers.entry(*id).or_default().extend(gpu.power_watts);
        }
        let time = now.0.duration_since(first.0).as_secs_f64();
        (time >= LONG).then_some((time, now.1))
    });
    for (id, before) in &first.1 {
        let energies = last[id].energy_joules.zip(before.energy_joules);
        let powers = &powers[id];
        let Some((after, before)) = energies.filter(|_| !powers.is_empty()) else {
            println!("GPU {id}: no energy or no power");
            continue;
        };
        let by_energy = (after - before) / time;
        let by_power = powers.iter().sum::<f64>() / powers.len() as f64;
        println!("GPU {id}: {by_energy} W by its energy, {by_power} W by its power");
        assert!(by_energy > by_power * 0.7 && by_energy < by_power * 1.3);
    }
}

/// By UUID of the GPU and id: the MiB that processes which compute hold, where they are told.
type Processes = BTreeMap<(String, u32), Option<f64>>;

fn computing() -> Processes {
    let rows = table("compute-apps", &["gpu_uuid", "pid", "used_memory"]);
    let mut processes = Processes::new();
    for row in rows.expect("nvidia-smi lists processes") {
        let [uuid, pid, memory] = &row[..] else {
            panic!("{row:?} is no process");
        };
        let sum = processes
            .entry((uuid.clone(), pid.parse().unwrap()))
            .or_insert(Some(0.0));
        *sum = sum.zip(number(memory)).map(|(sum, memory)| sum + memory);
    }
    processes
}

/// All processes that `nvidia-smi` lists, by the GPU's PCI address and id.
fn listed() -> Vec<(String, u32)> {
    let text = nvidia_smi(&["-q", "-d", "PIDS"]).expect("nvidia-smi lists processes");
    let mut gpu = String::new();
    let mut listed = Vec::new();
    for line in text.lines() {
        if let Some(address) = line.strip_prefix("GPU ") {
            address.trim().clone_into(&mut gpu);
        } else if let Some(pid) = line.trim().strip_prefix("Process ID") {
            let pid = pid.trim().trim_start_matches(':').trim();
            listed.push((gpu.clone(), pid.parse().unwrap()));
        }
    }
    listed
}

#[test]
fn gpu_processes() {
    let monitor = monitor();
    let (listed_before, before) = (listed(), computing());
    let gpus = monitor.collect_all().unwrap();
    let (after, listed_after) = (computing(), listed());
    let mut ours = Processes::new();
    for gpu in gpus.values() {
        for process in &gpu.processes {
            let place = (gpu.identity.pci_bus_id.clone(), process.pid);
            let is_listed = listed_before.contains(&place) || listed_after.contains(&place);
            assert!(is_listed, "nvidia-smi does not list {process:?}");
            let key = (gpu.identity.uuid.clone(), process.pid);
            let sum = ours.entry(key).or_insert(Some(0.0));
            let mebibytes = process.memory_bytes.map(|bytes| bytes as f64 / 1_048_576.0);
            *sum = sum.zip(mebibytes).map(|(sum, memory)| sum + memory);
        }
    }
    println!("{ours:?}, nvidia-smi {before:?}, then {after:?}");
    for (process, before) in &before {
        // It may have ended, or have allocated, meanwhile.
        let Some(after) = after.get(process) else {
            continue;
        };
        let got = ours.get(process).expect("each that computes is among ours");
        let near = |want: Option<f64>| match (*got, want) {
            (Some(got), Some(want)) => (got - want).abs() <= 1.0,
            (got, want) => got == want,
        };
        assert!(near(*before) || near(*after), "{process:?} has {got:?}");
    }
}

/// Whether it has been measured between two samples, if the GPU can do so.
fn is_sampled(gpu: &GpuMetrics) -> bool {
    let cannot = gpu.unsupported.contains(&"nvmlGpmQueryDeviceSupport");
    cannot || gpu.activity != Activity::default()
}

#[test]
fn gpu_activity() {
    const BUSY: f64 = 50.0;
    let monitor = monitor();
    let is_busy = |gpu: &GpuMetrics| gpu.utilization.get().is_some_and(|it| it >= BUSY);
    let first = monitor.collect_all().unwrap();
    let gpus = poll_until("samples of all GPUs", || {
        let gpus = monitor.collect_all().unwrap();
        gpus.values().all(is_sampled).then_some(gpus)
    });
    for (id, gpu) in &gpus {
        let graphics = gpu.activity.graphics_ratio;
        println!("GPU {id}: {} % busy, {graphics:?}", gpu.utilization);
        assert!(graphics.is_none_or(|ratio| (0.0..=1.0).contains(&ratio)));
        if gpu.activity != Activity::default() && is_busy(gpu) && is_busy(&first[id]) {
            assert!(graphics > Some(0.0), "a busy GPU is active");
        }
    }
}

#[test]
fn gpu_all_that_is_read() {
    let monitor = monitor();
    let first = monitor.collect_all().unwrap();
    let metrics = poll_until("samples of all GPUs", || {
        let gpus = monitor.collect_all().unwrap();
        gpus.values().all(is_sampled).then_some(gpus)
    });
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

/// Polls until `done` returns something.
fn poll_until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
