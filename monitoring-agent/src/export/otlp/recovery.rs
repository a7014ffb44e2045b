//! Begins what panics anew. Knows nothing of what that is.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

use monitoring::otlp::Backoff;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::error;

use super::Order;
use crate::panics;

/// Whoever has worked for so long is not paused for panics from before.
const CALM: Duration = Duration::from_mins(5);

/// Works until what `make` gives ends by itself; what has panicked is given up with all that it had,
/// and `make` gives another. Between panics there are pauses that get longer; an order, and an end
/// that is ordered, cut them short; what panics after that is not begun anew. `panicked` is called for each.
pub(super) async fn working<T, Work: Future<Output = ()>>(
    what: &str,
    mut orders: watch::Receiver<Order<T>>,
    mut make: impl FnMut() -> Work,
    panicked: impl Fn(),
) {
    let mut backoff = Backoff::default();
    loop {
        let begun = Instant::now();
        let Err(panic) = caught(async { make().await }).await else {
            return;
        };
        panicked();
        if begun.elapsed() >= CALM {
            backoff.reset();
        }
        let pause = backoff.wait(None);
        tell(what, panics::message(&*panic), pause);
        let end = orders.borrow_and_update().end;
        if end.is_some_and(|end| begun.into_std() >= end) {
            return;
        }
        let until = Instant::now() + pause;
        let until = end.map_or(until, |end| until.min(end.into()));
        tokio::select! {
            () = sleep_until(until) => {}
            _ = orders.changed() => {}
        }
    }
}

fn tell(what: &str, panic: &str, pause: Duration) {
    let seconds = pause.as_secs_f64();
    let line = || {
        error!(
            "what sends {what} has panicked: {panic}; what it was sending is lost, and counted; \
             others are sent again in {seconds:.1} s"
        );
    };
    // The log may be what panics.
    let _ = catch_unwind(AssertUnwindSafe(line));
}

/// What a future comes to, or its panic.
async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut work = pin!(work);
    poll_fn(|context| {
        // It is never polled again after a panic, and whatever it had is dropped.
        let poll = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        match poll {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// An order without anything to do.
    const ORDER: Order<()> = Order {
        settings: None,
        end: None,
    };

    #[tokio::test(start_paused = true)]
    async fn pauses_get_longer_until_it_works() {
        let (_orders, ordered) = watch::channel(ORDER);
        let (begins, panics) = (RefCell::new(Vec::new()), Cell::new(0));
        let make = || {
            begins.borrow_mut().push(Instant::now());
            let count = begins.borrow().len();
            async move {
                tokio::task::yield_now().await;
                assert!(count > 10, "as the test wants it");
            }
        };
        working("things", ordered, make, || panics.set(panics.get() + 1)).await;
        let begins = begins.into_inner();
        assert_eq!((begins.len(), panics.get()), (11, 10));
        let pauses: Vec<_> = begins.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let (first, last) = (pauses[0], pauses[9]);
        assert!(first <= Duration::from_millis(260), "{pauses:?}");
        assert!(last >= Duration::from_secs(15), "{pauses:?}");
        assert!(last <= Duration::from_secs(31), "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn long_work_is_no_repetition() {
        let (_orders, ordered) = watch::channel(ORDER);
        let (begins, ends) = (Cell::new(0), RefCell::new(Vec::new()));
        let make = || {
            begins.set(begins.get() + 1);
            let (count, begun, ends) = (begins.get(), Instant::now(), &ends);
            async move {
                if let Some(end) = ends.borrow().last() {
                    let pause: Duration = begun - *end;
                    assert!(pause <= Duration::from_millis(260), "{pause:?}");
                }
                tokio::time::sleep(CALM).await;
                ends.borrow_mut().push(Instant::now());
                assert!(count > 10, "as the test wants it");
            }
        };
        let panics = Cell::new(0);
        working("things", ordered, make, || panics.set(panics.get() + 1)).await;
        assert_eq!((begins.get(), panics.get()), (11, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_cuts_a_pause_short() {
        let (orders, ordered) = watch::channel(ORDER);
        let begins = RefCell::new(Vec::new());
        let make = || {
            begins.borrow_mut().push(Instant::now());
            let count = begins.borrow().len();
            async move { assert!(count > 10, "as the test wants it") }
        };
        let begun = Instant::now();
        let ordering = async {
            // Long enough for pauses to be long.
            tokio::time::sleep(Duration::from_secs(40)).await;
            while begins.borrow().len() < 11 {
                orders.send_replace(ORDER);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::join!(working("things", ordered, make, || ()), ordering);
        assert!(begun.elapsed() < Duration::from_secs(41));
        // And so does an end.
        let end = Instant::now() + Duration::from_secs(5);
        orders.send_modify(|order| order.end = Some(end.into_std()));
        let make = || async move { assert!(Instant::now() >= end, "as the test wants it") };
        working("things", orders.subscribe(), make, || ()).await;
        assert!(end.elapsed() < Duration::from_millis(10));
    }

    #[tokio::test]
    async fn what_it_had_is_dropped_before_it_begins_anew() {
        struct Had<'a>(&'a Cell<u32>);
        impl Drop for Had<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let (_orders, ordered) = watch::channel(ORDER);
        let (begins, dropped) = (Cell::new(0), Cell::new(0));
        let make = || {
            assert_eq!(begins.get(), dropped.get());
            begins.set(begins.get() + 1);
            let (count, had) = (begins.get(), Had(&dropped));
            async move {
                tokio::task::yield_now().await;
                assert!(count > 1, "as the test wants it");
                drop(had);
            }
        };
        working("things", ordered, make, || ()).await;
        assert_eq!((begins.get(), dropped.get()), (2, 2));
    }
}
