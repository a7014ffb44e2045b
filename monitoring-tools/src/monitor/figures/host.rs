//! The node itself: CPUs, memory, disks, network.

use super::{ROWS, name};
use crate::monitor::{
    change::Change,
    distribution::Quantile,
    snapshot::{Snapshot, Wanted},
};

/// The node's own numbers.
#[derive(Debug)]
pub(in crate::monitor) struct Host {
    /// As it is configured, or as it calls itself.
    pub(in crate::monitor) name: Option<String>,
    /// The type that it is configured with.
    pub(in crate::monitor) kind: Option<String>,
    /// The agent's version.
    pub(in crate::monitor) version: Option<String>,
    /// When the node was started, in seconds since 1970.
    pub(in crate::monitor) booted: Option<f64>,
    /// When the agent was started, in seconds since 1970.
    pub(in crate::monitor) started: Option<f64>,
    pub(in crate::monitor) cpus: Vec<Cpu>,
    /// All CPUs together, as a share of all.
    pub(in crate::monitor) cpu: Cpu,
    /// Averages over 1, 5 and 15 minutes.
    pub(in crate::monitor) loads: [Option<f64>; 3],
    /// Shares of the time in which some task waited for CPU, disks, memory.
    pub(in crate::monitor) pressures: [Option<f64>; 3],
    pub(in crate::monitor) memory: Memory,
    pub(in crate::monitor) disks: Vec<Disk>,
    pub(in crate::monitor) links: Vec<Link>,
}

/// What a CPU does, as shares of its time.
#[derive(Debug, Default)]
pub(in crate::monitor) struct Cpu {
    pub(in crate::monitor) name: String,
    /// Neither idle nor waiting for disks.
    pub(in crate::monitor) busy: Option<f64>,
    /// Of that, in the kernel: also interrupts.
    pub(in crate::monitor) system: Option<f64>,
    /// Taken by the hypervisor for others.
    pub(in crate::monitor) steal: Option<f64>,
    /// Idle while a disk works.
    pub(in crate::monitor) waiting: Option<f64>,
}

/// Bytes.
#[derive(Debug)]
pub(in crate::monitor) struct Memory {
    pub(in crate::monitor) total: Option<f64>,
    pub(in crate::monitor) available: Option<f64>,
    pub(in crate::monitor) cached: Option<f64>,
    pub(in crate::monitor) swap_total: Option<f64>,
    pub(in crate::monitor) swap_free: Option<f64>,
}

impl Memory {
    /// What programs cannot have any more.
    pub(in crate::monitor) fn used(&self) -> Option<f64> {
        Some((self.total? - self.available?).max(0.0))
    }

    pub(in crate::monitor) fn swap_used(&self) -> Option<f64> {
        Some((self.swap_total? - self.swap_free?).max(0.0))
    }
}

/// A disk, per second.
#[derive(Debug)]
pub(in crate::monitor) struct Disk {
    pub(in crate::monitor) name: String,
    pub(in crate::monitor) read_bytes: Option<f64>,
    pub(in crate::monitor) written_bytes: Option<f64>,
    pub(in crate::monitor) requests: Option<f64>,
    /// Share of the time in which it had something to do.
    pub(in crate::monitor) busy: Option<f64>,
    /// 99 % of its requests take no longer, in seconds.
    pub(in crate::monitor) p99: Option<Quantile>,
}

/// A network device, per second.
#[derive(Debug)]
pub(in crate::monitor) struct Link {
    pub(in crate::monitor) name: String,
    pub(in crate::monitor) received_bytes: Option<f64>,
    pub(in crate::monitor) sent_bytes: Option<f64>,
    pub(in crate::monitor) packets: Option<f64>,
    /// Errors and drops, both ways.
    pub(in crate::monitor) failed: Option<f64>,
}

impl Host {
    pub(super) fn of(change: &Change<'_>) -> Self {
        let new = change.new;
        let label = |family: &str, label: &str| {
            let value = new.metrics(family).first()?.label(label);
            (!value.is_empty()).then(|| name(value))
        };
        let pressure = |what: &str| {
            let family = format!("node_pressure_{what}_waiting_seconds_total");
            change.rate(&family, &[]).map(|share| share.min(1.0))
        };
        Self {
            name: label("node_info", "node").or_else(|| label("node_uname_info", "nodename")),
            kind: label("node_info", "type"),
            version: label("monitoring_agent_build_info", "version"),
            booted: new.value("node_boot_time_seconds", &[]),
            started: new.value("process_start_time_seconds", &[]),
            cpus: cpus(change),
            cpu: cpu(change, None),
            loads: ["node_load1", "node_load5", "node_load15"].map(|load| new.value(load, &[])),
            pressures: ["cpu", "io", "memory"].map(pressure),
            memory: memory(new),
            disks: disks(change),
            links: links(change),
        }
    }
}

const CPU_SECONDS: &str = "node_cpu_seconds_total";

/// Most CPUs that are shown one by one.
const CPUS: usize = 1024;

fn cpus(change: &Change<'_>) -> Vec<Cpu> {
    let names = change.new.values_of(CPU_SECONDS, "cpu");
    names
        .into_iter()
        .take(CPUS)
        .map(|name| cpu(change, Some(name)))
        .collect()
}

/// One CPU, or all together. Shares are of the time that the kernel accounted for, which is not
/// quite that between two snapshots.
fn cpu(change: &Change<'_>, number: Option<&str>) -> Cpu {
    let seconds = |mode: Option<&str>| {
        let number = number.map(|number| ("cpu", number));
        let mode = mode.map(|mode| ("mode", mode));
        let wanted: Vec<_> = number.into_iter().chain(mode).collect();
        change.increase(CPU_SECONDS, &wanted)
    };
    let all = seconds(None).filter(|all| *all > 0.0);
    let share = |seconds: Option<f64>| Some(seconds? / all?);
    let of = |mode| share(seconds(Some(mode)));
    let parts = [of("system"), of("irq"), of("softirq")];
    let (idle, waiting) = (of("idle"), of("iowait"));
    Cpu {
        name: number.map(name).unwrap_or_default(),
        busy: idle.map(|idle| (1.0 - idle - waiting.unwrap_or(0.0)).clamp(0.0, 1.0)),
        system: parts[0].map(|_| parts.iter().flatten().sum()),
        steal: of("steal"),
        waiting,
    }
}

fn memory(new: &Snapshot) -> Memory {
    let bytes = |what: &str| new.value(&format!("node_memory_{what}_bytes"), &[]);
    Memory {
        total: bytes("total"),
        available: bytes("available"),
        cached: bytes("cached"),
        swap_total: bytes("swap_total"),
        swap_free: bytes("swap_free"),
    }
}

fn disks(change: &Change<'_>) -> Vec<Disk> {
    let disk = |device: &str| {
        let wanted: Wanted<'_> = &[("device", device)];
        let rate = |what: &str| change.rate(&format!("node_disk_{what}_total"), wanted);
        let (reads, writes) = (rate("reads_completed"), rate("writes_completed"));
        let requests = change.distribution("block_io_duration_seconds", wanted);
        Disk {
            name: name(device),
            read_bytes: rate("read_bytes"),
            written_bytes: rate("written_bytes"),
            requests: reads.zip(writes).map(|(reads, writes)| reads + writes),
            busy: rate("io_time_seconds").map(|share| share.min(1.0)),
            p99: requests.and_then(|requests| requests.quantile(0.99)),
        }
    };
    let names = change.new.values_of("node_disk_read_bytes_total", "device");
    names.into_iter().take(ROWS).map(disk).collect()
}

fn links(change: &Change<'_>) -> Vec<Link> {
    let link = |device: &str| {
        let sum = |parts: &[&str]| {
            let rates = parts.iter().map(|part| {
                change.rate(&format!("node_network_{part}_total"), &[("device", device)])
            });
            rates.sum::<Option<f64>>()
        };
        Link {
            name: name(device),
            received_bytes: sum(&["receive_bytes"]),
            sent_bytes: sum(&["transmit_bytes"]),
            packets: sum(&["receive_packets", "transmit_packets"]),
            failed: sum(&[
                "receive_errs",
                "transmit_errs",
                "receive_drop",
                "transmit_drop",
            ]),
        }
    };
    let names = change
        .new
        .values_of("node_network_receive_bytes_total", "device");
    names.into_iter().take(ROWS).map(link).collect()
}
