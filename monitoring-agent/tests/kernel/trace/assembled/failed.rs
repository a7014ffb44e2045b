//! The thread that reads spans panics: where whoever waits for spans is woken, which is this test's own,
//! it panics once. The source that is started in its place goes on, and each span is still counted once.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use monitoring_agent::{source::Ended, spans::BatchLimits};

use super::{
    counted::outcomes,
    node,
    received::{Received, Receiver},
};
use crate::{poll::poll_until, trace::ring::traced, work};

/// What is woken when a span comes.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("as the test wants it");
    }
}

fn is_call(received: &Received) -> bool {
    received.span.name == "getppid"
}

#[test]
fn a_source_that_panicked_is_started_again_and_goes_on() {
    let mut node = node(&["getppid"], |_| ());
    let queue = Arc::clone(&node.spans.queue);
    let limits = BatchLimits {
        spans: 1,
        encoded_bytes: usize::MAX,
        patience: Duration::ZERO,
    };
    {
        let mut batch = pin!(queue.receive_batch(limits));
        let waker = Waker::from(Arc::new(Panics));
        let polled = batch.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(matches!(polled, Poll::Pending), "there is a span already");
        work::getppid(1);
        let error = poll_until("the source has failed", || node.try_collect("trace").err());
        assert!(error.is::<Ended>(), "{error:#}");
    }
    // Nobody reads these in the meantime.
    work::getppid(10);
    node.restart("trace", |config| traced(config, |_| ()));
    let mut receiver = Receiver::of(&node);
    for _ in 0..11 {
        receiver.wait_where("the calls so far", is_call);
    }
    work::getppid(5);
    for _ in 0..5 {
        receiver.wait_where("the calls behind them", is_call);
    }
    // So that roots end, and the numbers are of all of it.
    node.restart("trace", |config| traced(config, |_| ()));
    let [generated, exported, sampled_out, dropped, waiting] = poll_until("nothing waits", || {
        receiver.receive();
        let outcomes = outcomes(&node.collect("trace"));
        (outcomes[4] == 0).then_some(outcomes)
    });
    assert_eq!(generated, exported + sampled_out + dropped + waiting);
    // The root that was open, or two at the turn of a minute.
    assert!((1..=2).contains(&dropped), "{dropped}");
    assert_eq!(sampled_out, 0);
}
