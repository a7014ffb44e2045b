//! Maps that are too small: what does not fit is counted as lost, and nothing else is wrong.

use monitoring_agent::source::Batch;

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
        // Requests to other disks take part in the map, so that more than six may not fit.
        poll_until("six do not fit", || {
            (lost_on_their_way(&node.collect(SOURCE)) >= 6).then_some(())
        });
        drop(held_up);
    });
    let batch = node.collect(SOURCE);
    let kept = requests(&batch, &name, "read");
    assert!(kept <= 2, "{kept}");
    assert!(lost_on_their_way(&batch) >= 8 - kept);
    assert_eq!(bytes(&batch, &name, "read", ME), kept * 4096);
    assert_eq!(bytes(&batch, &name, "read", "other"), (8 - kept) * 4096);
    nothing_is_left(&mut node);
    poll_until("there is room for a request again", || {
        disk.read(&mut Data::new(), 4096, 0).unwrap();
        (requests(&node.collect(SOURCE), &name, "read") > kept).then_some(())
    });
}

/// Requests that did not fit, which nothing else is lost beside.
fn lost_on_their_way(batch: &Batch) -> u64 {
    match losses(batch)[..] {
        [] => 0,
        [("in_flight_full", lost)] => lost,
        ref other => panic!("{other:?}"),
    }
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
    // In each map another disk may have been first.
    let of = |reason| lost.iter().find(|(name, _)| *name == reason).unwrap().1;
    assert_eq!(lost.len(), 2);
    assert!([0, 3, 6].contains(&kept), "{kept}");
    assert!(kept + of("requests_full") >= 9);
    let kept_bytes = kept_bytes / 4096;
    assert!([0, 3, 6].contains(&kept_bytes), "{kept_bytes}");
    assert!(kept_bytes + of("bytes_full") >= 9);
}
