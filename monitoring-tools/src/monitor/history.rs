//! The last values of what is drawn as a line, at each snapshot one. Knows no metric.

use std::collections::{HashMap, VecDeque};

/// As many as the widest terminals have columns for.
const KEPT: usize = 256;

/// Lines that are kept at once: a node that calls its devices something else each time fills no
/// memory.
const LINES: usize = 2000;

/// Values by name, the newest last. A gap is where there was none.
#[derive(Debug, Default)]
pub(super) struct History(HashMap<String, VecDeque<Option<f64>>>);

impl History {
    /// The values of one more snapshot. What is not among them has a gap, and is forgotten when
    /// nothing but gaps is left.
    pub(super) fn push(&mut self, values: impl IntoIterator<Item = (String, Option<f64>)>) {
        for line in self.0.values_mut() {
            line.push_back(None);
            if line.len() > KEPT {
                line.pop_front();
            }
        }
        for (name, value) in values {
            if self.0.len() >= LINES && !self.0.contains_key(&name) {
                continue;
            }
            let line = self.0.entry(name).or_insert_with(|| VecDeque::from([None]));
            if let Some(last) = line.back_mut() {
                *last = value;
            }
        }
        self.0.retain(|_, line| line.iter().any(Option::is_some));
    }

    /// The newest values, at most so many, the newest last.
    pub(super) fn last(&self, name: &str, most: usize) -> Vec<Option<f64>> {
        let Some(line) = self.0.get(name) else {
            return Vec::new();
        };
        line.iter()
            .skip(line.len().saturating_sub(most))
            .copied()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_gaps_and_an_end() {
        let mut history = History::default();
        let one = |name: &str, value| [(name.to_owned(), Some(value))];
        history.push(one("a", 1.0));
        history.push(one("b", 2.0));
        history.push(one("a", 3.0));
        assert_eq!(history.last("a", 9), [Some(1.0), None, Some(3.0)]);
        assert_eq!(history.last("a", 2), [None, Some(3.0)]);
        assert_eq!(history.last("b", 9), [Some(2.0), None]);
        assert_eq!(history.last("c", 9), []);
        for _ in 0..KEPT {
            history.push(one("b", 0.0));
        }
        assert_eq!(history.last("b", usize::MAX).len(), KEPT);
        assert_eq!(history.last("a", 9), [], "only gaps were left");
        history.push((0..2 * LINES).map(|line| (line.to_string(), Some(1.0))));
        assert_eq!(history.0.len(), LINES);
    }
}
