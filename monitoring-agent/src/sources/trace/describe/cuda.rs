//! Spans of calls into CUDA, and of windows: what was launched until it was waited for.
//!
//! A launch returns when the kernel is in its stream. Its span is that call: what the GPU does later is
//! not in it, but within its window.

mod errors;
mod states;

use std::{borrow::Cow, sync::Arc};

use monitoring_common::{
    cuda::direction,
    trace::{
        Header,
        cuda::{
            CudaDetail,
            flags::{
                BYTES, DEPTH, DEVICE_WIDE, DIRECTION, GRAPH, INCOMPLETE, POLLED, SHAPE, SHARED,
                STREAM, UNTIMED,
            },
        },
        flags::FAILED,
        kind,
    },
};
use opentelemetry_proto::tonic::{common::v1::KeyValue, trace::v1::span::SpanKind};

use self::errors::error_name;
use super::{Described, Names, Series};
use crate::{
    sources::cuda::{
        kernel_names::{self, KernelNames},
        kernels::Name,
    },
    spans::attributes::{flag, float, integer, text},
};

/// What a launch is called whose kernel nobody knows.
const UNKNOWN_KERNEL: &str = "cuda launch";

/// A window or a call.
pub(super) fn describe(header: &Header, detail: &CudaDetail, names: &Names) -> Described {
    let (call, api) = kernel_names::call(detail.call).unwrap_or(("unknown", "unknown"));
    let kind = usize::from(header.kind);
    let mut attributes = vec![
        text("stratoswarm.cuda.call", call),
        text("stratoswarm.cuda.api", api),
        integer("stratoswarm.cuda.device", detail.device),
    ];
    if detail.flags & STREAM != 0 {
        attributes.push(text("stratoswarm.cuda.stream", hexadecimal(detail.stream)));
    }
    let agent = names.agent(header.agent).to_owned();
    if kind == kind::CUDA_WINDOW {
        window(header, detail, &mut attributes);
        let mut described = Described {
            attributes,
            exemplar: Some(Series {
                metric: "gpu_kernel_execution_seconds",
                labels: vec![("agent", agent)],
            }),
            ..Described::new("cuda window", SpanKind::Internal)
        };
        states::add(header, names, &mut described);
        described.error = failure(header, api);
        return described;
    }
    let name = if kind == kind::CUDA_LAUNCH {
        launch(detail, &names.kernels, &mut attributes)
    } else {
        None
    };
    let fallback = || match (kind, detail.flags & GRAPH) {
        (kind::CUDA_LAUNCH, 0) => UNKNOWN_KERNEL,
        _ => call,
    };
    sizes(kind, detail, &mut attributes);
    let is_untimed = detail.flags & UNTIMED != 0;
    if is_untimed {
        // Its return was not looked at, so that it costs less.
        attributes.push(flag("stratoswarm.cuda.untimed", true));
    }
    let series = || Series {
        metric: "cuda_call_duration_seconds",
        labels: vec![
            ("agent", agent),
            ("api", api.to_owned()),
            ("call", call.to_owned()),
        ],
    };
    Described {
        attributes,
        error: failure(header, api),
        exemplar: (!is_untimed).then(series),
        ..Described::new(
            name.map_or(Cow::Borrowed(fallback()), |name| {
                Cow::Owned(name.label.to_string())
            }),
            SpanKind::Internal,
        )
    }
}

fn failure(header: &Header, api: &str) -> Option<Cow<'static, str>> {
    (header.flags & FAILED != 0).then(|| error_name(header.code.cast_unsigned(), api))
}

/// What a window says beyond the call that waited for it.
fn window(header: &Header, detail: &CudaDetail, attributes: &mut Vec<KeyValue>) {
    let has = |flag| detail.flags & flag != 0;
    attributes.push(flag("stratoswarm.cuda.device_wide", has(DEVICE_WIDE)));
    if !has(POLLED) {
        let waited_ns = header.end_ns.saturating_sub(detail.waited_from_ns);
        attributes.push(float(
            "stratoswarm.cuda.wait.duration",
            waited_ns as f64 / 1e9,
        ));
    }
    attributes.push(flag("stratoswarm.cuda.launches_complete", !has(INCOMPLETE)));
    if has(INCOMPLETE) && detail.launches == 0 {
        // Nobody counted them.
        return;
    }
    attributes.push(integer("stratoswarm.cuda.launches", detail.launches));
    attributes.push(integer("stratoswarm.cuda.left_out", detail.left_out));
}

/// What a launch says beyond its call; the kernel's name, if it is known.
fn launch(
    detail: &CudaDetail,
    names: &KernelNames,
    attributes: &mut Vec<KeyValue>,
) -> Option<Arc<Name>> {
    let has = |flag| detail.flags & flag != 0;
    // What is timed is the call that puts it into the stream.
    attributes.push(text("stratoswarm.cuda.time", "enqueue"));
    if has(GRAPH) {
        attributes.push(text("stratoswarm.cuda.graph", hexadecimal(detail.object)));
        return None;
    }
    attributes.push(text(
        "stratoswarm.cuda.function",
        hexadecimal(detail.object),
    ));
    if has(SHAPE) {
        let of = |numbers: [u32; 3], count| numbers.into_iter().take(count);
        let axes = ["x", "y", "z"];
        for (axis, blocks) in axes.iter().zip(of(detail.grid, 3)) {
            attributes.push(integer(&format!("stratoswarm.cuda.grid.{axis}"), blocks));
        }
        let known = if has(DEPTH) { 3 } else { 2 };
        for (axis, threads) in axes.iter().zip(of(detail.block, known)) {
            attributes.push(integer(&format!("stratoswarm.cuda.block.{axis}"), threads));
        }
    }
    if has(SHARED) {
        let bytes = detail.shared_bytes;
        attributes.push(integer("stratoswarm.cuda.shared_memory_bytes", bytes));
    }
    let name = names.name(detail.process, detail.object)?;
    attributes.push(text("stratoswarm.cuda.kernel.name", &*name.full));
    Some(name)
}

fn sizes(kind: usize, detail: &CudaDetail, attributes: &mut Vec<KeyValue>) {
    let (bytes, is_memory) = match kind {
        kind::CUDA_COPY => ("stratoswarm.cuda.copy.bytes", false),
        kind::CUDA_MEMORY => ("stratoswarm.cuda.memory.bytes", true),
        _ => ("stratoswarm.cuda.bytes", false),
    };
    if detail.flags & BYTES != 0 {
        attributes.push(integer(bytes, detail.bytes));
    }
    if detail.flags & DIRECTION != 0 {
        let name = direction::NAMES.get(usize::from(detail.direction));
        let name = name.copied().unwrap_or("unknown");
        attributes.push(text("stratoswarm.cuda.copy.direction", name));
    }
    if is_memory && detail.object != 0 {
        let pointer = hexadecimal(detail.object);
        attributes.push(text("stratoswarm.cuda.memory.pointer", pointer));
    }
}

fn hexadecimal(number: u64) -> String {
    format!("{number:#x}")
}

#[cfg(test)]
mod tests;
