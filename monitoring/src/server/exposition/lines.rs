//! The lines of a family: what is said of it, and its samples.

use std::fmt::Write as _;

use ::prometheus::proto::{Metric, MetricFamily, MetricType};

use super::{
    Exemplar, Knowledge, Syntax,
    naming::{self, Title},
    numbers, values,
};

/// Writes families behind each other.
pub(super) struct Lines<'a, K> {
    syntax: Syntax,
    knowledge: &'a K,
    text: &'a mut String,
    /// The labels of the series that is being written, escaped, without braces.
    labels: String,
    /// Bounds of the family's histograms as they are written, with their bits. All series of a
    /// family have the same ones.
    bounds: Vec<(u64, String)>,
}

impl<'a, K: Knowledge> Lines<'a, K> {
    pub(super) fn new(syntax: Syntax, knowledge: &'a K, text: &'a mut String) -> Self {
        Self {
            syntax,
            knowledge,
            text,
            labels: String::new(),
            bounds: Vec::new(),
        }
    }

    pub(super) fn family(&mut self, family: &MetricFamily, title: Title<'_>) {
        self.title(family, title);
        self.bounds.clear();
        for metric in family.get_metric() {
            self.read_labels(metric);
            let exemplars = if title.takes_exemplars {
                let (name, labels) = (family.name(), metric.get_label());
                self.knowledge.exemplars(name, labels)
            } else {
                Vec::new()
            };
            match title.kind {
                MetricType::COUNTER => {
                    let value = values::counter(metric.get_counter());
                    let exemplars = if value > 0.0 { &exemplars[..] } else { &[] };
                    let all = (f64::NEG_INFINITY, f64::INFINITY);
                    self.begin(family.name(), "", None);
                    self.value(value);
                    self.end(metric, newest(exemplars, all));
                }
                MetricType::HISTOGRAM => self.histogram(family.name(), metric, &exemplars),
                MetricType::SUMMARY => self.summary(family.name(), metric),
                _ => {
                    let value = values::gauge(metric.get_gauge());
                    self.sample(family.name(), "", None, value, metric);
                }
            }
        }
    }

    fn title(&mut self, family: &MetricFamily, Title { name, word, .. }: Title<'_>) {
        let help = family.help();
        let mut line = |keyword: &str, rest: &dyn Fn(&mut String)| {
            for part in ["# ", keyword, " ", name, " "] {
                self.text.push_str(part);
            }
            rest(self.text);
            self.text.push('\n');
        };
        let has_quotes_escaped = self.syntax == Syntax::OpenMetrics;
        if !help.is_empty() {
            line("HELP", &|text| escape(help, has_quotes_escaped, text));
        }
        line("TYPE", &|text| text.push_str(word));
        if self.syntax == Syntax::OpenMetrics
            && word != "info"
            && let Some(unit) = naming::unit(name)
        {
            line("UNIT", &|text| text.push_str(unit));
        }
    }

    fn read_labels(&mut self, metric: &Metric) {
        self.labels.clear();
        for pair in metric.get_label() {
            if !self.labels.is_empty() {
                self.labels.push(',');
            }
            self.labels.push_str(pair.name());
            self.labels.push_str("=\"");
            escape(pair.value(), true, &mut self.labels);
            self.labels.push('"');
        }
    }

    fn histogram(&mut self, name: &str, metric: &Metric, exemplars: &[Exemplar]) {
        let histogram = metric.get_histogram();
        let (first, step) = self.knowledge.buckets(histogram);
        let (mut lower, mut counted) = (f64::NEG_INFINITY, 0);
        let all = histogram.get_bucket().iter();
        for (index, bucket) in all.skip(first).step_by(step).enumerate() {
            let (upper, cumulative) = (bucket.upper_bound(), bucket.cumulative_count());
            let exemplars = if cumulative > counted { exemplars } else { &[] };
            self.bucket(name, (index, upper), cumulative);
            self.end(metric, newest(exemplars, (lower, upper)));
            (lower, counted) = (upper, cumulative);
        }
        let count = histogram.get_sample_count();
        if lower < f64::INFINITY {
            let exemplars = if count > counted { exemplars } else { &[] };
            self.begin(name, "_bucket", Some(("le", "+Inf")));
            numbers::count(count, self.text);
            self.end(metric, newest(exemplars, (lower, f64::INFINITY)));
        }
        self.sample(name, "_sum", None, histogram.get_sample_sum(), metric);
        self.begin(name, "_count", None);
        numbers::count(count, self.text);
        self.end(metric, None);
    }

    fn bucket(&mut self, name: &str, (index, upper): (usize, f64), cumulative: u64) {
        let is_known = |(bits, _): &(u64, String)| *bits == upper.to_bits();
        let known = self.bounds.get(index).filter(|bound| is_known(bound));
        if known.is_none() {
            self.bounds.truncate(index);
            let bound = match self.syntax {
                Syntax::Classic if upper.is_finite() => upper.to_string(),
                _ => numbers::canonical(upper),
            };
            self.bounds.push((upper.to_bits(), bound));
        }
        let bounds = std::mem::take(&mut self.bounds);
        self.begin(name, "_bucket", Some(("le", &bounds[index].1)));
        self.bounds = bounds;
        numbers::count(cumulative, self.text);
    }

    fn summary(&mut self, name: &str, metric: &Metric) {
        let summary = metric.get_summary();
        for quantile in summary.get_quantile() {
            let of = match self.syntax {
                Syntax::Classic => quantile.quantile().to_string(),
                Syntax::OpenMetrics => numbers::canonical(quantile.quantile()),
            };
            self.sample(name, "", Some(("quantile", &of)), quantile.value(), metric);
        }
        self.sample(name, "_sum", None, summary.sample_sum(), metric);
        self.begin(name, "_count", None);
        numbers::count(summary.sample_count(), self.text);
        self.end(metric, None);
    }

    fn sample(
        &mut self,
        name: &str,
        suffix: &str,
        label: Option<(&str, &str)>,
        value: f64,
        metric: &Metric,
    ) {
        self.begin(name, suffix, label);
        self.value(value);
        self.end(metric, None);
    }

    /// Everything of a line before the value. The label needs no escapes.
    fn begin(&mut self, name: &str, suffix: &str, label: Option<(&str, &str)>) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        if !self.labels.is_empty() || label.is_some() {
            self.text.push('{');
            self.text.push_str(&self.labels);
            if let Some((name, value)) = label {
                let separator = if self.labels.is_empty() { "" } else { "," };
                for part in [separator, name, "=\"", value, "\""] {
                    self.text.push_str(part);
                }
            }
            self.text.push('}');
        }
        self.text.push(' ');
    }

    fn value(&mut self, value: f64) {
        match self.syntax {
            Syntax::Classic => numbers::value(value, self.text),
            Syntax::OpenMetrics => numbers::open_metrics_value(value, self.text),
        }
    }

    /// Everything of a line behind the value.
    fn end(&mut self, metric: &Metric, exemplar: Option<Exemplar>) {
        let timestamp_ms = metric.timestamp_ms();
        if timestamp_ms != 0 {
            self.text.push(' ');
            match self.syntax {
                Syntax::Classic => self.text.push_str(&timestamp_ms.to_string()),
                Syntax::OpenMetrics => numbers::moment_of_ms(timestamp_ms, self.text),
            }
        }
        if let Some(exemplar) = exemplar {
            let (trace, span) = (exemplar.trace_id, exemplar.span_id);
            write!(
                self.text,
                " # {{trace_id=\"{trace:032x}\",span_id=\"{span:016x}\"}} "
            )
            .expect("a String takes every write");
            numbers::open_metrics_value(exemplar.seconds, self.text);
            self.text.push(' ');
            numbers::moment(exemplar.unix_ns, self.text);
        }
        self.text.push('\n');
    }
}

fn newest(exemplars: &[Exemplar], (lower, upper): (f64, f64)) -> Option<Exemplar> {
    Exemplar::newest_within(exemplars, lower, upper)
}

/// Escapes what would end a line or a quoted text.
fn escape(from: &str, escapes_quotes: bool, text: &mut String) {
    let mut rest = from;
    let is_special = |byte: u8| matches!(byte, b'\\' | b'\n') || (escapes_quotes && byte == b'"');
    while let Some(at) = rest.bytes().position(is_special) {
        text.push_str(&rest[..at]);
        text.push_str(match rest.as_bytes()[at] {
            b'\n' => "\\n",
            b'"' => "\\\"",
            _ => "\\\\",
        });
        rest = &rest[at + 1..];
    }
    text.push_str(rest);
}
