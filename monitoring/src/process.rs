//! What the kernel says of this process: the metrics that all clients of Prometheus have.
//!
//! What cannot be read is absent. Knows nothing of the collector that shows it.

mod proc;

use ::prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType};

/// The metrics of this process, as they are now.
pub(crate) fn families() -> Vec<MetricFamily> {
    let memory = proc::memory();
    let threads_and_start = proc::threads_and_start();
    let readings = [
        (
            "process_cpu_seconds_total",
            "Time that this process has spent on CPUs, in user and kernel mode.",
            proc::cpu_seconds(),
        ),
        (
            "process_max_fds",
            "File descriptors that this process may have open.",
            proc::most_fds(),
        ),
        (
            "process_open_fds",
            "File descriptors that this process has open.",
            proc::open_fds(),
        ),
        (
            "process_resident_memory_bytes",
            "Memory of this process that is in RAM.",
            memory.map(|(_, resident)| resident),
        ),
        (
            "process_start_time_seconds",
            "When this process started, since the beginning of 1970.",
            threads_and_start.map(|(_, start)| start),
        ),
        (
            "process_threads",
            "Threads of this process.",
            threads_and_start.map(|(threads, _)| threads),
        ),
        (
            "process_virtual_memory_bytes",
            "Address space that this process uses.",
            memory.map(|(address_space, _)| address_space),
        ),
    ];
    let families = readings.into_iter();
    families
        .filter_map(|(name, help, value)| Some(family(name, help, value?)))
        .collect()
}

fn family(name: &str, help: &str, value: f64) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    let mut metric = Metric::default();
    if name.ends_with("_total") {
        family.set_field_type(MetricType::COUNTER);
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        family.set_field_type(MetricType::GAUGE);
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    family.set_metric(vec![metric]);
    family
}
