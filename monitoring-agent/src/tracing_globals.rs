//! What kernel programs of all families know of tracing: which events become spans, by the
//! configuration, and where this kernel keeps what tells whose they are.
//!
//! Names and shapes are those of `monitoring_ebpf::trace`. A family's object has those that its
//! programs use; the loader leaves out the others.

use std::time::Duration;

use monitoring_common::trace::{KINDS, kind, switch};

use crate::{
    config::{Config, TraceAgents, TraceConfig},
    loader,
    source::StartError,
    sources::StartContext,
};

/// From which duration on a call into CUDA is a span though its window is none, where shorter waits are
/// ones: otherwise each launch would be.
const SLOW_CALL: Duration = Duration::from_millis(1);

/// Words of the bitmap of error numbers.
const ERRNO_WORDS: usize = 8;

/// Kinds of events of which a shorter one is never a span, also within a span of the application: a
/// gap ends in another thread's name, a connection and a process are chosen at their end.
const ALONE: [usize; 3] = [kind::OFF_CPU, kind::TCP_CONNECTION, kind::PROCESS];

/// The register by which a thread finds its variables, as a task that is not on a CPU has it. The
/// kernel writes it too when the register is set by a call, as C libraries do.
#[cfg(target_arch = "x86_64")]
const REGISTER_FIELD: &str = "thread.fsbase";
#[cfg(target_arch = "aarch64")]
const REGISTER_FIELD: &str = "thread.uw.tp_value";

/// Values of globals, by name.
pub type Globals = Vec<(&'static str, Vec<u32>)>;

/// The globals of tracing; `None` where nothing is traced, and none of it is to be in the kernel.
///
/// # Errors
///
/// When the kernel describes itself in a way that this agent does not understand.
pub fn globals(context: &mut StartContext<'_>) -> Result<Option<Globals>, StartError> {
    if !context.config.is_tracing() {
        return Ok(None);
    }
    let mut globals = choices(context.config);
    for (name, field) in [
        ("TRACE_LEADER_OFFSET", "group_leader"),
        ("TRACE_COMM_OFFSET", "comm"),
        ("TRACE_START_OFFSET", "start_boottime"),
        ("TRACE_REGISTER_OFFSET", REGISTER_FIELD),
    ] {
        let offset = loader::field(context.offsets, "task_struct", field)?;
        globals.push((name, vec![offset]));
    }
    Ok(Some(globals))
}

/// What the configuration chooses.
fn choices(config: &Config) -> Globals {
    let trace = &config.sources.trace;
    let mut on = switch::ON;
    if trace.agents == TraceAgents::Watched {
        on |= switch::WATCHED_ONLY;
    }
    let slow = slow_ns(trace);
    let joined = nanoseconds(trace.joined_minimum);
    let mut least = slow;
    for kind in (0..KINDS).filter(|kind| !ALONE.contains(kind) && slow[*kind] != u64::MAX) {
        least[kind] = slow[kind].min(joined);
    }
    vec![
        ("TRACE", vec![on]),
        ("TRACE_RATE", vec![parts(config.trace_sample_rate)]),
        ("TRACE_CAP", vec![trace.spans_per_second]),
        ("TRACE_SLOW_NS", words(&slow)),
        ("TRACE_LEAST_NS", words(&least)),
        ("TRACE_ERRNOS", bits(&trace.errors)),
        ("TRACE_REASONS", vec![mask(&trace.off_cpu_reasons)]),
    ]
}

/// The thresholds, by kind.
fn slow_ns(trace: &TraceConfig) -> [u64; KINDS] {
    let mut slow = [u64::MAX; KINDS];
    // What belongs to a window is chosen with it, however long it lasts.
    let alone = trace.cuda_wait.map(|wait| wait.max(SLOW_CALL));
    for (kind, threshold) in [
        (kind::SYSTEM_CALL, trace.slow_system_call),
        (kind::DISK_REQUEST, trace.slow_disk_request),
        (kind::TCP_CONNECT, trace.slow_connect),
        (kind::TCP_CONNECTION, trace.connection),
        (kind::OFF_CPU, trace.off_cpu),
        (kind::PROCESS, trace.process),
        (kind::CUDA_WINDOW, trace.cuda_wait),
        (kind::CUDA_LAUNCH, alone),
        (kind::CUDA_COPY, alone),
        (kind::CUDA_MEMORY, alone),
        (kind::CUDA_CALL, alone),
    ] {
        slow[kind] = threshold.map_or(u64::MAX, nanoseconds);
    }
    slow
}

fn nanoseconds(duration: Duration) -> u64 {
    // An hour at most.
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX - 1)
}

/// A share in parts of 2³²; the largest number is all.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is from 0 to 1, and what is too large becomes the largest number"
)]
fn parts(rate: f64) -> u32 {
    (rate * 2_f64.powi(32)).round() as u32
}

/// The words of numbers of 64 bits in the order of this machine.
pub(crate) fn words(numbers: &[u64]) -> Vec<u32> {
    let bytes: Vec<u8> = numbers
        .iter()
        .flat_map(|number| number.to_ne_bytes())
        .collect();
    let words = bytes.as_chunks().0.iter();
    words.map(|word| u32::from_ne_bytes(*word)).collect()
}

/// A bit for each number, in one word.
fn mask(numbers: &[u16]) -> u32 {
    numbers.iter().fold(0, |mask, number| {
        mask | 1_u32.unbounded_shl((*number).into())
    })
}

/// A bit for each number.
fn bits(numbers: &[u32]) -> Vec<u32> {
    let mut words = vec![0; ERRNO_WORDS];
    for number in numbers {
        if let Some(word) = words.get_mut(*number as usize / 32) {
            *word |= 1 << (number % 32);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(globals: &'a Globals, name: &str) -> &'a [u32] {
        let mut globals = globals.iter();
        &globals.find(|(known, _)| *known == name).unwrap().1
    }

    #[test]
    fn rates_are_parts() {
        assert_eq!(parts(0.0), 0);
        assert_eq!(parts(0.5), 1 << 31);
        assert_eq!(parts(0.01), 42_949_673);
        assert_eq!(parts(1.0), u32::MAX);
    }

    #[test]
    fn choices_are_those_of_the_configuration() {
        let mut config = Config::default();
        config.sources.trace.slow_system_call = Some(Duration::from_micros(5));
        config.sources.trace.slow_connect = None;
        config.sources.trace.errors = vec![5, 32, 133];
        let globals = choices(&config);
        assert_eq!(value(&globals, "TRACE"), [3]);
        assert_eq!(value(&globals, "TRACE_CAP"), [100]);
        assert_eq!(
            value(&globals, "TRACE_ERRNOS"),
            [1 << 5, 1, 0, 0, 1 << 5, 0, 0, 0]
        );
        let slow = value(&globals, "TRACE_SLOW_NS");
        let least = value(&globals, "TRACE_LEAST_NS");
        assert_eq!((slow.len(), least.len()), (2 * KINDS, 2 * KINDS));
        let of = |words: &[u32], kind: usize| {
            u64::from(words[2 * kind]) | u64::from(words[2 * kind + 1]) << 32
        };
        // Below the minimum for what is joined, a threshold is the minimum for all.
        assert_eq!(of(slow, kind::SYSTEM_CALL), 5_000);
        assert_eq!(of(least, kind::SYSTEM_CALL), 5_000);
        assert_eq!(of(slow, kind::DISK_REQUEST), 10_000_000);
        assert_eq!(of(least, kind::DISK_REQUEST), 10_000);
        assert_eq!(of(slow, kind::TCP_CONNECT), u64::MAX);
        assert_eq!(of(least, kind::TCP_CONNECT), u64::MAX);
        assert_eq!(of(slow, kind::ROOT), u64::MAX);
        config.sources.trace.agents = TraceAgents::All;
        assert_eq!(value(&choices(&config), "TRACE"), [1]);
    }
}
