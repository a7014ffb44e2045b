//! Source `block`: durations, bytes and errors of requests to disks, as the kernel programs summed
//! them up. Knows no device but by its name.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use aya::{include_bytes_aligned, maps::MapData};
use monitoring_common::block::{DISK_NAME_BYTES, InFlight, RequestKey, Requests, lost};
use prometheus::proto::MetricFamily;

use super::StartContext;
use crate::{
    disk_operations::{self, Operations},
    families::Family as Metrics,
    kernel_state::{self, Losses},
    labels::Labels,
    loader::{self, Attach, Family, Loaded},
    offsets::{ABSENT, Offsets},
    per_cpu::PerCpuReader,
    source::{Batch, Source, StartError},
    tracing_globals,
};

/// Ends are told first: a request that began before counting did is one without a beginning.
const ENDS: [Attach; 3] = [
    Attach::BtfTracepoint("block_rq_complete", "block_rq_complete"),
    Attach::BtfTracepoint("block_rq_merge", "block_rq_merge"),
    Attach::BtfTracepoint("block_rq_issue", "block_rq_issue"),
];

/// Tells the submission of every request, since 6.5.
const SUBMISSION: &str = "block_io_start";

/// Before that, these two tell the submission of requests that are not issued at once.
const INSERTION: [Attach; 2] = [
    Attach::BtfTracepoint("block_rq_insert", "block_rq_insert"),
    Attach::BtfTracepoint("block_getrq", "block_getrq"),
];

const DURATION_HELP: &str = "Time from the last issue of a request to the device's driver to its \
                             completion, failed requests included. Devices on top of others (dm, \
                             md, loop) count the same data once more.";
const QUEUE_HELP: &str = "Time from the submission of a request to its last issue to the \
                          device's driver.";
const BYTES_HELP: &str = "Bytes that requests have read, written, discarded or zeroed, by the \
                          agent of the process that submitted the request. What the kernel writes \
                          back later, and what was submitted before the agent started, counts as \
                          other.";
const ERRORS_HELP: &str = "Requests that failed, in whole or in part.";

struct Block {
    loaded: Loaded,
    losses: Losses,
    labels: Arc<Labels>,
    operations: Operations,
    in_flight: MapData,
    requests: MapData,
    bytes: MapData,
    in_flight_reader: PerCpuReader<u64, InFlight>,
    request_reader: PerCpuReader<RequestKey, Requests>,
    byte_reader: PerCpuReader<RequestKey, u64>,
}

/// Loads the family.
///
/// # Errors
///
/// See [`StartError`].
pub fn start(context: &mut StartContext<'_>) -> Result<Box<dyn Source>, StartError> {
    let operations = Operations::of_kernel(context.offsets);
    let operations = operations.context("find the operations of requests in this kernel")?;
    let submission_is_told = is_there(context.offsets, SUBMISSION)?;
    let mut globals = fields(context.offsets)?;
    globals.push(("FLUSH", vec![operations.flush().unwrap_or(ABSENT)]));
    globals.push((
        "FLUSHING",
        vec![disk_operations::flushing(context.offsets)?],
    ));
    globals.push(("SUBMISSION_IS_TOLD", vec![submission_is_told.into()]));
    let mut programs = ENDS.to_vec();
    if submission_is_told {
        programs.push(Attach::BtfTracepoint(SUBMISSION, SUBMISSION));
    } else {
        programs.extend(INSERTION);
    }
    let family = Family {
        name: "block",
        object: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/block")),
        globals,
        map_sizes: Vec::new(),
        programs: &programs,
        tracing: tracing_globals::globals(context)?,
        debug: context.config.ebpf_debug,
    };
    let mut loaded = loader::load(&family, context.shared, context.offsets)?;
    context.labels.adopt(context.shared)?;
    Ok(Box::new(Block {
        losses: Losses::new(&mut loaded, &lost::REASONS)?,
        labels: Arc::clone(context.labels),
        operations,
        in_flight: loaded.take_map("IN_FLIGHT")?,
        requests: loaded.take_map("REQUESTS")?,
        bytes: loaded.take_map("BYTES")?,
        in_flight_reader: PerCpuReader::of_one_value(),
        request_reader: PerCpuReader::new()?,
        byte_reader: PerCpuReader::new()?,
        loaded,
    }))
}

/// Whether this kernel has a tracepoint.
fn is_there(offsets: &mut Offsets, tracepoint: &str) -> Result<bool, StartError> {
    let arguments = offsets.tracepoint_arguments(tracepoint);
    let arguments =
        arguments.with_context(|| format!("find the tracepoint {tracepoint} in this kernel"))?;
    Ok(arguments.is_some())
}

/// Where the fields are that the programs read, all of which they need.
fn fields(offsets: &mut Offsets) -> Result<Vec<(&'static str, Vec<u32>)>, StartError> {
    let fields = [
        ("LENGTH_OFFSET", "request", "__data_len"),
        ("FLAGS_OFFSET", "request", "cmd_flags"),
        ("START_OFFSET", "request", "start_time_ns"),
        ("QUEUE_OFFSET", "request", "q"),
        ("BIO_OFFSET", "request", "bio"),
        ("BIO_FLAGS_OFFSET", "bio", "bi_opf"),
        ("DISK_OFFSET", "request_queue", "disk"),
        ("NAME_OFFSET", "gendisk", "disk_name"),
    ];
    let sector = loader::field(offsets, "request", "__sector")?;
    let mut globals = vec![("SECTOR_OFFSET", vec![sector])];
    for (global, structure, path) in fields {
        let offset = loader::field(offsets, structure, path)?;
        if offset == ABSENT {
            let why = format!("this kernel's BTF has no {structure}.{path}");
            return Err(StartError::Unsupported(why));
        }
        globals.push((global, vec![offset]));
    }
    Ok(globals)
}

impl Source for Block {
    fn collect(&mut self) -> anyhow::Result<Batch> {
        let (mut families, requests) = self.collect_requests()?;
        let (bytes_family, bytes) = self.collect_bytes()?;
        families.push(bytes_family);
        let mut in_flight = 0;
        let count = |_, _: &[InFlight]| in_flight += 1;
        self.in_flight_reader.for_each(self.in_flight.fd(), count)?;
        let (programs, recursions) = kernel_state::programs(&self.loaded);
        let mut lost = self.losses.read()?;
        lost.push(("recursion", recursions));
        let maps = vec![
            kernel_state::map("IN_FLIGHT", self.in_flight.fd(), Some(in_flight)),
            kernel_state::map("REQUESTS", self.requests.fd(), Some(requests)),
            kernel_state::map("BYTES", self.bytes.fd(), Some(bytes)),
        ];
        Ok(Batch {
            families,
            lost,
            programs,
            maps,
            ..Batch::default()
        })
    }
}

impl Block {
    /// Histograms and errors, and the number of entries in the map.
    fn collect_requests(&mut self) -> anyhow::Result<(Vec<MetricFamily>, u64)> {
        // By names, because several numbers of operations may have one.
        let mut all = BTreeMap::new();
        let mut entries = 0;
        let map = self.requests.fd();
        self.request_reader.for_each(map, |key, per_cpu| {
            entries += 1;
            let names = (disk_name(&key), self.operations.name(key.operation));
            let sum = all.entry(names).or_insert(Requests::EMPTY);
            for requests in per_cpu {
                sum.merge(requests);
            }
        })?;
        let mut durations = Metrics::histogram("block_io_duration_seconds", DURATION_HELP);
        let mut queues = Metrics::histogram("block_io_queue_seconds", QUEUE_HELP);
        let mut errors = Metrics::counter("block_io_errors_total", ERRORS_HELP);
        for ((disk, operation), requests) in &all {
            let labels = [("device", disk.as_str()), ("operation", *operation)];
            durations.push_durations(&labels, &requests.duration);
            if requests.queue.count() > 0 {
                queues.push_durations(&labels, &requests.queue);
            }
            errors.push(&labels, requests.errors as f64);
        }
        let families = vec![durations.build(), queues.build(), errors.build()];
        Ok((families, entries))
    }

    /// Bytes, and the number of entries in the map.
    fn collect_bytes(&mut self) -> anyhow::Result<(MetricFamily, u64)> {
        let mut all = BTreeMap::new();
        let mut entries = 0;
        self.byte_reader.for_each(self.bytes.fd(), |key, per_cpu| {
            entries += 1;
            let operation = self.operations.name(key.operation);
            let sum = all.entry((disk_name(&key), operation, key.agent));
            *sum.or_insert(0) += per_cpu.iter().sum::<u64>();
        })?;
        let names = self.labels.names();
        let mut bytes = Metrics::counter("block_io_bytes_total", BYTES_HELP);
        for ((disk, operation, agent), sum) in &all {
            let agent = usize::try_from(*agent).ok();
            let agent = agent.and_then(|agent| names.get(agent));
            // The kernel knows only numbers that `labels` gave out.
            let agent = agent.map_or("unknown", String::as_str);
            let labels = [
                ("agent", agent),
                ("device", disk.as_str()),
                ("operation", *operation),
            ];
            bytes.push(&labels, *sum as f64);
        }
        Ok((bytes.build(), entries))
    }
}

/// The disk's name as /proc/diskstats has it, which is in UTF-8 unless a driver is odd.
fn disk_name(key: &RequestKey) -> String {
    String::from_utf8_lossy(key.disk_name(&mut [0; DISK_NAME_BYTES])).into_owned()
}
