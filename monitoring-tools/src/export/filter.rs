//! What of a snapshot is wanted.

use glob::Pattern;

use crate::scrape::family::{Families, Metric};

/// Names and labels that are wanted; everything, if there are none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter<'a> {
    /// Any of these names.
    pub(super) names: &'a [Pattern],
    /// All of these labels. An empty value is also that of a label that is not there.
    pub(super) labels: &'a [(String, String)],
}

impl Filter<'_> {
    /// Leaves what is wanted, and no family without a metric.
    pub(super) fn retain(&self, families: &mut Families) {
        families.retain_mut(|family| {
            let is_named = self.names.iter().any(|name| name.matches(&family.name));
            if !self.names.is_empty() && !is_named {
                return false;
            }
            family.metrics.retain(|metric| self.is_wanted(metric));
            !family.metrics.is_empty()
        });
    }

    fn is_wanted(&self, metric: &Metric) -> bool {
        let mut labels = self.labels.iter();
        labels.all(|(name, value)| metric.label(name) == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::text::{Limits, read};

    #[test]
    fn names_are_any_and_labels_are_all() {
        let check = |names: &[&str], labels: &[(&str, &str)], want: &[(&str, usize)]| {
            let text = "a_one{x=\"1\"} 1\na_one{x=\"2\",y=\"1\"} 1\na_two{x=\"1\"} 1\nb 1\n";
            let mut families = read(text, Limits::default()).unwrap();
            let names: Vec<_> = names
                .iter()
                .map(|name| Pattern::new(name).unwrap())
                .collect();
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let labels: Vec<_> = labels.iter().map(own).collect();
            let filter = Filter {
                names: &names,
                labels: &labels,
            };
            filter.retain(&mut families);
            let got: Vec<_> = families
                .iter()
                .map(|family| (family.name.as_str(), family.metrics.len()))
                .collect();
            assert_eq!(got, want, "{names:?} {labels:?}");
        };
        check(&[], &[], &[("a_one", 2), ("a_two", 1), ("b", 1)]);
        check(&["a_*"], &[], &[("a_one", 2), ("a_two", 1)]);
        check(&["a_two", "?"], &[], &[("a_two", 1), ("b", 1)]);
        check(&[], &[("x", "1")], &[("a_one", 1), ("a_two", 1)]);
        check(&["*"], &[("x", "2"), ("y", "1")], &[("a_one", 1)]);
        check(&["*"], &[("x", "")], &[("b", 1)]);
        check(&["c"], &[], &[]);
        check(&["A_*"], &[], &[]);
    }
}
