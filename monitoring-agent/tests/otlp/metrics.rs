//! Snapshots that are pushed, as Rotel shows them and as they are on the wire.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use monitoring::otlp::{Compression, Headers, Protocol, Signal, Target, TlsFiles};
use monitoring_agent::{
    export::otlp::{Otlp, OtlpSettings, PushSettings},
    families::Family,
    snapshot::Snapshot,
    spans::{QueueLimits, Spans},
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{metric::Data, number_data_point::Value},
};
use prost::Message as _;
use tokio::sync::watch;

use crate::{
    exporter::LONG,
    poll::poll_until,
    rotel::{Collector, Ports},
    stub::{Answer, Asked, Stub},
};

pub(crate) fn settings(protocol: Protocol, base: &str, interval: Duration) -> OtlpSettings {
    let target = Target {
        signal: Signal::Metrics,
        url: Target::url(Signal::Metrics, protocol, base),
        protocol,
        headers: Headers::default(),
        compression: Compression::Gzip,
        timeout: LONG,
        tls: TlsFiles::default(),
    };
    let node = "node-7".to_owned();
    OtlpSettings {
        spans: None,
        metrics: Some(PushSettings {
            target,
            interval,
            node,
            node_type: "gpu".to_owned(),
        }),
    }
}

pub(crate) fn snapshot(number: u64, value: f64) -> Arc<Snapshot> {
    let mut waits = Family::histogram("wait_seconds", "How long.");
    waits.push_histogram(&[("disk", "sda")], [(0.5, 2), (1.0, 3)], 4, 7.5);
    Arc::new(Snapshot {
        number,
        taken: Instant::now(),
        families: vec![
            Family::counter("reads_total", "Reads.")
                .with(&[("disk", "sda")], value)
                .build(),
            Family::gauge("temperature_celsius", "Heat.")
                .with(&[], 36.5)
                .build(),
            waits.build(),
        ],
        ready: true,
    })
}

pub(crate) fn otlp(first: Arc<Snapshot>) -> (Otlp, watch::Sender<Arc<Snapshot>>) {
    let (publish, latest) = watch::channel(first);
    let spans = Spans::new(QueueLimits { spans: 1, bytes: 1 });
    (Otlp::new(spans, latest), publish)
}

/// The counter's value in each request.
fn values(asked: &[Asked]) -> Vec<f64> {
    let value = |asked: &Asked| {
        let request = ExportMetricsServiceRequest::decode(&asked.message[..]).unwrap();
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        match &metrics[0].data {
            Some(Data::Sum(sum)) => match sum.data_points[0].value {
                Some(Value::AsDouble(value)) => value,
                ref other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    asked.iter().map(value).collect()
}

#[test]
fn a_receiver_takes_what_is_pushed() {
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        let ports = Ports::free();
        let collector = Collector::start(ports);
        let (mut otlp, _publish) = otlp(snapshot(1, 42.0));
        otlp.apply(settings(protocol, &ports.url(protocol), LONG));
        let printed = poll_until("metrics arrive", || {
            let printed = collector.printed();
            printed.contains("wait_seconds").then_some(printed)
        });
        for want in [
            "reads_total",
            "temperature_celsius",
            "node-7",
            "42",
            "36.5",
            "7.5",
        ] {
            assert!(printed.contains(want), "no {want} in {printed}");
        }
        let stats = otlp.stats();
        poll_until("it is counted", || {
            (!stats.families()[0].get_metric().is_empty()).then_some(())
        });
        let families = stats.families();
        let pushes = families[0].get_metric();
        assert!((pushes[0].get_counter().get_value() - 1.0).abs() < 0.1);
    }
}

#[test]
#[allow(clippy::float_cmp, reason = "they are whole")]
fn each_snapshot_is_pushed_once_and_a_failure_is_made_up_for() {
    let protocol = Protocol::HttpProtobuf;
    let mut turn = 0;
    let stub = Stub::start(protocol, move |asked| {
        assert_eq!(asked.path, "/v1/metrics");
        turn += 1;
        if turn == 2 {
            Answer::status(503)
        } else {
            Answer::yes(protocol)
        }
    });
    let (mut otlp, publish) = otlp(snapshot(1, 1.0));
    let interval = Duration::from_secs(1);
    otlp.apply(settings(protocol, &stub.url(), interval));
    let asked = |count: usize| {
        poll_until("it is pushed", || {
            let asked = stub.asked();
            (asked.len() >= count).then_some(asked)
        })
    };
    assert_eq!(values(&asked(1)), [1.0]);
    publish.send_replace(snapshot(2, 2.0));
    assert_eq!(values(&asked(3)), [1.0, 2.0, 2.0]);
    publish.send_replace(snapshot(3, 3.0));
    assert_eq!(values(&asked(4)), [1.0, 2.0, 2.0, 3.0]);
    // Switched off, it is silent; an exporter that ends later does not push either.
    otlp.apply(OtlpSettings::default());
    publish.send_replace(snapshot(4, 4.0));
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(otlp.stop());
    assert_eq!(stub.asked().len(), 4);
}

#[test]
#[allow(clippy::float_cmp, reason = "they are whole")]
fn what_is_too_large_is_pushed_in_parts() {
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        let stub = Stub::start(protocol, move |asked| {
            let is_too_large = asked.message.len() > 3000;
            if is_too_large && protocol == Protocol::Grpc {
                Answer::code(8, "grpc: received message larger than max (2 vs. 1)")
            } else if is_too_large {
                Answer::status(413)
            } else {
                Answer::yes(protocol)
            }
        });
        let mut many = Family::gauge("many", "");
        for number in 0..300 {
            many.push(&[("number", &number.to_string())], 1.0);
        }
        // One that is too large by itself.
        many.push(&[("number", &"x".repeat(4000))], 1.0);
        many.push(&[("number", "last")], 1.0);
        let snapshot = Snapshot {
            number: 1,
            taken: Instant::now(),
            families: vec![many.build()],
            ready: true,
        };
        let (mut otlp, _publish) = otlp(Arc::new(snapshot));
        otlp.apply(settings(protocol, &stub.url(), LONG));
        let stats = otlp.stats();
        let families = poll_until("it is counted", || {
            let families = stats.families();
            let is_counted = !families[0].get_metric().is_empty();
            is_counted.then_some(families)
        });
        let value = |family: usize, sample: usize| {
            let metric = &families[family].get_metric()[sample];
            metric.get_counter().get_value()
        };
        assert_eq!(
            (value(0, 0), value(0, 1)),
            (0.0, 1.0),
            "not all of it was taken"
        );
        assert_eq!(value(1, 0), 1.0, "one point was too large");
        let asked = stub.asked();
        let taken = asked.iter().filter(|asked| asked.message.len() <= 3000);
        let points: usize = taken
            .map(|asked| {
                let request = ExportMetricsServiceRequest::decode(&asked.message[..]).unwrap();
                let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
                match &metrics[0].data {
                    Some(Data::Gauge(gauge)) => gauge.data_points.len(),
                    other => panic!("{other:?}"),
                }
            })
            .sum();
        assert_eq!(points, 301);
        let refused = asked.iter().filter(|asked| asked.message.len() > 3000);
        assert!((2..20).contains(&refused.count()));
    }
}
