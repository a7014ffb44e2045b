//! What metrics cost in memory: all bytes that are asked of the allocator, counted by an allocator
//! around the system's. One test, so that nothing else allocates meanwhile.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicIsize, Ordering::Relaxed},
    thread,
};

use monitoring::{Counter, Family, Gauge, Histogram, MetricBuilder, MetricsCollector};

struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size().cast_signed(), Relaxed);
        // SAFETY: the caller's promise is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size().cast_signed(), Relaxed);
        // SAFETY: the caller's promise is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that something has allocated and not given back.
fn bytes_of<T>(build: impl FnOnce() -> T) -> (T, isize) {
    let before = HELD.load(Relaxed);
    let value = build();
    (value, HELD.load(Relaxed) - before)
}

/// The specification's limits: 1 KB for a metric, 10 MB for 10,000 series, all threads included.
const METRIC_BYTES: isize = 1024;
const ALL_BYTES: isize = 10_000_000;

const HELP: &str = "A text of usual length that says what is counted.";

/// 10,000 series of three kinds.
struct Metrics {
    counters: Vec<Counter>,
    gauges: Vec<Family<Gauge>>,
    histograms: Vec<Family<Histogram>>,
}

impl Metrics {
    /// Makes all series, and has the calling thread write to each.
    fn new(collector: &MetricsCollector) -> Self {
        let counters = || {
            let name = |number| format!("some_metric_with_a_usual_name_{number}_total");
            let counters = (0..2000).map(|number| collector.counter(&name(number), HELP));
            counters.inspect(Counter::inc).collect()
        };
        let (counters, bytes) = bytes_of(counters);
        report("a counter without labels", 2000, bytes);
        let gauges = || {
            let families = (0..5).map(|number| {
                let builder = MetricBuilder::new().name(&format!("some_gauge_{number}"));
                let builder = builder.help(HELP).label("path").label("status");
                builder.collector(collector).build_gauge()
            });
            families.inspect(raise).collect()
        };
        let (gauges, bytes) = bytes_of(gauges);
        report("a gauge's series with two labels", 5000, bytes);
        let histograms = || {
            let families = (0..3).map(|number| {
                let builder = MetricBuilder::new().name(&format!("some_{number}_seconds"));
                let builder = builder.help(HELP).label("path");
                builder.collector(collector).build_histogram()
            });
            families.inspect(observe).collect()
        };
        let (histograms, bytes) = bytes_of(histograms);
        report("a histogram's series with one label", 3000, bytes);
        Self {
            counters,
            gauges,
            histograms,
        }
    }

    fn write(&self) {
        self.counters.iter().for_each(Counter::inc);
        self.gauges.iter().for_each(raise);
        self.histograms.iter().for_each(observe);
    }
}

fn raise(family: &Family<Gauge>) {
    for path in paths() {
        family.at(&[&path, "200"]).inc();
    }
}

fn observe(family: &Family<Histogram>) {
    for path in paths() {
        family.at(&[&path]).observe(0.1);
    }
}

fn paths() -> impl Iterator<Item = String> {
    (0..1000).map(|path| format!("/a/path/of/usual/length/{path}"))
}

fn report(what: &str, count: isize, bytes: isize) {
    let each = bytes / count;
    println!("{what}: {each} bytes each");
    assert!(each <= METRIC_BYTES, "{what}: {each} bytes");
}

#[test]
fn metrics_cost_less_memory_than_promised() {
    // What there is once for each process.
    let ((), base) = bytes_of(|| MetricsCollector::new().counter("c_total", "Help.").inc());
    println!("base: {base} bytes");
    assert!(base < 100_000, "{base}");
    let before = HELD.load(Relaxed);

    let collector = MetricsCollector::isolated();
    let metrics = Metrics::new(&collector);
    let ((), bytes) = bytes_of(|| {
        let in_thread = || bytes_of(|| metrics.write()).1;
        let bytes = thread::scope(|scope| scope.spawn(in_thread).join().unwrap());
        report("a series' cells in one more thread", 10_000, bytes);
    });
    // They were added to those of ended threads, which take at most as much.
    report("a series' cells of ended threads", 10_000, bytes);

    let all = HELD.load(Relaxed) - before;
    println!("10,000 series: {all} bytes");
    assert!(all <= ALL_BYTES, "{all}");
    let families = collector.gather();
    let shown: usize = families
        .iter()
        .map(|family| family.get_metric().len())
        .sum();
    assert_eq!(shown, 10_000);
    drop(families);

    // What is given up is given back, but for the cells, which are there for the next metrics.
    drop((metrics, collector));
    let left = HELD.load(Relaxed) - before;
    println!("after all was dropped: {left} bytes");
    assert!(left < all / 3, "{left}");
    let again = MetricsCollector::isolated();
    let ((), bytes) = bytes_of(|| drop(Metrics::new(&again)));
    drop(again);
    println!("the same once more: {bytes} bytes");
    let left_again = HELD.load(Relaxed) - before;
    assert!(left_again <= left, "{left_again} after {left}");
}
