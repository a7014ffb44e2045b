//! What the messages say, read back by an own definition of the family.

use monitoring_common::histogram::{self, slot_of};
use proptest::prelude::*;
use prost::Message;

use super::{messages::Timestamp, *};
use crate::{exemplars::Exemplars, export::render::Known};

#[derive(Clone, PartialEq, prost::Message)]
struct WholeFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
    #[prost(string, tag = "5")]
    unit: String,
}

fn read(mut bytes: &[u8]) -> Vec<WholeFamily> {
    let mut families = Vec::new();
    while !bytes.is_empty() {
        families.push(WholeFamily::decode_length_delimited(&mut bytes).unwrap());
    }
    families
}

fn encoded(families: &[MetricFamily], exemplars: &Exemplars) -> Vec<WholeFamily> {
    read(&shared(families, &Known(exemplars)))
}

fn labels(metric: &Metric) -> Vec<(&str, &str)> {
    let labels = metric.label.iter();
    labels.map(|pair| (&*pair.name, &*pair.value)).collect()
}

#[test]
fn families_and_the_age() {
    let families = [
        Family::counter("a_bytes_total", "A.")
            .with(&[("x", "y"), ("z", "")], 3.0)
            .with(&[("z", "ü")], 0.0)
            .build(),
        Family::gauge("g_info", "").with(&[], 1.0).build(),
    ];
    let known = Known(&Exemplars::default());
    let got = read(&[shared(&families, &known), tail(12.3456)].concat());
    let titles = got
        .iter()
        .map(|family| (&*family.name, &*family.help, family.kind, &*family.unit));
    assert_eq!(
        titles.collect::<Vec<_>>(),
        [
            ("a_bytes_total", "A.", 0, "bytes"),
            ("g_info", "", 1, ""),
            (AGE_NAME, AGE_HELP, 1, "seconds")
        ]
    );
    let [first, second] = &got[0].metric[..] else {
        panic!("{got:?}")
    };
    assert_eq!(labels(first), [("x", "y"), ("z", "")]);
    assert_eq!(labels(second), [("z", "ü")]);
    let value = |metric: &Metric| metric.counter.as_ref().unwrap().value;
    assert_eq!((value(first), value(second)), (Some(3.0), Some(0.0)));
    let gauge = |family: &WholeFamily| family.metric[0].gauge.unwrap().value;
    assert_eq!((gauge(&got[1]), gauge(&got[2])), (Some(1.0), Some(12.346)));
    assert!(got[1].metric[0].counter.is_none() && got[1].metric[0].histogram.is_none());
}

fn durations(durations_ns: &[u64]) -> (MetricFamily, histogram::Histogram) {
    let mut durations = histogram::Histogram::EMPTY;
    for duration_ns in durations_ns {
        durations.observe(*duration_ns);
    }
    let mut family = Family::histogram("h_seconds", "H.");
    family.push_durations(&[("a", "b")], &durations);
    (family.build(), durations)
}

fn encoded_durations(durations_ns: &[u64]) -> Histogram {
    let (family, _) = durations(durations_ns);
    let families = encoded(&[family], &Exemplars::default());
    families[0].metric[0].histogram.clone().unwrap()
}

#[test]
fn slots_are_buckets() {
    // 2^-22 s twice, just over, one second and just over, just over 16 s.
    let got = encoded_durations(&[1, 238, 239, 1_000_000_000, 1_000_000_001, 16_000_000_001]);
    assert_eq!((got.schema, got.sample_count), (Some(0), Some(6)));
    assert_eq!(got.zero_threshold, Some(2_f64.powi(-22)));
    assert_eq!(got.zero_count, Some(2));
    let spans: Vec<_> = got
        .positive_span
        .iter()
        .map(|span| (span.offset, span.length))
        .collect();
    assert_eq!(spans, [(-21, 1), (20, 2), (1023, 1)]);
    assert_eq!(got.positive_delta, [1, 0, 0, 0]);
    assert_eq!(got.sample_sum, Some(18.000_000_480));
    let bounds: Vec<_> = got
        .bucket
        .iter()
        .map(|bucket| bucket.upper_bound.unwrap())
        .collect();
    assert_eq!(
        (bounds.len(), bounds[0], bounds[12]),
        (13, 2_f64.powi(-20), 16.0)
    );
}

#[test]
fn small_gaps_are_no_new_spans() {
    let at = |exponent: i32| 1_000_000_000_u64 << exponent;
    let got = encoded_durations(&[at(0), at(0), at(3), at(3), at(3)]);
    let spans: Vec<_> = got
        .positive_span
        .iter()
        .map(|span| (span.offset, span.length))
        .collect();
    assert_eq!(spans, [(0, 4)]);
    assert_eq!(got.positive_delta, [2, -2, 0, 3]);
}

#[test]
fn an_empty_histogram_is_a_native_one() {
    let got = encoded_durations(&[]);
    assert_eq!((got.schema, got.zero_count), (Some(0), Some(0)));
    assert!(got.zero_threshold.unwrap() > 0.0);
    assert_eq!((got.positive_span, got.positive_delta), (vec![], vec![]));
}

#[test]
fn others_are_classic_only() {
    let mut family = Family::histogram("h", "");
    family.push_histogram(&[], [(0.5, 1), (1.0, 3)], 4, 7.25);
    let got = encoded(&[family.build()], &Exemplars::default());
    let got = got[0].metric[0].histogram.clone().unwrap();
    assert_eq!(
        (got.schema, got.zero_threshold, got.zero_count),
        (None, None, None)
    );
    let buckets: Vec<_> = got
        .bucket
        .iter()
        .map(|one| (one.upper_bound, one.cumulative_count))
        .collect();
    assert_eq!(buckets, [(Some(0.5), Some(1)), (Some(1.0), Some(3))]);
}

fn traces(exemplars: &[Exemplar]) -> Vec<&str> {
    exemplars
        .iter()
        .map(|exemplar| &*exemplar.label[0].value)
        .collect()
}

#[test]
fn exemplars_stand_where_something_was_counted() {
    let exemplars = Exemplars::default();
    let labels = [("a", "b")];
    let observe =
        |seconds, trace, at| exemplars.observe("h_seconds", &labels, seconds, trace, 0xab, at);
    observe(0.75, 1, 3_000_000_007);
    observe(0.4, 2, 2_000_000_000);
    observe(20.0, 3, 1_000_000_000);
    // In slots and buckets that counted nothing.
    observe(0.1, 4, 1_000_000_000);
    observe(8.0, 5, 1_000_000_000);
    exemplars.observe("c_total", &[], 1.0, 6, 7, 4_000_000_000);
    exemplars.observe("g", &[], 1.0, 6, 7, 4_000_000_000);
    let (histogram, _) = durations(&[750_000_000, 400_000_000, 20_000_000_000]);
    let counter = Family::counter("c_total", "").with(&[], 1.0).build();
    let gauge = Family::gauge("g", "").with(&[], 1.0).build();
    let got = encoded(&[counter, gauge, histogram], &exemplars);
    let trace = |n: u32| format!("{n:032x}");
    let counter = got[0].metric[0].counter.clone().unwrap();
    assert_eq!(counter.exemplar.unwrap().label[0].value, trace(6));
    let got = got[2].metric[0].histogram.clone().unwrap();
    assert_eq!(traces(&got.exemplars), [trace(3), trace(2), trace(1)]);
    let newest = got.exemplars[2].clone();
    assert_eq!(
        (&*newest.label[1].name, &*newest.label[1].value),
        ("span_id", "00000000000000ab")
    );
    let timestamp = Timestamp {
        seconds: 3,
        nanos: 7,
    };
    assert_eq!(
        (newest.value, newest.timestamp),
        (Some(0.75), Some(timestamp))
    );
    let classic: Vec<_> = got
        .bucket
        .iter()
        .filter(|bucket| bucket.exemplar.is_some())
        .collect();
    let bounds: Vec<_> = classic
        .iter()
        .map(|bucket| bucket.upper_bound.unwrap())
        .collect();
    assert_eq!(bounds, [1.0, f64::INFINITY]);
    let of = |bucket: &Bucket| bucket.exemplar.clone().unwrap();
    assert_eq!(
        traces(&[of(classic[0]), of(classic[1])]),
        [trace(1), trace(3)]
    );
}

proptest! {
    /// Buckets are taken apart as a reader does, and compared with the kernel's slots.
    #[test]
    fn buckets_are_the_slots(observed in prop::collection::vec((any::<u64>(), 0_u32..64), 0..60)) {
        let observed: Vec<_> = observed.iter().map(|(noise, bits)| noise >> bits).collect();
        let got = encoded_durations(&observed);
        let mut buckets = Vec::new();
        let (mut at, mut count, mut deltas) = (0, 0, got.positive_delta.iter());
        for span in &got.positive_span {
            at += span.offset;
            for _ in 0..span.length {
                count += deltas.next().unwrap();
                if count > 0 {
                    buckets.push((at, count.cast_unsigned()));
                }
                at += 1;
            }
        }
        prop_assert!(deltas.next().is_none());
        let mut slots = [0; SLOTS];
        for duration_ns in &observed {
            slots[slot_of(*duration_ns)] += 1;
        }
        let filled = slots.iter().enumerate().skip(1).filter(|(_, count)| **count > 0);
        let number = |slot| if slot == 27 { 1025 } else { i32::try_from(slot).unwrap() - 22 };
        let want: Vec<_> = filled.map(|(slot, count)| (number(slot), *count)).collect();
        prop_assert_eq!(buckets, want);
        prop_assert_eq!(got.zero_count, Some(slots[0]));
        prop_assert_eq!(got.sample_count, Some(observed.len() as u64));
    }
}
