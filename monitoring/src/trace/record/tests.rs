//! Records against a model that keeps everything in lists.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{super::context::SpanContext, *};

fn record() -> Record {
    let (trace_id, span_id) = (TraceId::from_u128(1), SpanId::from_u64(2));
    let origin = Origin::new(TraceFlags::SAMPLED, true);
    let name = Text::new("name".into());
    Record::begin(trace_id, span_id, SpanId::from_u64(3), origin, name, 4)
}

/// What can be said of a span.
#[derive(Clone, Debug)]
enum Said {
    Tag(&'static str, TagValue<'static>),
    Event(String),
    Link,
    Status(Status),
    State,
}

fn value() -> impl Strategy<Value = TagValue<'static>> {
    prop_oneof![
        select(vec!["", "static", "longer than a word"]).prop_map(TagValue::from),
        "[a-z]{0,9}".prop_map(TagValue::from),
        any::<i64>().prop_map(TagValue::from),
        (-1e300_f64..1e300).prop_map(TagValue::from),
        any::<bool>().prop_map(TagValue::from),
    ]
}

fn said() -> impl Strategy<Value = Said> {
    let keys = vec!["a", "b", "c", "d", "e", "f", "g", "h"];
    prop_oneof![
        8 => (select(keys), value()).prop_map(|(key, value)| Said::Tag(key, value)),
        1 => "[a-z]{1,4}".prop_map(Said::Event),
        1 => Just(Said::Link),
        1 => select(vec![Status::Unset, Status::Error("why".into()), Status::Ok])
            .prop_map(Said::Status),
        1 => Just(Said::State),
    ]
}

#[derive(Debug, Default)]
struct Model {
    tags: Vec<(&'static str, TagValue<'static>)>,
    events: Vec<String>,
    links: usize,
    status: Status,
    has_state: bool,
}

impl Model {
    fn say(&mut self, said: Said) {
        match said {
            Said::Tag(key, value) => self.tags.push((key, value)),
            Said::Event(name) => self.events.push(name),
            Said::Link => self.links += 1,
            Said::State => self.has_state = true,
            Said::Status(status) if self.status == Status::Ok || status == Status::Unset => {}
            Said::Status(status) => self.status = status,
        }
    }

    /// The last tag of each key, where it stands.
    fn tags(&self) -> Vec<(&str, TagValue<'_>)> {
        let tags = self.tags.iter().enumerate();
        let last =
            tags.filter(|(at, (key, _))| self.tags[at + 1..].iter().all(|(later, _)| later != key));
        last.map(|(_, (key, value))| (*key, value.borrowed()))
            .collect()
    }
}

fn say(record: &mut Record, said: Said) {
    match said {
        Said::Tag(key, value) => record.push_tag(key.into(), value),
        Said::Event(name) => record.push_event(Event::new(name.into(), 5, [].into_iter())),
        Said::Link => record.push_link(link()),
        Said::Status(status) => record.set_status(status),
        Said::State => record.rest_mut().trace_state = TraceState::parse("a=1"),
    }
}

fn link() -> Link {
    let context = SpanContext::new(
        TraceId::from_u128(6),
        SpanId::from_u64(7),
        TraceFlags::default(),
    );
    Link {
        context,
        tags: Vec::new(),
    }
}

proptest! {
    #[test]
    fn a_record_keeps_what_was_said(what in vec(said(), 0..24)) {
        let (mut record, mut model) = (record(), Model::default());
        for said in what {
            say(&mut record, said.clone());
            model.say(said);
        }
        prop_assert_eq!(record.tags().collect::<Vec<_>>(), model.tags());
        let rest = record.rest();
        let events = rest.map_or(&[][..], |rest| &rest.events);
        let names: Vec<&str> = events.iter().map(|event| event.name.as_ref()).collect();
        prop_assert_eq!(names, model.events.iter().map(String::as_str).collect::<Vec<_>>());
        prop_assert_eq!(rest.map_or(0, |rest| rest.links.len()), model.links);
        prop_assert_eq!(record.status(), model.status);
        prop_assert_eq!(rest.is_some_and(|rest| rest.trace_state.is_some()), model.has_state);
        // What it began with is where it was.
        prop_assert_eq!((record.name(), record.start), ("name", 4));
        prop_assert_eq!(record.flags(), TraceFlags::SAMPLED.bits());
        prop_assert!(record.parent_is_remote());
        prop_assert_eq!(record.parent_id, SpanId::from_u64(3));
    }
}

#[test]
fn what_is_beyond_the_limits_is_counted() {
    let mut record = record();
    for number in 0..140_i64 {
        record.push_tag(format!("tag{number}").into(), number.into());
        record.push_event(Event::new("event".into(), 5, [].into_iter()));
        record.push_link(link());
    }
    record.lose_tags(3);
    assert_eq!(record.tags().count(), MOST);
    assert_eq!(record.tags().last(), Some(("tag127", TagValue::Int(127))));
    let rest = record.rest().unwrap();
    assert_eq!((rest.events.len(), rest.links.len()), (MOST, MOST));
    let dropped = (rest.dropped_tags, rest.dropped_events, rest.dropped_links);
    assert_eq!(dropped, (15, 12, 12));
}

/// What a record has, with the number of dropped tags.
fn tags_of(record: &Record) -> (Vec<(&str, TagValue<'_>)>, u32) {
    let dropped = record.rest().map_or(0, |rest| rest.dropped_tags);
    (record.tags().collect(), dropped)
}

#[test]
fn keys_that_are_set_again_and_again_are_not_dropped() {
    let mut record = record();
    for number in 0..1000_i64 {
        record.push_tag("number".into(), number.into());
        record.push_tag("text".into(), number.to_string().into());
    }
    record.push_tag("last".into(), true.into());
    let want = [
        ("number", TagValue::Int(999)),
        ("text", "999".into()),
        ("last", true.into()),
    ];
    assert_eq!(tags_of(&record), (want.into(), 0));
}

#[test]
fn a_full_record_takes_new_values_of_its_keys_and_no_more_keys() {
    let keys: Vec<String> = (0..MOST).map(|number| format!("key {number}")).collect();
    let mut record = record();
    let mut set = |key: &str, value: TagValue<'static>| {
        record.push_tag(key.to_owned().into(), value);
    };
    for key in &keys {
        set(key, "first".to_owned().into());
    }
    set("one too many", true.into());
    // In the slots of the record and in its box, with values of all types.
    for (number, key) in keys.iter().enumerate() {
        set(key, "second".to_owned().into());
        set(key, number.into());
    }
    set(&keys[0], "third".to_owned().into());
    set(&keys[MOST - 1], 0.5.into());
    set("another", true.into());
    let mut want: Vec<_> = (0..MOST).map(TagValue::from).collect();
    want[0] = "third".into();
    want[MOST - 1] = 0.5.into();
    let want: Vec<_> = keys.iter().map(String::as_str).zip(want).collect();
    assert_eq!(tags_of(&record), (want, 2));
}

proptest! {
    #[test]
    fn a_record_drops_what_has_a_key_beyond_the_limit(
        set in vec((0_u8..200, value()), 0..600),
    ) {
        let mut record = record();
        let mut kept: Vec<(String, TagValue<'static>)> = Vec::new();
        let mut dropped = 0;
        for (key, value) in set {
            let key = format!("key {key}");
            record.push_tag(key.clone().into(), value.clone());
            if let Some((_, old)) = kept.iter_mut().find(|(other, _)| *other == key) {
                *old = value;
            } else if kept.len() < MOST {
                kept.push((key, value));
            } else {
                dropped += 1;
            }
        }
        let (tags, lost) = tags_of(&record);
        let mut tags: Vec<_> = tags.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        tags.sort_by(|(a, _), (b, _)| a.cmp(b));
        kept.sort_by(|(a, _), (b, _)| a.cmp(b));
        prop_assert_eq!(tags, kept);
        prop_assert_eq!(lost, dropped);
    }
}

#[test]
fn as_many_tags_fit_as_there_are_slots() {
    let mut record = record();
    for key in ["a", "b", "c", "d"] {
        record.push_tag(key.into(), true.into());
    }
    assert!(record.rest().is_none(), "four tags need no box");
    record.push_tag("e".into(), false.into());
    assert!(record.rest().is_some());
    let keys: Vec<&str> = record.tags().map(|(key, _)| key).collect();
    assert_eq!(keys, ["a", "b", "c", "d", "e"]);
}

#[test]
fn another_parent_leaves_the_rest_as_it_is() {
    let mut record = record();
    record.push_event(Event::new("event".into(), 5, [].into_iter()));
    let origin = Origin::new(TraceFlags::from_bits(3), false);
    record.adopt(TraceId::from_u128(8), SpanId::from_u64(9), origin);
    assert_eq!(record.trace_id, TraceId::from_u128(8));
    assert_eq!(record.parent_id, SpanId::from_u64(9));
    assert_eq!((record.flags(), record.parent_is_remote()), (3, false));
    assert_eq!(record.rest().unwrap().events.len(), 1);
}
