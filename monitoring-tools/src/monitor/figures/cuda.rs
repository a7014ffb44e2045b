//! Calls into CUDA: kernels, calls, copies.

use std::collections::BTreeSet;

use super::{ROWS, name};
use crate::monitor::{change::Change, distribution::Quantile};

/// What applications ask of CUDA.
#[derive(Debug)]
pub(in crate::monitor) struct Cuda {
    /// By launches per second, the most first.
    pub(in crate::monitor) kernels: Vec<Kernel>,
    /// By calls per second, the most first.
    pub(in crate::monitor) calls: Vec<Call>,
    /// Bytes per second that were copied, by direction.
    pub(in crate::monitor) copies: Vec<(String, Option<f64>)>,
    /// Bytes that applications hold.
    pub(in crate::monitor) allocated: Option<f64>,
    /// Threads that wait for a GPU, on average.
    pub(in crate::monitor) waiting: Option<f64>,
    /// Calls that failed, per second.
    pub(in crate::monitor) errors: Option<f64>,
}

/// A kernel, of all agents and devices.
#[derive(Debug)]
pub(in crate::monitor) struct Kernel {
    pub(in crate::monitor) name: String,
    pub(in crate::monitor) launches: Option<f64>,
    /// Since the agent started.
    pub(in crate::monitor) total: Option<f64>,
    pub(in crate::monitor) devices: String,
    pub(in crate::monitor) agents: String,
}

/// A call, of all agents and of both interfaces.
#[derive(Debug)]
pub(in crate::monitor) struct Call {
    pub(in crate::monitor) name: String,
    pub(in crate::monitor) calls: Option<f64>,
    pub(in crate::monitor) total: Option<f64>,
    pub(in crate::monitor) p50: Option<Quantile>,
    pub(in crate::monitor) p99: Option<Quantile>,
    pub(in crate::monitor) errors: Option<f64>,
}

const LAUNCHES: &str = "gpu_kernel_launches_total";
const CALLS: &str = "cuda_calls_total";

impl Cuda {
    pub(super) fn of(change: &Change<'_>) -> Self {
        let new = change.new;
        let kernels = new
            .values_of(LAUNCHES, "kernel_type")
            .into_iter()
            .take(ROWS);
        let mut kernels: Vec<Kernel> = kernels.map(|kernel| self::kernel(change, kernel)).collect();
        kernels.sort_by(|one, two| by_rate((two.launches, two.total), (one.launches, one.total)));
        let calls = new.values_of(CALLS, "call").into_iter().take(ROWS);
        let mut calls: Vec<Call> = calls.map(|call| self::call(change, call)).collect();
        calls.sort_by(|one, two| by_rate((two.calls, two.total), (one.calls, one.total)));
        let copied = "cuda_memcpy_bytes_total";
        let directions = new.values_of(copied, "direction").into_iter().take(ROWS);
        Self {
            kernels,
            calls,
            copies: directions
                .map(|way| (name(way), change.rate(copied, &[("direction", way)])))
                .collect(),
            allocated: new.value("cuda_allocated_bytes", &[]),
            waiting: change.rate("cuda_sync_wait_seconds_total", &[]),
            errors: change.rate("cuda_errors_total", &[]),
        }
    }

    /// Whether there is nothing to be told.
    pub(in crate::monitor) fn is_empty(&self) -> bool {
        self.kernels.is_empty() && self.calls.is_empty()
    }
}

fn kernel(change: &Change<'_>, kernel: &str) -> Kernel {
    let wanted = &[("kernel_type", kernel)];
    let join = |label: &str| {
        let with = change.new.with(LAUNCHES, wanted);
        let values: BTreeSet<&str> = with.map(|metric| metric.label(label)).collect();
        let values: Vec<String> = values.into_iter().take(ROWS).map(name).collect();
        name(&values.join(","))
    };
    Kernel {
        name: name(kernel),
        launches: change.rate(LAUNCHES, wanted),
        total: change.new.value(LAUNCHES, wanted),
        devices: join("device_id"),
        agents: join("agent"),
    }
}

fn call(change: &Change<'_>, call: &str) -> Call {
    let wanted = &[("call", call)];
    let durations = change.distribution("cuda_call_duration_seconds", wanted);
    let quantile = |share| durations.as_ref().and_then(|all| all.quantile(share));
    Call {
        name: name(call),
        calls: change.rate(CALLS, wanted),
        total: change.new.value(CALLS, wanted),
        p50: quantile(0.5),
        p99: quantile(0.99),
        errors: change.rate("cuda_errors_total", wanted),
    }
}

/// Ascending by rate, and by total where rates are the same.
fn by_rate(one: (Option<f64>, Option<f64>), two: (Option<f64>, Option<f64>)) -> std::cmp::Ordering {
    let number = |value: Option<f64>| value.unwrap_or(-1.0);
    let rates = number(one.0).total_cmp(&number(two.0));
    rates.then(number(one.1).total_cmp(&number(two.1)))
}
