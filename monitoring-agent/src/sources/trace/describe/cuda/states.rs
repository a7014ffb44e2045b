//! What the GPU did while a window was open, as events of its span.

use std::borrow::Cow;

use monitoring_common::trace::Header;
use opentelemetry_proto::tonic::common::v1::KeyValue;

use super::super::{Described, Happened, Names};
use crate::{
    gpu_states::{Change, State},
    spans::attributes::{float, integer, text, texts},
};

/// Most events of one span. Errors come first, then throttling; states are thinned.
const MOST_EVENTS: usize = 32;

/// Adds what is known, and which GPU it is of.
pub(super) fn add(header: &Header, names: &Names, described: &mut Described) {
    let Some(gpu) = names.gpus.of_process(header.pid) else {
        return;
    };
    let attributes = &mut described.attributes;
    attributes.push(text("hw.id", &*gpu.uuid));
    attributes.push(text("hw.name", &*gpu.name));
    attributes.push(text("hw.type", "gpu"));
    attributes.push(integer("stratoswarm.gpu.number", gpu.number));
    let changes = names
        .gpus
        .between(&gpu.uuid, header.start_ns, header.end_ns);
    let count = changes.len();
    let changes = fitting(changes);
    let dropped = count - changes.len();
    described.dropped_events = u32::try_from(dropped).unwrap_or(u32::MAX);
    described.events.extend(
        changes
            .into_iter()
            .map(|change| happened(change, header.start_ns)),
    );
}

/// How much a change may be left out: errors last of all.
fn rank(change: &Change) -> usize {
    match change {
        Change::Xid(..) => 0,
        Change::Throttled(..) | Change::Released(..) => 1,
        Change::State(_) => 2,
    }
}

/// As many as may be, in their order. Of those of a rank that do not all fit, the first and the last
/// are kept, and as many between them, evenly.
fn fitting(changes: Vec<Change>) -> Vec<Change> {
    let mut counts = [0; 3];
    for change in &changes {
        counts[rank(change)] += 1;
    }
    let mut room = MOST_EVENTS;
    let kept = counts.map(|count: usize| {
        let kept = count.min(room);
        room -= kept;
        kept
    });
    let mut seen = [0; 3];
    let mut is_kept = |change: &Change| {
        let rank = rank(change);
        let (place, kept, last) = (seen[rank], kept[rank], counts[rank] - 1);
        seen[rank] += 1;
        if place == 0 || kept == 0 {
            return kept > 0;
        }
        // Steps from 0 to the number of those that follow the first.
        let step = |place: usize| place * (kept - 1) / last;
        step(place) != step(place - 1)
    };
    changes
        .into_iter()
        .filter(|change| is_kept(change))
        .collect()
}

fn happened(change: Change, start_ns: u64) -> Happened {
    let at_ns = change.at_ns();
    let (name, attributes) = match change {
        Change::State(state) => ("gpu state", of_state(&state, start_ns)),
        Change::Throttled(_, reason) => ("gpu throttling begun", reason_of(reason)),
        Change::Released(_, reason) => ("gpu throttling ended", reason_of(reason)),
        Change::Xid(_, code) => ("gpu xid", vec![integer("stratoswarm.gpu.xid", code)]),
    };
    Happened {
        // What was so before is so when the window begins.
        at_ns: at_ns.max(start_ns),
        name: Cow::Borrowed(name),
        attributes,
    }
}

fn reason_of(reason: &'static str) -> Vec<KeyValue> {
    vec![text("stratoswarm.gpu.throttle_reason", reason)]
}

fn of_state(state: &State, start_ns: u64) -> Vec<KeyValue> {
    let mut attributes = Vec::new();
    for (key, value) in [
        ("stratoswarm.gpu.utilization", state.utilization_ratio),
        ("stratoswarm.gpu.sm_clock_hertz", state.sm_hertz),
        ("stratoswarm.gpu.power_watts", state.power_watts),
        ("stratoswarm.gpu.temperature_celsius", state.celsius),
    ] {
        attributes.extend(value.map(|value| float(key, value)));
    }
    let used = state.memory_used_bytes;
    attributes.extend(used.map(|used| integer("stratoswarm.gpu.memory_used_bytes", used)));
    let reasons = state.throttled.iter().copied();
    attributes.push(texts("stratoswarm.gpu.throttle_reasons", reasons));
    if state.at_ns < start_ns {
        let age_ns = start_ns - state.at_ns;
        let age = age_ns as f64 / 1e9;
        attributes.push(float("stratoswarm.gpu.reading_age_seconds", age));
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(at_ns: u64) -> Change {
        Change::State(State {
            at_ns,
            ..State::default()
        })
    }

    #[test]
    fn errors_and_throttling_are_kept_and_states_are_thinned() {
        let mut changes: Vec<_> = (0..60).map(state).collect();
        changes.extend([
            Change::Throttled(60, "sw_power_cap"),
            state(61),
            Change::Xid(62, 79),
        ]);
        let kept = fitting(changes.clone());
        assert_eq!(kept.len(), MOST_EVENTS);
        let ats: Vec<_> = kept.iter().map(Change::at_ns).collect();
        assert!(ats.is_sorted());
        assert!(kept.contains(&changes[60]) && kept.contains(&changes[62]));
        assert_eq!(ats[0], 0, "the oldest state");
        assert!(kept.contains(&state(61)), "the newest state");
        let gaps = ats.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.max() <= Some(3), "{ats:?}");
    }

    #[test]
    fn errors_come_before_all_else_and_few_changes_stay_as_they_are() {
        let few: Vec<_> = (0..MOST_EVENTS as u64).map(state).collect();
        assert_eq!(fitting(few.clone()), few);
        let mut many: Vec<_> = (0..40).map(|at| Change::Throttled(at, "any")).collect();
        many.extend((40..100).map(|at| Change::Xid(at, at)));
        many.push(state(100));
        let kept = fitting(many);
        assert_eq!(kept.len(), MOST_EVENTS);
        assert!(kept.iter().all(|change| rank(change) == 0));
        assert_eq!((kept[0].at_ns(), kept[31].at_ns()), (40, 99));
        assert_eq!(fitting(Vec::new()), []);
    }
}
