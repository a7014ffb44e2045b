//! A batch that is sent in parts, of which the time to end finds some sent and some not. The collector
//! is this test's own.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use monitoring::trace::TraceStats;

use crate::{
    answers::{answer, builder},
    collector::DEADLINE,
    poll::poll_until,
};

const SPANS: u64 = 9;

/// Each span that ended is in one of them.
fn check(stats: TraceStats, exported: u64) {
    let dropped = stats.dropped_buffer_full + stats.dropped_refused + stats.dropped_shut_down;
    let ended = stats.recorded + stats.sampled_out + stats.without_sink + stats.dropped_buffer_full;
    assert_eq!(ended, SPANS, "{stats:?}");
    assert_eq!(
        (stats.exported, stats.exported + stats.sampled_out + dropped),
        (exported, SPANS),
        "{stats:?}"
    );
}

#[test]
fn each_part_is_counted_as_what_became_of_it() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (accept, accepted) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let collector = thread::spawn(move || {
        // Nine are too many. Of four it takes all, and over the next four it broods.
        for status in [413, 200] {
            answer(listener.accept().unwrap().0, status, "").unwrap();
        }
        let (connection, _) = listener.accept().unwrap();
        accept.send(()).unwrap();
        // For as long as the test looks at the tracer.
        let _ = released.recv();
        let taken = answer(connection, 200, "").is_ok();
        (taken, listener)
    });
    let tracer = builder(&url)
        .queue(usize::try_from(SPANS).unwrap())
        .build()
        .unwrap();
    for number in 0..SPANS {
        tracer.start_span("work").with_tag("number", number).end();
    }
    assert!(!tracer.flush(Duration::ZERO));
    accepted.recv_timeout(DEADLINE).unwrap();
    assert_eq!(tracer.stats().exported, 4);
    let asked = Instant::now();
    assert!(!tracer.shutdown(Duration::from_millis(100)));
    assert!(asked.elapsed() < DEADLINE);
    check(tracer.stats(), 4);
    drop(release);
    // The answer comes after all.
    poll_until("the answer", || (tracer.stats().exported > 4).then_some(()));
    let (taken, listener) = collector.join().unwrap();
    assert!(taken);
    // The last one is not sent, as the time is over.
    assert!(!tracer.shutdown(DEADLINE));
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
    check(tracer.stats(), 8);
}
