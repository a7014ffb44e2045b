//! Nanoseconds of an increment of the counter that has these values of two labels, with the search
//! for it among 64.

use std::{hint::black_box, sync::Arc};

use metrics_exporter_prometheus::PrometheusBuilder;
use monitoring::{MetricBuilder, MetricType, MetricsCollector};
use prometheus_client::encoding::EncodeLabelSet;

use crate::{
    Measurement,
    counters::sum_of,
    load::{Load, Subject},
    rounds::{Comparison, Expects},
};

const OPERATIONS: usize = 100_000;
const CHUNKS: u64 = 50;

const KERNELS: [&str; 8] = [
    "matrix_mul",
    "reduce",
    "scan",
    "sort",
    "transpose",
    "softmax",
    "layer_norm",
    "attention",
];
const DEVICES: [&str; 8] = ["0", "1", "2", "3", "4", "5", "6", "7"];

/// The labels' names.
const NAMES: [&str; 2] = ["kernel_type", "device_id"];

const COMPARISON: Comparison = Comparison {
    name: "labels",
    title: "ns per increment of a counter that is looked up by two labels among 64 series",
    subjects: &[
        Subject {
            name: "nothing: the loop and its labels alone",
            begin: nothing,
        },
        Subject {
            name: "monitoring: Family, by values",
            begin: library_family,
        },
        Subject {
            name: "monitoring: Metric, by names and values",
            begin: library_metric,
        },
        Subject {
            name: "prometheus: IntCounterVec",
            begin: prometheus,
        },
        Subject {
            name: "prometheus-client: Family",
            begin: prometheus_client,
        },
        Subject {
            name: "metrics: counter!",
            begin: metrics,
        },
    ],
    expects: Expects::Counted,
};

pub(crate) const MEASUREMENT: Measurement = Measurement {
    name: COMPARISON.name,
    measure: || COMPARISON.measure(),
    work: |words| COMPARISON.work(words),
};

/// An increment in something that all threads share, by the labels' values.
fn load<T: Send + Sync + 'static>(
    shared: T,
    increment: impl Fn(&T, &'static str, &'static str) + Send + Sync + 'static,
    sum: impl Fn(&T) -> u64 + 'static,
) -> Load {
    let shared = Arc::new(shared);
    let of_loop = Arc::clone(&shared);
    let increment = move |at| {
        let values = (KERNELS[at % 8], DEVICES[at / 8 % 8]);
        let (kernel, device) = black_box(values);
        increment(black_box(&of_loop), kernel, device);
    };
    Load::of_loop(OPERATIONS, CHUNKS, increment, move || sum(&shared))
}

fn nothing() -> Load {
    load((), |(), _, _| {}, |()| 0).recorded_by_nobody()
}

fn launches() -> MetricBuilder {
    let builder = MetricBuilder::new().name("launches_total").help("Launches");
    builder.label(NAMES[0]).label(NAMES[1])
}

fn library_family() -> Load {
    load(
        launches().build_counter(),
        |family, kernel, device| family.at(&[kernel, device]).inc(),
        |_| sum_of("launches_total", &MetricsCollector::new().encode()),
    )
}

fn library_metric() -> Load {
    load(
        launches().metric_type(MetricType::Counter).build(),
        |metric, kernel, device| {
            let labels = [(NAMES[0], kernel), (NAMES[1], device)];
            metric.with_labels(&labels).inc();
        },
        |_| sum_of("launches_total", &MetricsCollector::new().encode()),
    )
}

fn prometheus() -> Load {
    let options = prometheus::Opts::new("launches_total", "Launches");
    let family = prometheus::IntCounterVec::new(options, &NAMES).expect("valid names");
    load(
        family,
        |family, kernel, device| family.with_label_values(&[kernel, device]).inc(),
        |family| {
            let all = KERNELS
                .iter()
                .flat_map(|kernel| DEVICES.map(|device| [kernel, device]));
            all.map(|values| family.with_label_values(&values).get())
                .sum()
        },
    )
}

/// At their best: texts that nobody has to copy.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    kernel_type: &'static str,
    device_id: &'static str,
}

fn prometheus_client() -> Load {
    use prometheus_client::metrics::{counter::Counter, family::Family};
    load(
        Family::<Labels, Counter>::default(),
        |family, kernel_type, device_id| {
            let labels = Labels {
                kernel_type,
                device_id,
            };
            family.get_or_create(&labels).inc();
        },
        |family| {
            let all = KERNELS.iter().flat_map(|kernel_type| {
                DEVICES.map(|device_id| Labels {
                    kernel_type,
                    device_id,
                })
            });
            all.map(|labels| family.get_or_create(&labels).get()).sum()
        },
    )
}

fn metrics() -> Load {
    let recorder = PrometheusBuilder::new().build_recorder();
    let rendering = recorder.handle();
    metrics::set_global_recorder(recorder).expect("the first one");
    load(
        (),
        |(), kernel, device| {
            metrics::counter!("launches_total", "kernel_type" => kernel, "device_id" => device)
                .increment(1);
        },
        move |()| sum_of("launches_total", &rendering.render()),
    )
}
