//! Snapshots as a table: `name,type,labels,value`, a row for each value.
//!
//! Names are those of single values, with `_bucket`, `_sum` and `_count` of distributions; `labels`
//! is a JSON object with `le` or `quantile` last, so that any value of a label can be in it. Lines
//! end in a line feed. A field with a comma or a quote stands in quotes, and quotes in it are
//! doubled.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

use super::samples::{self, Number, Sample};
use crate::scrape::family::Families;

/// All values.
pub(super) fn write(families: &Families) -> String {
    let mut table = String::from("name,type,labels,value\n");
    for family in families {
        let kind = family.kind.name();
        for sample in family.metrics.iter().flat_map(samples::of) {
            let labels = labels(&sample).replace('"', "\"\"");
            let Sample { suffix, value, .. } = sample;
            let _ = writeln!(table, "{}{suffix},{kind},\"{labels}\",{value}", family.name);
        }
    }
    table
}

fn labels(sample: &Sample<'_>) -> String {
    let bound = sample
        .bound
        .map(|(name, end)| (name.to_owned(), Number::Real(end).to_string()));
    let labels = sample.labels.iter().cloned().chain(bound);
    let object: Map<String, Json> = labels.map(|(name, value)| (name, value.into())).collect();
    Json::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::text::{Limits, read};

    #[test]
    fn rows() {
        let text = "# TYPE a counter\na{x=\"1,\\\"\\n\"} 3\n# TYPE h histogram\n\
                    h_bucket{le=\"0.5\"} 1\nh_count 2\nh_sum 0.75\nb NaN\n";
        let want = "name,type,labels,value\n\
                    a,counter,\"{\"\"x\"\":\"\"1,\\\"\"\\n\"\"}\",3\n\
                    h_bucket,histogram,\"{\"\"le\"\":\"\"0.5\"\"}\",1\n\
                    h_bucket,histogram,\"{\"\"le\"\":\"\"+Inf\"\"}\",2\n\
                    h_sum,histogram,\"{}\",0.75\n\
                    h_count,histogram,\"{}\",2\n\
                    b,untyped,\"{}\",NaN\n";
        assert_eq!(write(&read(text, Limits::default()).unwrap()), want);
    }
}
