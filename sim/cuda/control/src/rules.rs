//! Latency and errors on demand: what the environment asks for, as a value.

use std::collections::BTreeMap;

/// A word of a rule that means nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{rule}`: {problem}")]
pub struct Malformed {
    rule: String,
    problem: &'static str,
}

/// What is asked for, by call; `*` stands for all that are not named.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rules {
    latencies_ns: BTreeMap<String, u64>,
    errors: BTreeMap<String, ErrorRule>,
}

/// Which of a function's calls fail, and how. Calls are numbered from 1, over all threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorRule {
    /// What the call returns.
    pub code: u32,
    /// Each so many-th call fails; 1 is each.
    pub every: u64,
    /// So many calls are left alone first.
    pub after: u64,
    /// So many calls fail, and then no more.
    pub times: u64,
}

impl ErrorRule {
    /// The code of the call of this number, if it is to fail.
    pub fn at(&self, number: u64) -> Option<u32> {
        let counted = number.checked_sub(self.after)?;
        let fails = counted > 0 && counted % self.every == 0 && counted / self.every <= self.times;
        fails.then_some(self.code)
    }
}

impl Rules {
    /// `latencies` is `call=nanoseconds`, `errors` is
    /// `call=code`, with `:every=N`, `:after=N` and `:times=N` behind it; several by commas.
    pub fn parse(latencies: &str, errors: &str) -> Result<Self, Malformed> {
        let latencies_ns = pairs(latencies)?
            .into_iter()
            .map(|(call, value)| Ok((call, number(value)?)));
        let errors = pairs(errors)?
            .into_iter()
            .map(|(call, value)| Ok((call, error(value)?)));
        Ok(Self {
            latencies_ns: latencies_ns.collect::<Result<_, Malformed>>()?,
            errors: errors.collect::<Result<_, Malformed>>()?,
        })
    }

    /// How long a call takes at least.
    pub fn latency_ns(&self, call: &str) -> Option<u64> {
        named(&self.latencies_ns, call).filter(|latency_ns| *latency_ns > 0)
    }

    /// Which of a function's calls fail.
    pub fn error(&self, call: &str) -> Option<ErrorRule> {
        named(&self.errors, call)
    }

    /// All calls that are named.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &str> {
        let named = self.latencies_ns.keys().chain(self.errors.keys());
        named.map(String::as_str).filter(|call| *call != "*")
    }
}

fn named<T: Copy>(rules: &BTreeMap<String, T>, call: &str) -> Option<T> {
    rules.get(call).or_else(|| rules.get("*")).copied()
}

fn pairs(text: &str) -> Result<Vec<(String, &str)>, Malformed> {
    let rules = text
        .split(',')
        .map(str::trim)
        .filter(|rule| !rule.is_empty());
    rules
        .map(|rule| {
            let (call, value) = rule
                .split_once('=')
                .ok_or_else(|| malformed(rule, "wants call=value"))?;
            Ok((call.trim().to_owned(), value.trim()))
        })
        .collect()
}

fn error(text: &str) -> Result<ErrorRule, Malformed> {
    let mut words = text.split(':');
    let code = number(words.next().unwrap_or_default())?;
    let mut rule = ErrorRule {
        code: u32::try_from(code).map_err(|_| malformed(text, "the code is too great"))?,
        every: 1,
        after: 0,
        times: u64::MAX,
    };
    for word in words {
        let (key, value) = word
            .split_once('=')
            .ok_or_else(|| malformed(word, "wants key=value"))?;
        let value = number(value)?;
        match key {
            "every" if value > 0 => rule.every = value,
            "after" => rule.after = value,
            "times" => rule.times = value,
            _ => return Err(malformed(word, "wants every=, after= or times=")),
        }
    }
    Ok(rule)
}

fn number(text: &str) -> Result<u64, Malformed> {
    text.parse().map_err(|_| malformed(text, "wants a number"))
}

fn malformed(rule: &str, problem: &'static str) -> Malformed {
    Malformed {
        rule: rule.to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_by_call() {
        let rules = Rules::parse("cudaMalloc=1000, cuInit=0,*=5", "").unwrap();
        for (call, want) in [
            ("cudaMalloc", Some(1000)),
            ("cuInit", None),
            ("cuCtxSynchronize", Some(5)),
        ] {
            assert_eq!(rules.latency_ns(call), want, "{call}");
        }
        assert_eq!(Rules::default().latency_ns("cuInit"), None);
    }

    #[test]
    fn errors_are_by_number() {
        let case = |rule: &str, want: &[u64]| {
            let rules = Rules::parse("", &format!("call={rule}")).unwrap();
            let rule = rules.error("call").unwrap();
            let failing = (1..=10).filter(|number| rule.at(*number) == Some(2));
            assert_eq!(failing.collect::<Vec<_>>(), want);
        };
        case("2:times=2", &[1, 2]);
        case("2:every=3", &[3, 6, 9]);
        case("2:after=8", &[9, 10]);
        case("2:every=3:after=1:times=2", &[4, 7]);
        case("2:times=0", &[]);
    }

    #[test]
    fn what_means_nothing_is_said() {
        for (latencies, errors) in [
            ("cuInit", ""),
            ("cuInit=fast", ""),
            ("", "cuInit=x"),
            ("", "cuInit=1:every=0"),
            ("", "cuInit=1:sometimes"),
            ("", "cuInit=99999999999"),
        ] {
            assert!(
                Rules::parse(latencies, errors).is_err(),
                "{latencies} {errors}"
            );
        }
    }
}
