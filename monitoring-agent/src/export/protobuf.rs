//! The format of Prometheus that is no text: messages `io.prometheus.client.MetricFamily`, each
//! preceded by its length.
//!
//! Histograms of the kernel are there twice: with the buckets of the text formats, and as native
//! histograms with all of the kernel's slots. Their schema 0 has the powers of two as bounds, which
//! the slots have, too, so that no number is estimated:
//!
//! | Slot | Bucket |
//! |---|---|
//! | 0: up to 2⁻²² s | the zero bucket, whose threshold is 2⁻²² |
//! | 1 to 26: up to 2⁴ s | -21 to 4 |
//! | 27: more than 2⁴ s | 1025, the one that ends at infinity |
//!
//! The last is the only one that is said to begin higher than it does: no bucket begins at 2⁴ and has
//! no end. What is counted up to any bound is right all the same, up to 2⁴ s and in total, and a
//! quantile beyond 2⁴ s is infinite instead of an invented number.
//!
//! Knows families, and which traces there are of slow events; nothing of how they travel.

mod messages;

use monitoring::server::exposition::{self, Knowledge};
use monitoring_common::histogram::{FIRST_EXPONENT, SLOTS};
use prometheus::proto::{self, MetricFamily, MetricType};
use prost::{Message as _, encode_length_delimiter};

use self::messages::{Bucket, Counter, Exemplar, Gauge, Head, Histogram, LabelPair, Metric, Span};
use super::render::{AGE_HELP, AGE_NAME, exportable};
use crate::{
    exemplars::slot,
    families::{Family, slots},
};

/// The key of a metric in a family: field 4, whose length follows.
const METRIC: u8 = 4 << 3 | 2;

/// The key of the unit in a family: field 5, whose length follows.
const UNIT: u8 = 5 << 3 | 2;

/// The bucket that ends at infinity, in schema 0.
const ENDLESS: i32 = 1025;

/// Gaps of so many empty buckets are written as such: a new span would take as much room.
const GAP: usize = 2;

/// All families but the age, which [`tail`] adds.
pub(super) fn shared(families: &[MetricFamily], knowledge: &impl Knowledge) -> Vec<u8> {
    let mut encoder = Encoder::default();
    let mut bytes = Vec::new();
    for family in families.iter().filter(|family| exportable(family)) {
        encoder.family(family, knowledge, &mut bytes);
    }
    bytes
}

/// The last family of a scrape.
pub(super) fn tail(age_seconds: f64) -> Vec<u8> {
    // More digits than milliseconds would only be noise.
    let age_seconds = (age_seconds * 1000.0).round() / 1000.0;
    let age = Family::gauge(AGE_NAME, AGE_HELP).with(&[], age_seconds);
    let mut bytes = Vec::new();
    Encoder::default().family(&age.build(), &exposition::Nothing, &mut bytes);
    bytes
}

/// What families are encoded with; its memory is used again for each of them.
#[derive(Default)]
struct Encoder {
    body: Vec<u8>,
    metric: Metric,
}

impl Encoder {
    fn family(&mut self, family: &MetricFamily, knowledge: &impl Knowledge, bytes: &mut Vec<u8>) {
        let kind = family.get_field_type();
        let head = Head {
            name: family.name().to_owned(),
            help: family.help().to_owned(),
            kind: Some(kind as i32),
        };
        self.body.clear();
        head.encode_raw(&mut self.body);
        for metric in family.get_metric() {
            self.fill(family, kind, metric, knowledge);
            self.body.push(METRIC);
            length(self.metric.encoded_len(), &mut self.body);
            self.metric.encode_raw(&mut self.body);
        }
        let name = family.name();
        if let Some(unit) = exposition::unit(name.strip_suffix("_total").unwrap_or(name)) {
            self.body.push(UNIT);
            length(unit.len(), &mut self.body);
            self.body.extend(unit.as_bytes());
        }
        length(self.body.len(), bytes);
        bytes.append(&mut self.body);
    }

    fn fill(
        &mut self,
        family: &MetricFamily,
        kind: MetricType,
        from: &proto::Metric,
        knowledge: &impl Knowledge,
    ) {
        let metric = &mut self.metric;
        let labels = from.get_label();
        metric.label.resize_with(labels.len(), LabelPair::default);
        for (pair, label) in metric.label.iter_mut().zip(labels) {
            label.name().clone_into(&mut pair.name);
            label.value().clone_into(&mut pair.value);
        }
        let exemplars = || knowledge.exemplars(family.name(), labels);
        (metric.gauge, metric.counter) = (None, None);
        match kind {
            MetricType::COUNTER => {
                metric.histogram = None;
                let value = from.get_counter().get_value();
                let newest = exemplars().into_iter().max_by_key(|newest| newest.unix_ns);
                let exemplar = newest.filter(|_| value > 0.0).map(Exemplar::from);
                let value = Some(value);
                metric.counter = Some(Counter { value, exemplar });
            }
            MetricType::HISTOGRAM => {
                let histogram = metric.histogram.get_or_insert_default();
                classic(from.get_histogram(), &exemplars(), knowledge, histogram);
                native(from.get_histogram(), exemplars(), histogram);
            }
            _ => {
                metric.histogram = None;
                let value = Some(from.get_gauge().get_value());
                metric.gauge = Some(Gauge { value });
            }
        }
    }
}

fn length(length: usize, bytes: &mut Vec<u8>) {
    encode_length_delimiter(length, bytes).expect("a Vec takes every write");
}

fn classic(
    from: &proto::Histogram,
    exemplars: &[exposition::Exemplar],
    knowledge: &impl Knowledge,
    to: &mut Histogram,
) {
    to.sample_count = Some(from.get_sample_count());
    to.sample_sum = Some(from.get_sample_sum());
    to.bucket.clear();
    let (first, step) = knowledge.buckets(from);
    let shown = from.get_bucket().iter().skip(first).step_by(step);
    let shown = shown.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
    let (mut lower, mut counted) = (f64::NEG_INFINITY, 0);
    for (upper, cumulative) in shown.chain([(f64::INFINITY, from.get_sample_count())]) {
        let newest = exposition::Exemplar::newest_within(exemplars, lower, upper);
        let exemplar = newest.filter(|_| cumulative > counted).map(Exemplar::from);
        // The last bucket says nothing that the count does not say, but for its exemplar.
        if upper < f64::INFINITY || exemplar.is_some() {
            to.bucket.push(Bucket {
                cumulative_count: Some(cumulative),
                upper_bound: Some(upper),
                exemplar,
            });
        }
        (lower, counted) = (upper, cumulative);
    }
}

fn native(from: &proto::Histogram, mut exemplars: Vec<exposition::Exemplar>, to: &mut Histogram) {
    to.positive_span.clear();
    to.positive_delta.clear();
    to.exemplars.clear();
    let slots = slots(from);
    to.schema = slots.map(|_| 0);
    to.zero_threshold = slots.map(|_| f64::from(FIRST_EXPONENT).exp2());
    to.zero_count = slots.map(|slots| slots[0]);
    let Some(slots) = slots else {
        return;
    };
    // The bucket behind the last one that is written, and what that one has.
    let (mut next, mut before) = (0, 0);
    let mut push = |count: u64| {
        // Counts and their differences fit: the kernel counts no more than 2⁶³ events.
        to.positive_delta.push(count.cast_signed() - before);
        before = count.cast_signed();
    };
    let filled = slots
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(_, count)| **count > 0);
    for (slot, count) in filled {
        let bucket = bucket_of(slot);
        let gap = usize::try_from(bucket - next).unwrap_or(usize::MAX);
        match to.positive_span.last_mut() {
            Some(span) if gap <= GAP => {
                (0..gap).for_each(|_| push(0));
                span.length += u32::try_from(gap + 1).expect("a gap is small");
            }
            _ => to.positive_span.push(Span {
                offset: bucket - next,
                length: 1,
            }),
        }
        push(*count);
        next = bucket + 1;
    }
    // Whoever takes exemplars one by one wants them in the order of time.
    exemplars.sort_unstable_by_key(|exemplar| exemplar.unix_ns);
    let counted = exemplars
        .into_iter()
        .filter(|exemplar| slots[slot(exemplar.seconds)] > 0);
    to.exemplars.extend(counted.map(Exemplar::from));
}

/// The bucket of schema 0 for a slot other than the first.
fn bucket_of(slot: usize) -> i32 {
    if slot == SLOTS - 1 {
        return ENDLESS;
    }
    FIRST_EXPONENT + i32::try_from(slot).expect("there are few slots")
}

#[cfg(test)]
mod tests;
