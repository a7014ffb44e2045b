//! A second try for the few tests of a suite that fail while all others pass.
//!
//! They count the events of a machine that others use, or of one that is emulated, so a test may fail
//! for the machine's sake. What fails because of the code fails twice. A test that passes at the second
//! try is named in the summary, and its first failure stands in the output: that it needs one is a fault
//! of the test.

use anyhow::Result;

use super::report::Outcome;

/// Tests of one suite that may be tried again. When more fail it is not the machine.
const MOST: usize = 3;

/// Runs a suite and, where only few tests failed, those once more.
pub(super) fn with_second_try(
    first: impl FnOnce() -> Result<Outcome>,
    only: impl FnOnce(&[String]) -> Result<Outcome>,
) -> Result<Outcome> {
    let outcome = first()?;
    if outcome.problem.is_none() || !can_be_tried(&outcome) {
        return Ok(outcome);
    }
    println!("\n== once more: {}", outcome.failures.join(", "));
    let second = only(&outcome.failures)?;
    Ok(together(outcome, &second))
}

/// Whether all that is wrong with a suite are a few tests with names.
fn can_be_tried(outcome: &Outcome) -> bool {
    let named = outcome.failures.len();
    named > 0 && named <= MOST && named as u64 == outcome.totals.failed
}

/// What both tries say. Only if everything passes at the second, the suite passes.
fn together(mut first: Outcome, second: &Outcome) -> Outcome {
    let tried = first.totals.failed;
    if second.problem.is_none() && second.totals.failed == 0 && second.totals.passed >= tried {
        first.totals.passed += tried;
        first.totals.failed = 0;
        first.problem = None;
        first.second_try = std::mem::take(&mut first.failures);
    }
    first
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;
    use crate::test::report::Totals;

    fn outcome(passed: u64, failures: &[&str]) -> Outcome {
        Outcome {
            totals: Totals {
                passed,
                failed: failures.len() as u64,
                ignored: 0,
            },
            problem: (!failures.is_empty()).then(|| "exit status: 101".to_owned()),
            failures: failures.iter().copied().map(str::to_owned).collect(),
            second_try: Vec::new(),
        }
    }

    fn run(first: Outcome, second: Option<Outcome>) -> Outcome {
        with_second_try(
            || Ok(first),
            |_| match second {
                Some(second) => Ok(second),
                None => bail!("nothing was to be tried again"),
            },
        )
        .unwrap()
    }

    #[test]
    fn what_passes_at_the_second_try_is_named() {
        let outcome_of_both = run(outcome(7, &["a::b", "c"]), Some(outcome(2, &[])));
        assert_eq!(outcome_of_both.totals, outcome(9, &[]).totals);
        assert_eq!(outcome_of_both.problem, None);
        assert_eq!(outcome_of_both.second_try, ["a::b", "c"]);
    }

    #[test]
    fn what_fails_twice_has_failed() {
        let first = outcome(7, &["a::b", "c"]);
        for second in [outcome(1, &["c"]), outcome(1, &[]), outcome(0, &[])] {
            assert_eq!(run(first.clone(), Some(second)).totals, first.totals);
        }
        let mut torn = outcome(2, &[]);
        torn.problem = Some("it took too long".to_owned());
        assert!(run(first, Some(torn)).problem.is_some());
    }

    #[test]
    fn only_few_tests_with_names_are_tried_again() {
        // All passed; many failed; one has no name; the suite failed without a test that did.
        run(outcome(7, &[]), None);
        run(outcome(7, &["a", "b", "c", "d"]), None);
        let mut unnamed = outcome(7, &["a"]);
        unnamed.totals.failed = 2;
        run(unnamed, None);
        let mut broken = outcome(7, &[]);
        broken.problem = Some("exit status: 101".to_owned());
        run(broken, None);
    }
}
