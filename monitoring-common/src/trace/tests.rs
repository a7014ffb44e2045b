//! The arithmetic of choosing.

use super::{budget, chain, lot};

#[test]
fn a_second_has_so_many_spans() {
    let second = |number: u64| number * 1_000_000_000;
    let mut word = 0;
    for used in 1..=3 {
        word = budget::taken(word, second(7) + 5, 3).unwrap();
        assert_eq!(word, 7 << 32 | used);
    }
    assert_eq!(budget::taken(word, second(8) - 1, 3), None);
    // A CPU whose clock reading is older.
    assert_eq!(budget::taken(word, second(6), 3), None);
    assert_eq!(budget::taken(word, second(8), 3), Some(8 << 32 | 1));
    assert_eq!(budget::taken(0, second(8), 0), None);
    let check = |word, at, count, want| {
        assert_eq!(budget::taken_many(word, at, 10, count), want);
    };
    let word = |second: u64, used: u64| (second << 32) + used;
    check(0, second(7), 4, (word(7, 4), 4));
    check(word(7, 4), second(7) + 5, 9, (word(7, 10), 6));
    check(word(7, 10), second(6), 1, (word(7, 10), 0));
    check(word(7, 10), second(8), 11, (word(8, 10), 10));
    check(word(7, 11), second(7), 1, (word(7, 11), 0));
}

#[test]
fn lots_are_fair_for_calls_that_follow_each_other() {
    // 1 % of 100,000 chains are 1,000, with a standard deviation of 31.
    let limit = u32::MAX / 100;
    for step in [1, 100, 1_000, 12_345, 1 << 20] {
        let chains = (0..100_000).map(|number| chain(4_711, 1_000_000_000 + number * step));
        let chosen = chains.filter(|chain| lot(*chain) < limit).count();
        assert!((850..1_150).contains(&chosen), "{chosen} with step {step}");
    }
    let of_threads = (1..=100_000).map(|tid| chain(tid, 5_000_000_000));
    let chosen = of_threads.filter(|chain| lot(*chain) < limit).count();
    assert!((850..1_150).contains(&chosen), "{chosen} of threads");
}
