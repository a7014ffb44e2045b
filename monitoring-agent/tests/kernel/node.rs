//! A node with chosen sources running, and questions to ask of it.

use std::sync::Arc;

use aya::maps::MapData;
use monitoring_agent::{
    config::{AgentRule, Config},
    exemplars::Exemplars,
    gpu_states::GpuStates,
    labels::Labels,
    loader::SharedMaps,
    offsets::Offsets,
    profile::profiler::Profiler,
    source::{Batch, Source},
    sources::{SOURCES, StartContext, cuda::kernel_names::KernelNames, trace::PastRoots},
    spans::{QueueLimits, Spans},
};
use prometheus::proto::{Metric, MetricFamily};
use tokio::runtime::Runtime;

/// The agent that this test process belongs to.
pub(crate) const ME: &str = "kernel-suite";

/// Room for the spans of a test.
const ROOM: QueueLimits = QueueLimits {
    spans: 100_000,
    bytes: 256 << 20,
};

/// Running sources; they stop when it is dropped.
pub(crate) struct Node {
    pub(crate) labels: Arc<Labels>,
    pub(crate) exemplars: Arc<Exemplars>,
    pub(crate) spans: Spans,
    past_roots: Arc<PastRoots>,
    gpu_states: Arc<GpuStates>,
    kernel_names: Arc<KernelNames>,
    shared: SharedMaps,
    sources: Vec<(&'static str, Box<dyn Source>)>,
    /// Tracepoints that the sources are told this kernel lacks.
    hidden: &'static [&'static str],
    // Last, so that it outlives what runs on it.
    runtime: Runtime,
}

impl Node {
    /// Starts sources that label this process [`ME`].
    pub(crate) fn start(names: &[&str]) -> Self {
        Self::with(names, |_| {})
    }

    /// Starts sources by a changed configuration.
    pub(crate) fn with(names: &[&str], change: impl FnOnce(&mut Config)) -> Self {
        Self::limited(names, &[], change)
    }

    /// Starts sources by a changed configuration, as on a kernel without these tracepoints.
    pub(crate) fn lacking(
        hidden: &'static [&'static str],
        names: &[&str],
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::made(names, &[], hidden, change)
    }

    /// Starts sources by a changed configuration, with maps of these names made so small.
    pub(crate) fn limited(
        names: &[&str],
        limits: &[(&'static str, u32)],
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::made(names, limits, &[], change)
    }

    /// All of these at once.
    pub(crate) fn made(
        names: &[&str],
        limits: &[(&'static str, u32)],
        hidden: &'static [&'static str],
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let config = changed(change);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut node = Self {
            labels: Arc::new(Labels::new(&config.agents)),
            exemplars: Arc::default(),
            spans: Spans::new(ROOM),
            past_roots: Arc::default(),
            gpu_states: Arc::default(),
            kernel_names: Arc::default(),
            shared: SharedMaps::with_limits(limits),
            sources: Vec::new(),
            hidden,
            runtime,
        };
        for name in names {
            node.start_source(name, &config);
        }
        node
    }

    /// Starts sources whose maps of these names have room for so many entries only.
    pub(crate) fn with_limits(names: &[&str], limits: &[(&'static str, u32)]) -> Self {
        Self::limited(names, limits, |_| {})
    }

    /// Stops one source.
    pub(crate) fn stop(&mut self, source: &str) {
        self.sources.retain(|(name, _)| *name != source);
    }

    /// Starts one source again.
    pub(crate) fn restart(&mut self, source: &str, change: impl FnOnce(&mut Config)) {
        self.stop(source);
        self.start_source(source, &changed(change));
    }

    fn start_source(&mut self, source: &str, config: &Config) {
        let inside = self.runtime.enter();
        let entry = SOURCES.iter().find(|entry| entry.name == source);
        let entry = entry.unwrap_or_else(|| panic!("no source {source}"));
        let started = (entry.start)(&mut StartContext {
            config,
            labels: &self.labels,
            shared: &self.shared,
            offsets: &mut Offsets::without(self.hidden),
            profiler: &Profiler::new(&self.labels, &self.shared),
            history: None,
            exemplars: &self.exemplars,
            gpu_states: &self.gpu_states,
            kernel_names: &self.kernel_names,
            spans: &self.spans,
            past_roots: &self.past_roots,
            at_once: false,
        });
        let started = started.unwrap_or_else(|error| panic!("{source}: {error}"));
        self.sources.push((entry.name, started));
        drop(inside);
    }

    /// One of the maps that all sources share; a source that uses it has been started.
    pub(crate) fn map(&self, name: &str) -> MapData {
        let map = self.shared.get(name).unwrap();
        map.unwrap_or_else(|| panic!("no source has brought the map {name}"))
    }

    /// Whether some source has brought a shared map of this name.
    pub(crate) fn has_map(&self, name: &str) -> bool {
        self.shared.get(name).unwrap().is_some()
    }

    /// A source's current numbers.
    pub(crate) fn collect(&mut self, source: &str) -> Batch {
        self.try_collect(source).unwrap()
    }

    /// The same of a source that may fail.
    pub(crate) fn try_collect(&mut self, source: &str) -> anyhow::Result<Batch> {
        let mut sources = self.sources.iter_mut();
        let (_, source) = sources.find(|(name, _)| *name == source).unwrap();
        source.collect()
    }
}

fn changed(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config {
        agents: vec![me()],
        ..Config::default()
    };
    change(&mut config);
    config
}

/// The rule that matches this test process.
pub(crate) fn me() -> AgentRule {
    let exe = std::env::current_exe().unwrap();
    let exe = glob::Pattern::escape(exe.to_str().unwrap());
    AgentRule {
        name: ME.to_owned(),
        exe: vec![glob::Pattern::new(&exe).unwrap()],
        ..AgentRule::default()
    }
}

/// A batch's sample with exactly these labels, if there is one.
pub(crate) fn sample<'a>(
    batch: &'a Batch,
    name: &str,
    labels: &[(&str, &str)],
) -> Option<&'a Metric> {
    let family: &MetricFamily = batch.families.iter().find(|family| family.name() == name)?;
    family.get_metric().iter().find(|metric| {
        let pairs = metric.get_label();
        let has = |(name, value): &(&str, &str)| {
            pairs
                .iter()
                .any(|pair| pair.name() == *name && pair.value() == *value)
        };
        pairs.len() == labels.len() && labels.iter().all(has)
    })
}

/// A counter's value; 0 when it has no such sample yet.
pub(crate) fn counter(batch: &Batch, name: &str, labels: &[(&str, &str)]) -> u64 {
    sample(batch, name, labels).map_or(0, count)
}

/// A counter's value. Test counts are far below 2^53, where `f64` stops being exact.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "exact counts"
)]
pub(crate) fn count(metric: &Metric) -> u64 {
    metric.get_counter().get_value() as u64
}

/// All losses of a batch that are not zero.
pub(crate) fn losses(batch: &Batch) -> Vec<(&'static str, u64)> {
    batch
        .lost
        .iter()
        .copied()
        .filter(|(_, count)| *count > 0)
        .collect()
}
