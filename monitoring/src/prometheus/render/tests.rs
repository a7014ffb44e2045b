//! Who gathers for whom, with a collector that takes as long as a test wants.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Condvar, Mutex as StdMutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::Poll,
};

use prometheus::{
    Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use tokio::{
    runtime::{Builder, Runtime},
    task::yield_now,
};

use super::*;

/// Counts how often it is gathered, and hangs until it is released.
#[derive(Clone)]
struct Hanging(Arc<Gate>);

struct Gate {
    description: Desc,
    gathered: AtomicU64,
    is_released: StdMutex<bool>,
    released: Condvar,
}

impl Collector for Hanging {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.gathered.fetch_add(1, SeqCst);
        let is_released = self.0.is_released.lock().unwrap();
        let until = self.0.released.wait_while(is_released, |is| !*is);
        drop(until.unwrap());
        Vec::new()
    }
}

impl Hanging {
    fn new() -> Self {
        let (name, help) = ("foreign".to_owned(), "Foreign.".to_owned());
        Self(Arc::new(Gate {
            description: Desc::new(name, help, Vec::new(), HashMap::default()).unwrap(),
            gathered: AtomicU64::new(0),
            is_released: StdMutex::new(false),
            released: Condvar::new(),
        }))
    }

    fn renders(&self, refresh_interval: Duration) -> Renders {
        let registry = Registry::new();
        registry.register(Box::new(self.clone())).unwrap();
        let collector = MetricsCollector::isolated();
        collector.include(registry);
        Renders::new(collector, refresh_interval)
    }

    fn release(&self) {
        *self.0.is_released.lock().unwrap() = true;
        self.0.released.notify_all();
    }

    fn gathered(&self) -> u64 {
        self.0.gathered.load(SeqCst)
    }

    /// Until it is gathered for the first time.
    async fn wait_for_the_first(&self) {
        let begun = Instant::now();
        while self.gathered() == 0 {
            assert!(begun.elapsed() < Duration::from_mins(1), "nobody gathers");
            yield_now().await;
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

/// Begins to wait, as a request does that is there for a while.
async fn begin(future: Pin<&mut impl Future>) {
    let mut future = future;
    poll_fn(|context| {
        assert!(future.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[test]
fn what_was_begun_for_one_that_has_gone_is_gone_on_with() {
    let collector = Hanging::new();
    let renders = collector.renders(Duration::from_hours(1));
    runtime().block_on(async {
        for _ in 0..3 {
            begin(pin!(renders.newest(Syntax::Classic, true))).await;
        }
        collector.wait_for_the_first().await;
        collector.release();
        let render = renders.newest(Syntax::Classic, true).await.unwrap();
        assert!(render.text.is_compressed());
    });
    assert_eq!(collector.gathered(), 1);
}

#[test]
fn those_who_come_while_it_is_gathered_share_the_next() {
    let collector = Hanging::new();
    // As an interval that is shorter than the gathering.
    let renders = collector.renders(Duration::ZERO);
    runtime().block_on(async {
        let mut scrapes: Vec<_> = (0..5)
            .map(|_| Box::pin(renders.newest(Syntax::Classic, false)))
            .collect();
        begin(scrapes[0].as_mut()).await;
        collector.wait_for_the_first().await;
        for scrape in &mut scrapes[1..] {
            begin(scrape.as_mut()).await;
        }
        collector.release();
        let mut moments = Vec::new();
        for scrape in scrapes {
            moments.push(scrape.await.unwrap().gathered);
        }
        assert!(moments[0] < moments[1], "{moments:?}");
        assert!(moments[1..].iter().all(|at| *at == moments[1]));
    });
    assert_eq!(collector.gathered(), 2);
}
