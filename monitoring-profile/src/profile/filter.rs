//! Leaves out samples that nobody asked for.

use regex::Regex;

use super::{Profile, merge::Import, samples::SampleRef};

/// Which samples are wanted: those that pass every part.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only samples with a matching frame: by the name or source file of a function, or the path
    /// of a mapped file.
    pub focus: Option<Regex>,
    /// No samples with a matching frame.
    pub ignore: Option<Regex>,
    /// Only samples with all of these labels.
    pub labels: Vec<LabelFilter>,
}

/// A label that samples must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFilter {
    /// The label's key.
    pub key: String,
    /// What its value is displayed as: `nginx`, `42`, `16bytes`.
    pub value: String,
}

impl Profile {
    /// Keeps only samples that pass the filter, and of the tables only what these need.
    pub fn retain(&mut self, filter: &Filter) {
        let focused = filter.focus.as_ref().map(|focus| self.matching(focus));
        let ignored = filter.ignore.as_ref().map(|ignore| self.matching(ignore));
        let through = |sample: &SampleRef<'_>, matching: &[bool]| {
            sample.stack.iter().any(|location| matching[location.row()])
        };
        self.keep(|sample| {
            focused
                .as_ref()
                .is_none_or(|matching| through(sample, matching))
                && !ignored
                    .as_ref()
                    .is_some_and(|matching| through(sample, matching))
                && filter.labels.iter().all(|wanted| has(sample, wanted))
        });
    }

    fn keep(&mut self, wanted: impl Fn(&SampleRef<'_>) -> bool) {
        let mut import = Import::new(self.like());
        for sample in self.samples().filter(wanted) {
            import.add(self, &sample, sample.values);
        }
        *self = import.done();
    }

    /// For each location, whether it matches.
    fn matching(&self, wanted: &Regex) -> Vec<bool> {
        let functions = self
            .functions()
            .map(|(_, function)| wanted.is_match(function.name) || wanted.is_match(function.file));
        let functions: Vec<bool> = functions.collect();
        let mappings = self
            .mappings()
            .map(|(_, mapping)| wanted.is_match(mapping.file));
        let mappings: Vec<bool> = mappings.collect();
        let locations = self.locations().map(|(_, location)| {
            let mut lines = location.lines.iter();
            lines.any(|line| functions[line.function.row()])
                || location
                    .mapping
                    .is_some_and(|mapping| mappings[mapping.row()])
        });
        locations.collect()
    }
}

fn has(sample: &SampleRef<'_>, wanted: &LabelFilter) -> bool {
    let mut labels = sample.labels().filter(|label| label.key == wanted.key);
    labels.any(|label| label.value.to_string() == wanted.value)
}
