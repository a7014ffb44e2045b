//! From readings to the text that is scraped: exact, absent where the GPU tells nothing, and
//! harmless whatever a device calls itself.

mod journal;
mod presence;
mod readings;
mod xids;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use monitoring::gpu::{
    Activity, GpuIdentity, GpuMetrics, GpuProcess, Memory, MigIdentity, MigInstance, Named, Poll,
};
use prometheus::TextEncoder;

use super::*;

/// The samples of a poll, without comments.
fn samples(poll: &Poll, agent_of: impl Fn(u32) -> Option<String>) -> String {
    let text = TextEncoder::new().encode_to_string(&families(poll, &Journal::default(), agent_of));
    let text = text.unwrap();
    let lines = text.split_inclusive('\n');
    lines.filter(|line| !line.starts_with('#')).collect()
}

fn poll(devices: impl IntoIterator<Item = GpuMetrics>) -> Poll {
    let devices = devices.into_iter().map(|gpu| (gpu.device_id, gpu));
    Poll {
        at: Instant::now(),
        devices: devices.collect(),
        lost: BTreeMap::new(),
        xid_errors: BTreeMap::new(),
        number: 1,
        sessions: 1,
    }
}

/// A GPU that tells nothing but its number and UUID.
fn silent(device_id: u32, uuid: &str) -> GpuMetrics {
    GpuMetrics {
        device_id,
        identity: Arc::new(GpuIdentity {
            uuid: uuid.to_owned(),
            ..GpuIdentity::default()
        }),
        ..GpuMetrics::default()
    }
}

fn process(pid: u32, mig: Option<(u32, u32)>, memory_bytes: Option<u64>) -> GpuProcess {
    GpuProcess {
        pid,
        mig: mig.map(|(gpu, compute)| (gpu, Some(compute))),
        memory_bytes,
        sm_utilization_ratio: None,
    }
}

/// Even process ids are the trainer's.
fn trainer(pid: u32) -> Option<String> {
    pid.is_multiple_of(2).then(|| "trainer".to_owned())
}

#[test]
fn what_a_gpu_does_not_tell_is_absent() {
    let want = "gpu_info{cuda_version=\"\",device_id=\"3\",driver_version=\"\",name=\"\",\
                pci_bus_id=\"\",serial=\"\",uuid=\"GPU-1\",vbios=\"\"} 1\n";
    assert_eq!(samples(&poll([silent(3, "GPU-1")]), trainer), want);
    let nan = GpuMetrics {
        power_watts: Some(f64::NAN),
        energy_joules: Some(f64::INFINITY),
        utilization: f64::NAN.into(),
        clocks_hertz: vec![Named {
            name: "sm",
            value: f64::NEG_INFINITY,
        }],
        ..silent(3, "GPU-1")
    };
    assert_eq!(samples(&poll([nan]), trainer), want);
}

#[test]
fn names_of_devices_are_harmless() {
    let check = |given: &str, want: &str| {
        let mut gpu = silent(0, given);
        Arc::make_mut(&mut gpu.identity).name = given.to_owned();
        let identity = Arc::new(MigIdentity {
            uuid: given.to_owned(),
            name: given.to_owned(),
            ..MigIdentity::default()
        });
        gpu.mig.push(MigInstance {
            identity,
            ..MigInstance::default()
        });
        let text = samples(&poll([gpu]), trainer);
        let mut found = 0;
        for label in ["uuid", "name", "mig_uuid"] {
            found += text.matches(&format!("{label}=\"{want}\"")).count();
        }
        // `uuid` is found within `mig_uuid` as well.
        assert_eq!(found, 6, "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    };
    check("NVIDIA H200", "NVIDIA H200");
    check("a \"b\"", r#"a \"b\""#);
    check("a\nb\x1b[31m\0", r"a\\nb\\u{1b}[31m\\0");
    check("a\\b", r"a\\\\b");
    check("\u{fffd}\u{202e}", "\u{fffd}\\\\u{202e}");
    check(
        &"é".repeat(200),
        &format!("{}…", "é".repeat(TEXT_LENGTH - 1)),
    );
}

#[test]
fn processes_are_summed_by_agent_and_counted_once() {
    let check = |processes: &[GpuProcess], want: &[(&str, &str, f64)]| {
        let gpu = GpuMetrics {
            processes: processes.to_vec(),
            ..silent(0, "u")
        };
        let text = samples(&poll([gpu]), trainer);
        let found: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("gpu_process_"))
            .collect();
        let want: Vec<_> = want
            .iter()
            .map(|(metric, agent, value)| {
                format!(
                    "gpu_process_{metric}{{agent=\"{agent}\",device_id=\"0\",uuid=\"u\"}} {value}"
                )
            })
            .collect();
        assert_eq!(found, want);
    };
    let memory = "memory_bytes";
    check(&[], &[]);
    check(&[process(1, None, None)], &[]);
    check(
        &[
            process(1, None, Some(1)),
            process(2, None, Some(10)),
            process(3, None, None),
            process(4, None, Some(100)),
        ],
        &[(memory, "other", 1.0), (memory, "trainer", 110.0)],
    );
    // Two instances of one GPU are two parts of it; the GPU's own word is for both together.
    check(
        &[
            process(2, None, Some(7)),
            process(2, Some((1, 0)), Some(10)),
            process(2, Some((2, 0)), Some(20)),
            process(4, None, Some(100)),
            process(4, Some((2, 0)), None),
        ],
        &[(memory, "trainer", 130.0)],
    );
    let busy = |pid, ratio| GpuProcess {
        sm_utilization_ratio: Some(ratio),
        ..process(pid, None, None)
    };
    check(
        &[busy(2, 0.25), busy(4, 0.5), busy(5, 0.125)],
        &[
            ("sm_utilization_ratio", "other", 0.125),
            ("sm_utilization_ratio", "trainer", 0.75),
        ],
    );
    check(
        &[
            process(2, None, Some(u64::MAX)),
            process(4, None, Some(u64::MAX)),
        ],
        &[(memory, "trainer", 18_446_744_073_709_552_000.0)],
    );
}

/// A source whose monitor has nothing to read.
fn idle() -> Gpu {
    let monitor = GpuMonitor::builder().library("/nonexistent").poll();
    Gpu::new(
        monitor.unwrap(),
        Arc::new(Labels::new(&[])),
        Arc::default(),
        true,
    )
}

#[test]
fn a_batch_says_how_old_it_is_and_when_there_is_nothing() {
    let mut past = poll([silent(0, "u")]);
    past.at = Instant::now().checked_sub(Duration::from_secs(9)).unwrap();
    let delivered = idle().delivered(&past);
    assert!(
        delivered.age >= Duration::from_secs(9),
        "{:?}",
        delivered.age
    );
    assert!(delivered.off.is_none() && delivered.missing.is_empty());
    let empty = idle().delivered(&poll([]));
    assert_eq!(empty.off.unwrap().why, NO_DEVICES);
    assert_eq!(idle().off("a\nb").off.unwrap().why, r"a\nb");
}

#[test]
fn a_missing_library_is_usual_unless_it_is_named() {
    let check = |is_named, words: &str| {
        let mut source = Gpu { is_named, ..idle() };
        let off = source.without_library("cannot open x").off.unwrap();
        assert_eq!(off.is_usual, !is_named);
        let want = format!("no NVIDIA management library: cannot open x; {words}");
        assert_eq!(off.why, want);
    };
    check(true, "sources.gpu.nvml_library names this file");
    let advice = "install NVIDIA's driver, or name the library's file in sources.gpu.nvml_library";
    check(false, advice);
}

#[test]
fn lost_gpus_are_a_metric_of_their_own() {
    let check = |source: &mut Gpu, poll: &Poll, number, want: &[&str], missing: &[&str]| {
        let number = |poll: &Poll| Poll {
            number,
            ..poll.clone()
        };
        let batch = source.delivered(&number(poll));
        assert!(batch.off.is_none());
        let text = TextEncoder::new().encode_to_string(&batch.families);
        let text = text.unwrap();
        let lines = text.lines().filter(|line| line.starts_with("gpu_lost{"));
        assert_eq!(lines.collect::<Vec<_>>(), want);
        assert_eq!(batch.missing, missing);
    };
    let lost = |mut poll: Poll, device_id| {
        let error = GpuError::Nvml("gone".to_owned());
        poll.lost.insert(device_id, error);
        poll
    };
    let a = |value| format!("gpu_lost{{device_id=\"0\",uuid=\"A\"}} {value}");
    let b = "gpu_lost{device_id=\"1\",uuid=\"\"} 1";
    let mut source = idle();
    let source = &mut source;
    let second = "GPU 1  lost: NVML: gone";
    let one = lost(poll([silent(0, "A")]), 1);
    check(source, &one, 1, &[&a(0), b], &[second]);
    // The only one that has answered is not listed any more: it is still a node with a GPU.
    let first = "GPU 0 A lost: NVML does not list it any more";
    check(source, &poll([]), 2, &[&a(1), b], &[first, second]);
    check(source, &one, 3, &[&a(0), b], &[second]);
}
