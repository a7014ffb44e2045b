//! Prometheus' text format, read into families. Bounded, whoever wrote it.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

use super::{
    family::{Families, Family, Histogram, Kind, Label, Metric, Summary, Value},
    lines::{self, Line, Sample},
    printable,
};

/// How much is read before it is too much. The defaults are some ten times what an agent on the
/// largest nodes tells, and take a few hundred megabytes of memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Lines with a value.
    pub samples: usize,
    /// Labels of all of them.
    pub labels: usize,
    /// Names with a help, a type or a value.
    pub families: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            samples: 500_000,
            labels: 2_000_000,
            families: 50_000,
        }
    }
}

/// Why a text is no metrics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A line is none of the format.
    #[error("line {line} {what}: {text}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
        /// Its beginning, as harmless text.
        text: String,
    },
    /// There is more than anything sensible.
    #[error("it has more than {limit} {unit}")]
    TooMuch {
        /// How much is allowed.
        limit: usize,
        /// Of what.
        unit: &'static str,
    },
    /// Two buckets of a histogram end at the same value.
    #[error("{0} has a bucket twice")]
    Buckets(String),
    /// There is no value in it.
    #[error("it has no metrics")]
    Nothing,
}

/// So much of a line is shown that is wrong, in characters.
const SHOWN: usize = 60;

/// Reads a scrape.
///
/// Lines of one family may stand apart. Histograms whose count is not told have the count of their
/// last bucket.
///
/// # Errors
///
/// If a line is wrong, if a series comes twice, if there is no value, or more than allowed.
///
/// # Example
///
/// ```
/// use monitoring_tools::scrape::{family::Value, text};
///
/// let families = text::read("# TYPE a counter\na{b=\"c\"} 3\n", text::Limits::default())?;
/// assert_eq!(families[0].metrics[0].label("b"), "c");
/// assert_eq!(families[0].metrics[0].value, Value::Number(3.0));
/// # Ok::<(), text::ReadError>(())
/// ```
pub fn read(text: &str, limits: Limits) -> Result<Families, ReadError> {
    let mut reader = Reader::default();
    let (mut samples, mut labels) = (0, 0);
    for (number, line) in text.split('\n').enumerate() {
        let wrong = |what| ReadError::Line {
            line: number + 1,
            what,
            text: printable(&line.trim().chars().take(SHOWN).collect::<String>()),
        };
        match lines::read(line).map_err(wrong)? {
            Line::Nothing => continue,
            Line::Help { name, help } => reader.help(name, help),
            Line::Type { name, kind } => reader.kind(name, kind).map_err(wrong)?,
            Line::Sample(sample) => {
                samples += 1;
                labels += sample.labels.len();
                reader.sample(sample).map_err(wrong)?;
            }
        }
        let counts = [
            (samples, limits.samples, "values"),
            (labels, limits.labels, "labels"),
            (reader.families.len(), limits.families, "families"),
        ];
        let over = counts.into_iter().find(|(count, limit, _)| count > limit);
        if let Some((_, limit, unit)) = over {
            return Err(ReadError::TooMuch { limit, unit });
        }
    }
    reader.finish()
}

/// A part of a distribution, or a value.
enum Part {
    Number,
    Bucket,
    Quantile,
    Sum,
    Count,
}

/// What a histogram has told of its count.
#[derive(Clone, Copy, Default)]
struct Counted {
    infinity: Option<u64>,
    count: Option<u64>,
}

#[derive(Default)]
struct Reader {
    families: Families,
    by_name: HashMap<String, usize>,
    /// Metrics by their family and what their labels hash to.
    by_labels: HashMap<(usize, u64), usize>,
    hasher: RandomState,
    counted: HashMap<(usize, usize), Counted>,
}

impl Reader {
    fn family(&mut self, name: &str) -> usize {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        self.families.push(Family {
            name: name.to_owned(),
            help: String::new(),
            kind: Kind::Untyped,
            metrics: Vec::new(),
        });
        let number = self.families.len() - 1;
        self.by_name.insert(name.to_owned(), number);
        number
    }

    fn help(&mut self, name: &str, help: String) {
        let family = self.family(name);
        self.families[family].help = help;
    }

    fn kind(&mut self, name: &str, kind: &str) -> Result<(), &'static str> {
        let kind = match kind {
            "counter" => Kind::Counter,
            "gauge" => Kind::Gauge,
            "histogram" => Kind::Histogram,
            "summary" => Kind::Summary,
            "untyped" | "unknown" => Kind::Untyped,
            _ => return Err("names a type that there is not"),
        };
        let family = self.family(name);
        let family = &mut self.families[family];
        if family.kind != kind && !family.metrics.is_empty() {
            return Err("names a type after the first value");
        }
        family.kind = kind;
        Ok(())
    }

    fn sample(&mut self, sample: Sample<'_>) -> Result<(), &'static str> {
        let (family, part) = self.place(sample.name)?;
        let bound = match part {
            Part::Bucket => Some("le"),
            Part::Quantile => Some("quantile"),
            _ => None,
        };
        let Sample {
            mut labels,
            value,
            timestamp_ms,
            ..
        } = sample;
        let bound = match bound {
            Some(name) => {
                let at = labels.iter().position(|(label, _)| label == name);
                let (_, bound) = labels.remove(at.ok_or("lacks its label le or quantile")?);
                number(&bound)?
            }
            None => 0.0,
        };
        let (metric, is_new) = self.metric(family, labels, timestamp_ms);
        let counted = (family, metric);
        match (part, &mut self.families[family].metrics[metric].value) {
            (Part::Number, place) => {
                if !is_new {
                    return Err(TWICE);
                }
                *place = Value::Number(number(value)?);
            }
            (Part::Bucket, _) if bound == f64::INFINITY => {
                let place = &mut self.counted.entry(counted).or_default().infinity;
                once(place, count(value)?)?;
            }
            (Part::Bucket, Value::Histogram(histogram)) if bound.is_finite() => {
                histogram.buckets.push((bound, count(value)?));
            }
            (Part::Count, Value::Histogram(_)) => {
                let place = &mut self.counted.entry(counted).or_default().count;
                once(place, count(value)?)?;
            }
            (
                Part::Sum,
                Value::Histogram(Histogram { sum, .. }) | Value::Summary(Summary { sum, .. }),
            ) => {
                once(sum, number(value)?)?;
            }
            (Part::Count, Value::Summary(summary)) => once(&mut summary.count, count(value)?)?,
            (Part::Quantile, Value::Summary(summary)) => {
                summary.quantiles.push((bound, number(value)?));
            }
            _ => return Err("has a bound that is none"),
        }
        Ok(())
    }

    /// The family that a name belongs to, and as what.
    fn place(&mut self, name: &str) -> Result<(usize, Part), &'static str> {
        let parts = [
            ("_bucket", Part::Bucket),
            ("_sum", Part::Sum),
            ("_count", Part::Count),
        ];
        for (ending, part) in parts {
            let whole = name.strip_suffix(ending);
            let Some(family) = whole.and_then(|whole| self.by_name.get(whole)) else {
                continue;
            };
            match (self.families[*family].kind, &part) {
                (Kind::Histogram, _) | (Kind::Summary, Part::Sum | Part::Count) => {
                    return Ok((*family, part));
                }
                _ => {}
            }
        }
        let family = self.family(name);
        match self.families[family].kind {
            Kind::Histogram => Err("gives a histogram a value of its own"),
            Kind::Summary => Ok((family, Part::Quantile)),
            _ => Ok((family, Part::Number)),
        }
    }

    /// The metric with these labels, and whether it was not known.
    fn metric(&mut self, family: usize, labels: Vec<Label>, time: Option<i64>) -> (usize, bool) {
        // The order of labels does not matter.
        let hash = labels.iter().fold(0_u64, |hash, label| {
            hash.wrapping_add(self.hasher.hash_one(label))
        });
        let metrics = &mut self.families[family].metrics;
        if let Some(known) = self.by_labels.get(&(family, hash)) {
            let known_labels = &metrics[*known].labels;
            let is_same = known_labels.len() == labels.len()
                && labels.iter().all(|label| known_labels.contains(label));
            if is_same {
                return (*known, false);
            }
        }
        let value = match self.families[family].kind {
            Kind::Histogram => Value::Histogram(Histogram::default()),
            Kind::Summary => Value::Summary(Summary::default()),
            _ => Value::Number(0.0),
        };
        let metrics = &mut self.families[family].metrics;
        metrics.push(Metric {
            labels,
            value,
            timestamp_ms: time,
        });
        self.by_labels.insert((family, hash), metrics.len() - 1);
        (metrics.len() - 1, true)
    }

    fn finish(mut self) -> Result<Families, ReadError> {
        for (number, family) in self.families.iter_mut().enumerate() {
            for (at, metric) in family.metrics.iter_mut().enumerate() {
                let Value::Histogram(histogram) = &mut metric.value else {
                    continue;
                };
                let buckets = &mut histogram.buckets;
                buckets.sort_by(|one, two| one.0.total_cmp(&two.0));
                if !buckets.is_sorted_by(|one, two| one.0 < two.0) {
                    return Err(ReadError::Buckets(family.name.clone()));
                }
                let counted = self.counted.get(&(number, at)).copied().unwrap_or_default();
                let last = histogram.buckets.last().map_or(0, |(_, count)| *count);
                histogram.count = counted.count.or(counted.infinity).unwrap_or(last);
            }
        }
        self.families.retain(|family| !family.metrics.is_empty());
        if self.families.is_empty() {
            return Err(ReadError::Nothing);
        }
        Ok(self.families)
    }
}

const TWICE: &str = "is there twice";

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), &'static str> {
    match place.replace(value) {
        Some(_) => Err(TWICE),
        None => Ok(()),
    }
}

fn number(text: &str) -> Result<f64, &'static str> {
    text.parse().map_err(|_| "has a value that is no number")
}

/// A count: whole, and exact up to 2^64.
fn count(text: &str) -> Result<u64, &'static str> {
    if let Ok(count) = text.parse() {
        return Ok(count);
    }
    let value = number(text)?;
    if value.fract() == 0.0 && (0.0..=LARGEST_COUNT).contains(&value) {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole and in range"
        )]
        return Ok(value as u64);
    }
    Err("has a count that is none")
}

/// Above it not every whole number is an `f64`.
const LARGEST_COUNT: f64 = (1_u64 << 53) as f64;

#[cfg(test)]
mod tests;
