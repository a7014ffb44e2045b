//! An assembler whose clocks and processes are the test's.

use std::{convert::Infallible, sync::LazyLock, time::Duration};

use opentelemetry_proto::tonic::{common::v1::any_value::Value, trace::v1::Span};
use tokio::runtime::{self, Runtime};

use crate::{
    disk_operations::Operations,
    exemplars::Exemplars,
    offsets::Offsets,
    sources::trace::{assembler::*, testing::STARTED_NS},
    spans::{BatchLimits, KernelCounts, QueueLimits, Totals},
};

pub(super) const MINUTE: u64 = MINUTE_NS;

/// Asked for once: a test with many assemblers would read little else.
static OPERATIONS: LazyLock<Operations> =
    LazyLock::new(|| Operations::of_kernel(&mut Offsets::new()).unwrap());

pub(super) struct Rig {
    /// `None` once it has ended.
    pub(super) assembler: Option<Assembler>,
    pub(super) spans: Spans,
    pub(super) exemplars: Arc<Exemplars>,
    /// Whether processes are looked at as soon as there is a span of them.
    pub(super) looks: bool,
    pub(super) past: Past,
    pub(super) taken: u64,
    runtime: Runtime,
}

/// A span, and whose it is.
pub(super) struct Sent {
    pub(super) span: Span,
    pub(super) service: String,
    pub(super) scope: &'static str,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(QueueLimits {
            spans: 1_000_000,
            bytes: usize::MAX,
        })
    }

    pub(super) fn with(limits: QueueLimits) -> Self {
        let mut rig = Self {
            assembler: None,
            spans: Spans::new(limits),
            exemplars: Arc::default(),
            looks: true,
            past: Past::default(),
            taken: 0,
            runtime: runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap(),
        };
        rig.begin();
        rig
    }

    /// Starts an assembler that knows of the last one's roots.
    pub(super) fn begin(&mut self) {
        let agents = ["other", "planner"].map(str::to_owned);
        let names = Names {
            agents: agents.into(),
            operations: OPERATIONS.clone(),
            kernels: Arc::default(),
            gpus: Arc::default(),
        };
        let outputs = (self.spans.clone(), Arc::clone(&self.exemplars));
        let past = std::mem::take(&mut self.past);
        let assembler = Assembler::new(names, Host::default(), outputs, past);
        self.assembler = Some(assembler);
    }

    pub(super) fn assembler(&mut self) -> &mut Assembler {
        self.assembler.as_mut().unwrap()
    }

    /// Takes a record at a time; its process is gone when it is looked at.
    pub(super) fn take(&mut self, record: &[u8], now_ns: u64) {
        self.taken += 1;
        let looks = self.looks;
        let assembler = self.assembler();
        assembler.take(record, now_ns);
        if looks {
            for process in assembler.processes.take_wanted() {
                assembler.processes.found(process, None);
            }
            assembler.turn(now_ns, |_| true);
        }
    }

    /// Lets time pass, with all processes alive.
    pub(super) fn turn(&mut self, now_ns: u64) {
        self.assembler().turn(now_ns, |_| true);
    }

    pub(super) fn end(&mut self, now_ns: u64) {
        let assembler = self.assembler.take().unwrap();
        self.past = assembler.end(now_ns, |_| true);
    }

    /// What was handed on since the last time.
    pub(super) fn sent(&self) -> Vec<Sent> {
        let limits = BatchLimits {
            spans: usize::MAX,
            encoded_bytes: usize::MAX,
            patience: Duration::ZERO,
        };
        if self.spans.queue.is_empty() {
            return Vec::new();
        }
        let batch = self
            .runtime
            .block_on(self.spans.queue.receive_batch(limits));
        let batch = batch.unwrap();
        let sent = batch.spans().iter().map(|finished| Sent {
            span: finished.span.clone(),
            service: text_of(&finished.resource.proto.attributes, "service.name").unwrap(),
            scope: finished.scope,
        });
        let sent = sent.collect();
        batch.exported(0);
        sent
    }

    /// One span of a name among those that were handed on since the last time.
    pub(super) fn sent_one(&self, name: &str) -> Sent {
        let mut sent = self.sent();
        sent.retain(|sent| sent.span.name == name);
        assert_eq!(sent.len(), 1, "spans {name}");
        sent.remove(0)
    }

    /// All counts, with what was taken as what the kernel chose.
    pub(super) fn totals(&self) -> Totals {
        let kernel = KernelCounts {
            generated: vec![("any", self.taken)],
            ..KernelCounts::default()
        };
        self.spans
            .outcomes
            .totals(|| Ok::<_, Infallible>(kernel))
            .unwrap()
    }
}

/// The process that [`testing::header`](crate::sources::trace::testing::header) is of.
pub(super) fn process(pid: u32) -> ProcessKey {
    ProcessKey {
        pid,
        start_ns: STARTED_NS,
    }
}

/// A text among attributes.
pub(super) fn text_of(
    attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue],
    key: &str,
) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}
