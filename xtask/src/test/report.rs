//! What has passed and what has not: counts libtest's results, remembers each part, and says it
//! all once more at the end.

use std::{ops::AddAssign, process::ExitCode};

use anyhow::Result;

use crate::bounded::Captured;

/// Tests by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) ignored: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl Totals {
    /// Sums the lines in which libtest gives its results.
    pub(super) fn of(lines: &[String]) -> Self {
        let mut totals = Self::default();
        for line in lines {
            totals += Self::of_line(line).unwrap_or_default();
        }
        totals
    }

    /// Reads `test result: ok. 12 passed; 0 failed; 1 ignored; …`. On a console other output may
    /// stand before it on the same line.
    fn of_line(line: &str) -> Option<Self> {
        let (_, results) = line.split_once("test result: ")?;
        let (_, counts) = results.split_once(". ")?;
        let mut totals = Self::default();
        for count in counts.split("; ") {
            let (number, what) = count.split_once(' ')?;
            let slot = match what {
                "passed" => &mut totals.passed,
                "failed" => &mut totals.failed,
                "ignored" => &mut totals.ignored,
                _ => continue,
            };
            *slot = number.parse().ok()?;
        }
        Some(totals)
    }

    /// The results of a test runner that has ended, with the reason if it failed.
    pub(super) fn of_run(captured: &Captured) -> Outcome {
        let mut totals = Self::of(&captured.lines);
        if captured.status.is_none() {
            // The test that ran when the time was up has no line among the results.
            totals.failed += 1;
        }
        let problem = match captured.status {
            Some(status) if status.success() => None,
            Some(status) => Some(status.to_string()),
            None => Some("it took too long, and was killed".to_owned()),
        };
        Outcome {
            totals,
            problem,
            failures: failures(&captured.lines),
            second_try: Vec::new(),
        }
    }
}

/// The tests that libtest names in the list at its end. On a console other lines may stand between
/// them, and then some are not found.
pub(super) fn failures(lines: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    let mut lines = lines.iter();
    while let Some(line) = lines.next() {
        if line == "failures:" {
            let listed = lines.by_ref().map_while(|line| line.strip_prefix("    "));
            names.extend(listed.map(str::to_owned));
        }
    }
    names
}

/// How a part ended that ran tests.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) totals: Totals,
    /// Why the part failed, if it did.
    pub(super) problem: Option<String>,
    /// The tests that failed, as far as their names are known.
    pub(super) failures: Vec<String>,
    /// The tests that failed at first, and then passed.
    pub(super) second_try: Vec<String>,
}

/// All parts, in the order in which they ran.
#[derive(Default)]
pub(crate) struct Report {
    summary: Vec<String>,
    totals: Totals,
    failed_parts: u64,
    skipped_parts: u64,
}

impl Report {
    /// Runs a part that either holds or does not.
    pub(super) fn check(&mut self, name: &str, part: impl FnOnce() -> Result<()>) {
        self.part(name, false, || part().map(|()| Outcome::default()));
    }

    /// Runs a part that counts tests.
    pub(super) fn tests(&mut self, name: &str, part: impl FnOnce() -> Result<Outcome>) {
        self.part(name, true, part);
    }

    /// Notes a part that does not apply here.
    pub(super) fn skip(&mut self, name: &str, reason: &str) {
        self.skipped_parts += 1;
        self.summary.push(format!("skipped  {name}: {reason}"));
    }

    fn part(&mut self, name: &str, counts: bool, part: impl FnOnce() -> Result<Outcome>) {
        println!("\n== {name}");
        let outcome = part().unwrap_or_else(|error| {
            println!("error: {error:#}");
            Outcome {
                problem: Some(format!("{error:#}")),
                ..Outcome::default()
            }
        });
        let Outcome {
            totals, problem, ..
        } = outcome;
        let Totals {
            passed,
            failed,
            ignored,
        } = totals;
        let counted = if counts {
            format!(": {passed} passed, {failed} failed, {ignored} ignored")
        } else {
            String::new()
        };
        self.totals += totals;
        self.summary.push(match problem {
            None => format!("passed   {name}{counted}"),
            Some(problem) => {
                if failed == 0 {
                    // The last line must not look like success.
                    self.failed_parts += 1;
                }
                // A list of findings has been printed already.
                let first = problem.lines().next().unwrap_or_default();
                format!("FAILED   {name}{counted} ({first})")
            }
        });
        for test in outcome.second_try {
            let line = format!("         {test}: failed, and passed at the second try");
            self.summary.push(line);
        }
    }

    /// Whether no test has run, and nothing failed or was skipped that would explain it.
    pub(super) fn is_empty(&self) -> bool {
        self.totals == Totals::default() && self.failed_parts + self.skipped_parts == 0
    }

    /// The last line: tests that passed and failed. A part that failed without a failed test, such
    /// as one that was not compiled, counts as one failure.
    fn last_line(&self) -> String {
        let failed = self.totals.failed + self.failed_parts;
        format!("{} passed, {failed} failed", self.totals.passed)
    }

    /// Prints the summary. The status is a failure if any part failed.
    pub(crate) fn finish(self) -> ExitCode {
        println!("\n== summary");
        for line in &self.summary {
            println!("{line}");
        }
        println!("{}", self.last_line());
        if self.totals.failed + self.failed_parts > 0 {
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn totals(passed: u64, failed: u64, ignored: u64) -> Totals {
        Totals {
            passed,
            failed,
            ignored,
        }
    }

    #[test]
    fn reads_the_lines_of_libtest() {
        let check = |line: &str, want| assert_eq!(Totals::of_line(line), want, "{line}");
        let rest = "0 measured; 3 filtered out; finished in 0.00s";
        let ok = format!("test result: ok. 12 passed; 0 failed; 1 ignored; {rest}");
        check(&ok, Some(totals(12, 0, 1)));
        check(&format!("[    1.5] noise {ok}"), Some(totals(12, 0, 1)));
        let failed = format!("test result: FAILED. 3 passed; 2 failed; 0 ignored; {rest}");
        check(&failed, Some(totals(3, 2, 0)));
        check("test result: ok. many passed", None);
        check("test some::test ... ok", None);
        check("", None);
        assert_eq!(Totals::of(&[ok, String::new(), failed]), totals(15, 2, 1));
    }

    #[test]
    fn reads_the_names_of_tests_that_failed() {
        let output = "test a::b ... FAILED\nfailures:\n\n---- a::b stdout ----\n    not a name\n\n\
            failures:\n    a::b\n    c\n\ntest result: FAILED. 1 passed; 2 failed\n\
            failures:\n    d\n[ 1.5] noise\n    e\n";
        let lines: Vec<String> = output.lines().map(str::to_owned).collect();
        assert_eq!(failures(&lines), ["a::b", "c", "d"]);
    }

    #[test]
    fn what_passed_at_the_second_try_stands_in_the_summary() {
        let mut report = Report::default();
        report.tests("some", || {
            Ok(Outcome {
                totals: totals(2, 0, 0),
                second_try: vec!["a::b".to_owned()],
                ..Outcome::default()
            })
        });
        assert_eq!(report.summary.len(), 2);
        assert!(report.summary[1].contains("a::b: failed, and passed"));
        assert_eq!(report.last_line(), "2 passed, 0 failed");
    }

    #[test]
    fn the_last_line_counts_all_parts() {
        let mut report = Report::default();
        report.check("holds", || Ok(()));
        assert!(report.is_empty());
        for passed in [3, 4] {
            report.tests("some", || {
                Ok(Outcome {
                    totals: totals(passed, 0, 1),
                    ..Outcome::default()
                })
            });
        }
        assert_eq!(report.last_line(), "7 passed, 0 failed");
        assert!(!report.is_empty());
        assert_eq!(report.finish(), ExitCode::SUCCESS);
    }

    #[test]
    fn a_suite_that_was_killed_has_failed() {
        let captured = Captured {
            lines: vec!["test result: ok. 12 passed; 0 failed".to_owned()],
            status: None,
        };
        let outcome = Totals::of_run(&captured);
        assert_eq!(outcome.totals, totals(12, 1, 0));
        assert!(outcome.problem.is_some());
    }

    #[test]
    fn a_skipped_part_explains_why_no_test_ran() {
        let mut report = Report::default();
        assert!(report.is_empty());
        report.skip("some", "reason");
        assert!(!report.is_empty());
    }

    #[test]
    fn a_failed_part_is_a_failure_even_without_a_failed_test() {
        let mut report = Report::default();
        report.check("broken", || Err(anyhow!("reason\ndetails")));
        assert_eq!(report.summary, ["FAILED   broken (reason)"]);
        let problem = Some("exit status: 101".to_owned());
        report.tests("some", || {
            Ok(Outcome {
                totals: totals(5, 2, 0),
                problem,
                ..Outcome::default()
            })
        });
        assert_eq!(report.last_line(), "5 passed, 3 failed");
        assert_eq!(report.finish(), ExitCode::FAILURE);
    }
}
