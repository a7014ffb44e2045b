//! Nothing is lost uncounted, and nothing grows without a bound, whatever comes.

use proptest::prelude::*;

use super::rig::{MINUTE, Rig};
use crate::{
    sources::trace::{
        assembler::{HOLD_NS, MAX_HELD},
        testing::{call, disk, header, process as ended},
    },
    spans::{DropReason, QueueLimits, Totals},
};

const START: u64 = 10 * MINUTE;

fn dropped(totals: &Totals, reason: DropReason) -> u64 {
    let mut dropped = totals.dropped.iter();
    let found = dropped.find(|(known, _)| *known == reason);
    found.unwrap().1
}

#[test]
fn what_does_not_fit_while_parents_are_waited_for_is_dropped_and_counted() {
    let mut rig = Rig::new();
    let more = 1_000;
    for sector in 0..MAX_HELD as u64 + more {
        let record = disk(header(7, "reader"), (START, START + 9), START - 1, sector);
        rig.take(&record, START);
        assert!(rig.assembler().held() <= MAX_HELD);
    }
    assert_eq!(dropped(&rig.totals(), DropReason::HoldFull), more);
    assert_eq!(rig.totals().waiting, MAX_HELD as u64);
    rig.end(START);
    rig.sent();
    let totals = rig.totals();
    assert_eq!(totals.exported, MAX_HELD as u64 + 1, "and a root");
    assert_eq!(totals.waiting, 0);
}

#[test]
fn what_does_not_fit_while_processes_are_looked_at_is_dropped_and_counted() {
    let mut rig = Rig::new();
    rig.looks = false;
    let more = 1_000;
    for start in 0..MAX_HELD as u64 + more {
        rig.take(
            &call(header(7, "reader"), START + start, START + start),
            START,
        );
        assert!(rig.assembler().held() <= MAX_HELD);
    }
    assert_eq!(dropped(&rig.totals(), DropReason::HoldFull), more);
    rig.end(START);
    rig.sent();
    assert_eq!(rig.totals().waiting, 0);
}

#[test]
fn records_that_are_none_are_counted() {
    let mut rig = Rig::new();
    rig.take(&[], START);
    rig.take(&[0xff; 300], START);
    let whole = call(header(7, "reader"), START, START + 1);
    rig.take(&whole[..whole.len() - 1], START);
    assert_eq!(dropped(&rig.totals(), DropReason::Malformed), 3);
    assert_eq!(rig.totals().waiting, 0);
}

#[test]
fn what_a_reader_held_that_ended_without_a_word_is_counted() {
    let mut rig = Rig::new();
    rig.looks = false;
    // One waits for a look at its process, and has a root; another waits for its parent.
    rig.take(&call(header(7, "reader"), START, START + 1), START);
    rig.take(
        &disk(header(8, "reader"), (START, START + 9), START - 1, 1),
        START,
    );
    assert_eq!(rig.totals().waiting, 3);
    drop(rig.assembler.take());
    let totals = rig.totals();
    assert_eq!(dropped(&totals, DropReason::Abandoned), 3);
    assert_eq!(totals.waiting, 0);
}

#[derive(Clone, Debug)]
enum Step {
    Call {
        pid: u32,
        at: u64,
        lasts: u64,
    },
    Disk {
        pid: u32,
        at: u64,
        call: Option<u64>,
    },
    End {
        pid: u32,
    },
    Garbage(Vec<u8>),
    Wait(u64),
    Send,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pid = 1_u32..4;
    let at = 0_u64..20;
    let step = prop_oneof![
        8 => (pid.clone(), at.clone(), 0_u64..MINUTE)
            .prop_map(|(pid, at, lasts)| Step::Call { pid, at, lasts }),
        8 => (pid.clone(), at.clone(), prop::option::of(at))
            .prop_map(|(pid, at, call)| Step::Disk { pid, at, call }),
        1 => pid.prop_map(|pid| Step::End { pid }),
        1 => prop::collection::vec(any::<u8>(), 0..300).prop_map(Step::Garbage),
        4 => (0..MINUTE).prop_map(Step::Wait),
        2 => Just(Step::Send),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_span_is_exported_or_dropped_or_waiting(steps in steps(), room in 0_usize..12) {
        let mut rig = Rig::with(QueueLimits { spans: room, bytes: usize::MAX });
        let mut now = START;
        let mut ids = std::collections::HashSet::new();
        let (mut sent, mut repeated) = (0, 0);
        for step in steps {
            let at = |at: u64| START + at * HOLD_NS;
            match step {
                Step::Call { pid, at: start, lasts } => {
                    rig.take(&call(header(pid, "a"), at(start), at(start) + lasts), now);
                }
                Step::Disk { pid, at: start, call } => {
                    let call = call.map_or(0, at);
                    rig.take(&disk(header(pid, "a"), (at(start), at(start) + 5), call, 1), now);
                }
                Step::End { pid } => rig.take(&ended(header(pid, "a"), now), now),
                Step::Garbage(bytes) => rig.take(&bytes, now),
                Step::Wait(passed) => {
                    now += passed;
                    rig.turn(now);
                }
                Step::Send => {}
                Step::Restart => {
                    rig.end(now);
                    rig.begin();
                }
            }
            let batch = rig.sent();
            sent += batch.len() as u64;
            for sent in batch {
                if sent.scope == "stratoswarm.trace" && !ids.insert(sent.span.span_id) {
                    repeated += 1;
                }
            }
            let totals = rig.totals();
            let all: u64 = totals.generated.iter().map(|(_, count)| count).sum();
            let lost: u64 = totals.dropped.iter().map(|(_, count)| count).sum();
            prop_assert_eq!(totals.exported, sent);
            prop_assert_eq!(all, sent + lost + totals.waiting);
            let open = rig.assembler().open_roots() as u64;
            prop_assert_eq!(totals.waiting, rig.assembler().held() as u64 + open);
        }
        prop_assert_eq!(repeated, 0, "roots that were told of twice");
        rig.end(now);
        let left = rig.sent().len() as u64;
        let totals = rig.totals();
        prop_assert_eq!((totals.exported, totals.waiting), (sent + left, 0));
    }
}
