//! Rings that are filled and read by one thread, and by two.

use std::{
    mem::ManuallyDrop,
    panic::{self, AssertUnwindSafe},
    thread,
};

use super::{
    super::{
        context::TraceFlags,
        ids::{SpanId, TraceId},
        record::Origin,
        text::Text,
    },
    *,
};

fn record(number: u64) -> ManuallyDrop<Record> {
    let origin = Origin::new(TraceFlags::SAMPLED, false);
    // An owned name, so that a record that is freed twice is noticed.
    let name = Text::new(format!("record {number}").into());
    let ids = (TraceId::from_u128(1), SpanId::from_u64(1));
    ManuallyDrop::new(Record::begin(ids.0, ids.1, ids.1, origin, name, number))
}

/// Pushes a record, growing where there is no room, and returns whether it was taken.
fn push(producer: &Producer, number: u64, room: &Room) -> bool {
    let mut record = record(number);
    loop {
        // SAFETY: The record is whole, and is used again only when the ring is full.
        match unsafe { producer.push(&raw const *record) } {
            Pushed::Kept | Pushed::HalfFull => return true,
            Pushed::Full if producer.grow(room) => {}
            Pushed::Full => {
                // SAFETY: The ring has not taken it.
                unsafe { ManuallyDrop::drop(&mut record) };
                return false;
            }
        }
    }
}

fn read(consumer: &mut Consumer, most: usize, room: &Room) -> Vec<u64> {
    let mut numbers = Vec::new();
    let taken = consumer.read(most, room, |record| {
        assert_eq!(record.name(), format!("record {}", record.start));
        numbers.push(record.start);
    });
    assert_eq!(taken, numbers.len());
    numbers
}

#[test]
fn records_come_out_in_order_while_the_ring_grows() {
    let room = Room::new(1, 100_000);
    let (producer, mut consumer) = ring();
    assert_eq!(read(&mut consumer, usize::MAX, &room), [0_u64; 0]);
    // 128 + 512 + 2048 + 4096 records fit into all rings, of which none was read.
    let most = 128 + 512 + 2048 + 4096;
    let pushed = (0..most + 5)
        .filter(|number| push(&producer, *number, &room))
        .count();
    assert_eq!(pushed as u64, most);
    assert_eq!(
        read(&mut consumer, 100, &room),
        (0..100).collect::<Vec<_>>()
    );
    assert_eq!(
        read(&mut consumer, usize::MAX, &room),
        (100..most).collect::<Vec<_>>()
    );
    // There is room again, in the largest ring only.
    let pushed = (0..5000)
        .filter(|number| push(&producer, *number, &room))
        .count();
    assert_eq!(pushed, LARGEST);
    assert_eq!(read(&mut consumer, usize::MAX, &room).len(), LARGEST);
    consumer.close(&room);
    let left = (room.first.into_inner(), room.larger.into_inner());
    assert_eq!(left, (FIRST, 100_000), "all room was given back");
}

#[test]
fn a_ring_does_not_grow_beyond_the_room() {
    let room = Room::new(1, 10);
    let (producer, mut consumer) = ring();
    let pushed = (0..1000)
        .filter(|number| push(&producer, *number, &room))
        .count();
    assert_eq!(pushed, FIRST);
    assert_eq!(read(&mut consumer, usize::MAX, &room).len(), FIRST);
    assert!(push(&producer, 1, &room));
}

#[test]
fn it_is_said_when_a_ring_is_half_full() {
    let room = Room::new(1, 100_000);
    let (producer, mut consumer) = ring();
    assert!(producer.grow(&room));
    let answers = |count: u64| -> Vec<Pushed> {
        // SAFETY: The records are whole, and are not used again.
        let push = |number| unsafe { producer.push(&raw const *record(number)) };
        (0..count).map(push).collect()
    };
    let half = FIRST / 2;
    let first = answers(half as u64);
    assert_eq!(
        first.iter().position(|answer| *answer != Pushed::Kept),
        Some(half - 1)
    );
    assert_eq!(first[half - 1], Pushed::HalfFull);
    // Those that were read do not count.
    read(&mut consumer, half, &room);
    read(&mut consumer, usize::MAX, &room);
    assert!(
        answers(half as u64 - 1)
            .iter()
            .all(|answer| *answer == Pushed::Kept)
    );
    assert_eq!(answers(1), [Pushed::HalfFull]);
}

#[test]
fn what_nobody_reads_is_freed_with_the_ring() {
    // An address sanitizer or a leak checker would tell; so does a double free.
    let room = Room::new(1, 100_000);
    let (producer, mut consumer) = ring();
    assert!((0..1000).all(|number| push(&producer, number, &room)));
    assert_eq!(read(&mut consumer, 10, &room).len(), 10);
    drop(producer);
    drop(consumer);
}

#[test]
fn a_reader_that_panics_has_the_record_all_the_same() {
    let room = Room::new(1, 100_000);
    let (producer, mut consumer) = ring();
    assert!((0..10).all(|number| push(&producer, number, &room)));
    let mut read_until = |last: u64| {
        let take = |record: Record| assert!(record.start < last, "this is one too many");
        panic::catch_unwind(AssertUnwindSafe(|| consumer.read(usize::MAX, &room, take)))
    };
    assert!(read_until(4).is_err());
    // Records 0 to 4 were moved out, so that the ring may not drop them.
    assert_eq!(consumer.ring.read.0.load(Acquire), 5);
    assert_eq!(
        read(&mut consumer, usize::MAX, &room),
        (5..10).collect::<Vec<_>>()
    );
}

#[test]
fn nothing_is_lost_or_doubled_between_two_threads() {
    const COUNT: u64 = 200_000;
    let room = Room::new(1, 100_000);
    let (producer, mut consumer) = ring();
    thread::scope(|scope| {
        let room = &room;
        scope.spawn(move || {
            for number in 0..COUNT {
                while !push(&producer, number, room) {
                    thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while next < COUNT {
            for number in read(&mut consumer, 1000, room) {
                assert_eq!(number, next);
                next += 1;
            }
        }
    });
}
