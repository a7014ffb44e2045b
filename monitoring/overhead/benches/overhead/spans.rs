//! Nanoseconds of a span's start and end, where all spans are exported, and where none is.
//!
//! Between two chunks the exporters catch up, in nobody's time: what would be lost costs less than
//! what is recorded, and here everything is to be recorded. What happens when a collector cannot
//! keep up is measured by [`crate::sustained`].

mod exported;
mod fastrace;
mod library;
mod opentelemetry;
mod tracing;

use std::sync::Arc;

pub(crate) use exported::Exported;

use crate::{
    Measurement,
    load::{Load, Outcome, Subject},
    rounds::{Comparison, Expects},
};

/// Children of one root, which are a chunk: few enough for the queues of all subjects.
const OPERATIONS: u64 = 1_000;
const CHUNKS: u64 = 200;

/// Spans that are exported nowhere need no pauses: as many times in a chunk.
const UNSAMPLED_TIMES: u64 = 50;
const UNSAMPLED_CHUNKS: u64 = 20;

/// What a child says of itself.
const TAGS: [(&str, &str); 2] = [("db.type", "postgres"), ("db.operation", "select")];
const ROOT: &str = "process_request";
const CHILD: &str = "database_query";

/// A library that exports into a counter.
pub(crate) struct Pipeline {
    /// Hands over everything that has ended by now, and waits for that.
    pub(crate) flush: Box<dyn Fn()>,
    pub(crate) exported: Arc<Exported>,
    /// How many spans the library itself says that it has lost, if it says.
    pub(crate) said_lost: Box<dyn Fn() -> Option<u64>>,
}

impl Pipeline {
    /// What is done, where everything is to be exported.
    fn load(self, chunk: impl Fn() + Send + Sync + 'static, roots: u64) -> Load {
        let Self {
            flush,
            exported,
            said_lost,
        } = self;
        Load {
            chunk: Box::new(chunk),
            operations: OPERATIONS,
            chunks: CHUNKS,
            settle: flush,
            outcome: Box::new(move || Outcome {
                // The roots of children are none of the operations.
                recorded: Some(exported.spans() * OPERATIONS / (OPERATIONS + roots)),
                said_lost: said_lost(),
            }),
        }
    }

    /// What is done, where nothing is to be exported.
    fn unsampled(self, chunk: impl Fn() + Send + Sync + 'static) -> Load {
        let load = self.load(move || (0..UNSAMPLED_TIMES).for_each(|_| chunk()), 0);
        Load {
            operations: UNSAMPLED_TIMES * OPERATIONS,
            chunks: UNSAMPLED_CHUNKS,
            settle: Box::new(|| {}),
            ..load
        }
    }
}

const ALL_CHILDREN: Comparison = Comparison {
    name: "children",
    title: "ns per child span with two tags, start and end; all are exported",
    subjects: &[
        Subject {
            name: "monitoring: of the current span",
            begin: library::children,
        },
        Subject {
            name: "monitoring: with_parent",
            begin: library::explicit_children,
        },
        Subject {
            name: "tracing, monitoring's layer",
            begin: library::layered_children,
        },
        Subject {
            name: "fastrace: LocalSpan",
            begin: fastrace::children,
        },
        Subject {
            name: "opentelemetry_sdk",
            begin: opentelemetry::children,
        },
        Subject {
            name: "tracing, registry, a layer that counts",
            begin: tracing::children,
        },
        Subject {
            name: "tracing, tracing-opentelemetry",
            begin: tracing::bridged_children,
        },
    ],
    expects: Expects::Exported,
};

const ALL_ROOTS: Comparison = Comparison {
    name: "roots",
    title: "ns per root span, start and end; all are exported",
    subjects: &[
        Subject {
            name: "monitoring",
            begin: library::roots,
        },
        Subject {
            name: "fastrace: Span::root",
            begin: fastrace::roots,
        },
        Subject {
            name: "opentelemetry_sdk",
            begin: opentelemetry::roots,
        },
        Subject {
            name: "tracing, registry, a layer that counts",
            begin: tracing::roots,
        },
        Subject {
            name: "tracing, tracing-opentelemetry",
            begin: tracing::bridged_roots,
        },
    ],
    expects: Expects::Exported,
};

const NO_CHILDREN: Comparison = Comparison {
    name: "unsampled",
    title: "ns per child span with two tags of a trace that is not sampled",
    subjects: &[
        Subject {
            name: "monitoring",
            begin: library::unsampled,
        },
        Subject {
            name: "fastrace: LocalSpan",
            begin: fastrace::unsampled,
        },
        Subject {
            name: "opentelemetry_sdk",
            begin: opentelemetry::unsampled,
        },
        Subject {
            name: "tracing, of a level that is off",
            begin: tracing::unsampled,
        },
        Subject {
            name: "tracing, tracing-opentelemetry",
            begin: tracing::bridged_unsampled,
        },
    ],
    expects: Expects::Nothing,
};

pub(crate) const CHILDREN: Measurement = Measurement {
    name: ALL_CHILDREN.name,
    measure: || ALL_CHILDREN.measure(),
    work: |words| ALL_CHILDREN.work(words),
};

pub(crate) const ROOTS: Measurement = Measurement {
    name: ALL_ROOTS.name,
    measure: || ALL_ROOTS.measure(),
    work: |words| ALL_ROOTS.work(words),
};

pub(crate) const UNSAMPLED: Measurement = Measurement {
    name: NO_CHILDREN.name,
    measure: || NO_CHILDREN.measure(),
    work: |words| NO_CHILDREN.work(words),
};

/// A library under a collector that may be slow: what it takes to begin, and its root spans.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) begin: fn(Arc<Exported>) -> Pipeline,
    /// A root's start and end.
    pub(crate) root: fn(),
}

pub(crate) const SUSTAINED: [Peer; 3] = [
    Peer {
        name: "monitoring",
        begin: library::begin,
        root: library::root,
    },
    Peer {
        name: "fastrace",
        begin: fastrace::begin,
        root: fastrace::root,
    },
    Peer {
        name: "opentelemetry_sdk",
        begin: opentelemetry::begin,
        root: opentelemetry::root,
    },
];
