//! Metrics as text, gathered anew when they are too old.
//!
//! However many scrapes come at a time, one thread gathers and all wait for it, also when those that
//! came first have gone. Knows no HTTP.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use ::prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use bytes::Bytes;
use tokio::{
    sync::Mutex,
    task::{JoinHandle, spawn_blocking},
};

use crate::{
    MetricsCollector,
    server::{
        exposition::{self, Nothing, Syntax},
        rendered::Shared,
        stats::Stats,
    },
};

/// A collector's metrics, as they were a short while ago.
#[derive(Debug)]
pub(super) struct Renders {
    collector: MetricsCollector,
    refresh_interval: Duration,
    state: Mutex<State>,
}

/// Whoever has it waits for what it holds; the others wait for whoever has it.
#[derive(Debug, Default)]
struct State {
    /// In each of both syntaxes, as it was last asked for.
    newest: [Option<Arc<Render>>; 2],
    /// Stays when the scrape that waits for it is given up: a thread that was begun goes on, and one
    /// that hangs is to be the only one.
    gathering: Option<JoinHandle<Render>>,
}

#[derive(Debug)]
struct Render {
    syntax: Syntax,
    text: Shared,
    gathered: Instant,
}

/// Gathering panicked: a collector that is not ours did not do what it should.
#[derive(Debug)]
pub(super) struct Panicked;

impl Renders {
    pub(super) fn new(collector: MetricsCollector, refresh_interval: Duration) -> Self {
        Self {
            collector,
            refresh_interval,
            state: Mutex::default(),
        }
    }

    /// The two pieces of an answer: what all scrapes share until it is too old, and what belongs to
    /// this one. Together they are one text, or one gzip member.
    pub(super) async fn scrape(
        &self,
        syntax: Syntax,
        gzip: bool,
        stats: &Stats,
    ) -> Result<[Bytes; 2], Panicked> {
        let render = self.newest(syntax, gzip).await?;
        let tail = tail(stats, render.gathered.elapsed(), syntax).into_bytes();
        Ok(if gzip {
            render.text.gzip(&tail)
        } else {
            render.text.identity(tail)
        })
    }

    /// Metrics that are not too old, or were gathered after this was called. Compressed, if that is
    /// wanted.
    async fn newest(&self, syntax: Syntax, gzip: bool) -> Result<Arc<Render>, Panicked> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        loop {
            if let Some(render) = &state.newest[syntax as usize]
                && (render.gathered >= asked || render.gathered.elapsed() < self.refresh_interval)
            {
                if gzip && !render.text.is_compressed() {
                    let render = Arc::clone(render);
                    let compressed = spawn_blocking(move || render.text.compress());
                    compressed.await.map_err(|_| Panicked)?;
                }
                return Ok(Arc::clone(render));
            }
            let is_own = state.gathering.is_none();
            let gathering = state
                .gathering
                .get_or_insert_with(|| gather(self.collector.clone(), syntax, gzip));
            let gathered = gathering.await;
            state.gathering = None;
            match gathered {
                Ok(render) => {
                    let syntax = render.syntax;
                    state.newest[syntax as usize] = Some(Arc::new(render));
                }
                // That of somebody who has gone says nothing of what is now.
                Err(_) if !is_own => {}
                Err(_) => return Err(Panicked),
            }
        }
    }
}

/// Gathers in a thread that may wait: it takes milliseconds where there are many metrics, and
/// whatever collectors take that are not ours. To compress takes as long.
fn gather(collector: MetricsCollector, syntax: Syntax, gzip: bool) -> JoinHandle<Render> {
    spawn_blocking(move || {
        let gathered = Instant::now();
        let mut text = String::new();
        exposition::write(collector.gather().iter(), syntax, &Nothing, &mut text);
        let text = Shared::new(text.into_bytes());
        if gzip {
            text.compress();
        }
        Render {
            syntax,
            text,
            gathered,
        }
    })
}

/// What the exporter says of itself, at the end of each scrape.
fn tail(stats: &Stats, age: Duration, syntax: Syntax) -> String {
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed) as f64;
    let counter = |label: &str, values: [(&str, &std::sync::atomic::AtomicU64); 3]| {
        let metrics = values.map(|(value, count)| {
            let mut counter = Counter::default();
            counter.set_value(load(count));
            let mut pair = LabelPair::default();
            pair.set_name(label.to_owned());
            pair.set_value(value.to_owned());
            let mut metric = Metric::from_label(vec![pair]);
            metric.set_counter(counter);
            metric
        });
        (MetricType::COUNTER, Vec::from(metrics))
    };
    let refused = [
        ("accept_error", &stats.accept_errors),
        ("evicted", &stats.evicted_connections),
        ("timeout", &stats.timeouts),
    ];
    let responses = [
        ("2xx", &stats.answered_2xx),
        ("4xx", &stats.answered_4xx),
        ("5xx", &stats.answered_5xx),
    ];
    let mut gauge = Gauge::default();
    // More digits than milliseconds would only be noise.
    gauge.set_value((age.as_secs_f64() * 1000.0).round() / 1000.0);
    let families = [
        (
            "monitoring_exporter_connections_refused_total",
            "Connections closed without a full answer: for room, for slowness, or not accepted.",
            counter("reason", refused),
        ),
        (
            "monitoring_exporter_metrics_age_seconds",
            "Age of the metrics that this scrape shows.",
            (MetricType::GAUGE, vec![Metric::from_gauge(gauge)]),
        ),
        (
            "monitoring_exporter_responses_total",
            "Answers to HTTP requests, by class of status.",
            counter("class", responses),
        ),
    ];
    let families = families.map(|(name, help, (kind, metrics))| {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        family
    });
    let mut text = String::new();
    exposition::write(families.iter(), syntax, &Nothing, &mut text);
    if syntax == Syntax::OpenMetrics {
        text.push_str(exposition::END);
    }
    text
}

#[cfg(test)]
mod tests;
