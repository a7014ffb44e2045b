//! Maps that are too small: what does not fit is counted as lost, and nothing else is wrong.

use super::{
    SOURCE, bytes,
    disk::{Data, Disk},
    nothing_is_left, requests,
};
use crate::{
    node::{ME, Node, losses},
    poll::poll_until,
};

#[test]
fn requests_that_do_not_fit_are_counted_as_lost() {
    let disk = Disk::new();
    let name = disk.name();
    let mut node = Node::with_limits(&["process", SOURCE], &[("IN_FLIGHT", 2)]);
    std::thread::scope(|scope| {
        let held_up = disk.backing.hold();
        for number in 0..8 {
            let disk = &disk;
            scope.spawn(move || disk.read(&mut Data::new(), 4096, number * 4096).unwrap());
        }
        poll_until("six do not fit", || {
            (losses(&node.collect(SOURCE)) == [("in_flight_full", 6)]).then_some(())
        });
        drop(held_up);
    });
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), [("in_flight_full", 6)]);
    assert_eq!(requests(&batch, &name, "read"), 2);
    assert_eq!(bytes(&batch, &name, "read", ME), 2 * 4096);
    assert_eq!(bytes(&batch, &name, "read", "other"), 6 * 4096);
    nothing_is_left(&mut node);
}

#[test]
fn sums_that_do_not_fit_are_counted_as_lost() {
    let disk = Disk::new();
    let mut data = Data::new();
    let limits = [("REQUESTS", 1), ("BYTES", 1)];
    let mut node = Node::with_limits(&["process", SOURCE], &limits);
    for _ in 0..3 {
        disk.read(&mut data, 4096, 0).unwrap();
        disk.write(&data, 4096).unwrap();
        disk.write(&data, 4096).unwrap();
    }
    let batch = node.collect(SOURCE);
    let name = disk.name();
    let kept = requests(&batch, &name, "read") + requests(&batch, &name, "write");
    let kept_bytes = bytes(&batch, &name, "read", ME) + bytes(&batch, &name, "write", ME);
    let lost = losses(&batch);
    // Another disk may have been first.
    let of = |reason| lost.iter().find(|(name, _)| *name == reason).unwrap().1;
    assert_eq!(lost.len(), 2);
    assert!([0, 3].contains(&kept), "{kept}");
    assert!(kept + of("requests_full") >= 9);
    assert!(kept_bytes == kept * 4096 || kept == 0, "{kept_bytes}");
    assert!(kept_bytes / 4096 + of("bytes_full") >= 9);
}
