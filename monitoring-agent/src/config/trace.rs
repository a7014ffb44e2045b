//! `[sources.trace]`: which events become spans.
//!
//! Knows the values and their limits; what kernel programs make of them is in
//! `crate::tracing_globals`.

use std::time::Duration;

use monitoring_common::sched::reason;
use syscalls::Errno;
use toml::de::DeValue;

use super::{
    Config,
    problem::{Fault, nearest},
    values::Value,
};

/// Longest threshold: whoever wants a longer one wants none.
const LONGEST: Duration = Duration::from_hours(1);

/// Most spans a second of an agent.
pub(super) const MOST_SPANS: u32 = 100_000;

/// Most digits of a duration; see `values::interval`.
const DURATION_DIGITS: usize = 13;

/// Error numbers end at 133; the kernel's own ones begin at 512.
const ERRNOS: std::ops::RangeInclusive<i32> = 1..=133;

/// Errors that say that something is broken, or that something has run out.
const ERRORS: [&str; 13] = [
    "EIO",
    "ENOMEM",
    "ENODEV",
    "ENFILE",
    "EMFILE",
    "ENOSPC",
    "EDQUOT",
    "ESTALE",
    "ECONNRESET",
    "ECONNREFUSED",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "ETIMEDOUT",
];

/// Calls in which a thread has nothing to do until something happens, and the one that our own probes
/// have threads make.
const EXCLUDED: [&str; 34] = [
    "accept",
    "accept4",
    "clock_nanosleep",
    "clock_nanosleep_time64",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "futex",
    "futex_time64",
    "futex_wait",
    "futex_waitv",
    "io_getevents",
    "io_pgetevents",
    "io_pgetevents_time64",
    "io_uring_enter",
    "mq_timedreceive",
    "mq_timedreceive_time64",
    "msgrcv",
    "nanosleep",
    "pause",
    "poll",
    "ppoll",
    "ppoll_time64",
    "pselect6",
    "pselect6_time64",
    "restart_syscall",
    "rt_sigsuspend",
    "rt_sigtimedwait",
    "rt_sigtimedwait_time64",
    "select",
    "uretprobe",
    "wait4",
    "waitid",
    "waitpid",
];

/// Reasons for which a thread waits though it has something to do.
const REASONS: [u16; 4] = [
    reason::IO_WAIT,
    reason::UNINTERRUPTIBLE,
    reason::PREEMPTED,
    reason::RUNQUEUE,
];

/// `[sources.trace]`. A threshold of `None` is never reached: there are no spans of the kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceConfig {
    /// Whether the source runs. Default true; see [`Config::is_tracing`].
    pub enabled: bool,
    /// Whose events become spans. Default those of watched agents.
    pub agents: TraceAgents,
    /// System calls that last so long. Default 10 ms.
    pub slow_system_call: Option<Duration>,
    /// Disk requests, from submission to their end. Default 10 ms.
    pub slow_disk_request: Option<Duration>,
    /// TCP handshakes of connecting sides. Default 100 ms.
    pub slow_connect: Option<Duration>,
    /// TCP connections that lasted so long. Default all.
    pub connection: Option<Duration>,
    /// Threads that were off their CPU for so long. Default 20 ms.
    pub off_cpu: Option<Duration>,
    /// Why: numbers of [`reason`].
    pub off_cpu_reasons: Vec<u16>,
    /// Processes that lived so long. Default all.
    pub process: Option<Duration>,
    /// Waits for a GPU that last so long, with all that was launched for them. Default 1 ms.
    pub cuda_wait: Option<Duration>,
    /// Events of all kinds that are within a recorded span of the application. Default 10 µs.
    pub joined_minimum: Duration,
    /// Positive error numbers: what fails with one of them becomes a span, whether it is in the
    /// sample or not.
    pub errors: Vec<u32>,
    /// Names of system calls that are never spans.
    pub exclude_system_calls: Vec<String>,
    /// Spans a second of an agent, at most; those of `other` together count as one agent's. Default
    /// 100.
    pub spans_per_second: u32,
}

/// Whose events become spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceAgents {
    /// Those of watched agents.
    #[default]
    Watched,
    /// Those of all processes.
    All,
}

impl Default for TraceConfig {
    fn default() -> Self {
        let numbers = ERRORS.iter().filter_map(|name| number_of_error(name));
        Self {
            enabled: true,
            agents: TraceAgents::default(),
            slow_system_call: Some(Duration::from_millis(10)),
            slow_disk_request: Some(Duration::from_millis(10)),
            slow_connect: Some(Duration::from_millis(100)),
            connection: Some(Duration::ZERO),
            off_cpu: Some(Duration::from_millis(20)),
            off_cpu_reasons: REASONS.to_vec(),
            process: Some(Duration::ZERO),
            cuda_wait: Some(Duration::from_millis(1)),
            joined_minimum: Duration::from_micros(10),
            errors: numbers.collect(),
            exclude_system_calls: EXCLUDED.map(str::to_owned).to_vec(),
            spans_per_second: 100,
        }
    }
}

impl Config {
    /// Whether spans are made: `tracing_enabled` and `sources.trace.enabled` are true, and somebody
    /// gave an endpoint to send them to.
    ///
    /// # Example
    ///
    /// ```
    /// use monitoring_agent::config::Config;
    ///
    /// let mut config = Config::default();
    /// assert!(!config.is_tracing());
    /// config.otlp_endpoint_given = true;
    /// assert!(config.is_tracing());
    /// ```
    pub fn is_tracing(&self) -> bool {
        self.tracing_enabled && self.sources.trace.enabled && self.otlp_endpoint_given
    }

    /// What kernel programs know of tracing, `None` if nothing is traced: a family that traces starts
    /// again when it changes.
    pub fn trace_settings(&self) -> Option<(u64, &TraceConfig)> {
        let settings = (self.trace_sample_rate.to_bits(), &self.sources.trace);
        self.is_tracing().then_some(settings)
    }
}

/// Whose events become spans.
pub(super) fn agents(value: Value<'_>) -> Result<TraceAgents, Fault> {
    let cure = "use \"watched\" or \"all\"";
    match value.text("a text", cure)? {
        "watched" => Ok(TraceAgents::Watched),
        "all" => Ok(TraceAgents::All),
        _ => Err(Fault::new("neither of the two", cure)),
    }
}

/// A duration from which on something becomes a span.
pub(super) fn threshold(value: Value<'_>) -> Result<Option<Duration>, Fault> {
    let cure = "use a number with a unit from \"0s\" to \"1h\", for example \"10ms\", or \"never\"";
    if value.text("a duration", cure)? == "never" {
        return Ok(None);
    }
    duration(value, cure).map(Some)
}

/// A duration from which on something that is joined becomes a span.
pub(super) fn minimum(value: Value<'_>) -> Result<Duration, Fault> {
    let cure = "use a number with a unit from \"0s\" to \"1h\", for example \"10us\"";
    duration(value, cure)
}

fn duration(value: Value<'_>, cure: &str) -> Result<Duration, Fault> {
    let text = value.text("a duration", cure)?;
    if text.bytes().filter(u8::is_ascii_digit).count() > DURATION_DIGITS {
        return Err(Fault::new("too many digits", cure));
    }
    let duration = humantime::parse_duration(text)
        .map_err(|error| Fault::new(format!("not a duration ({error})"), cure))?;
    if duration > LONGEST {
        return Err(Fault::new("longer than one hour", cure));
    }
    Ok(duration)
}

/// Error numbers, by their names.
pub(super) fn errors(value: Value<'_>) -> Result<Vec<u32>, Fault> {
    let cure = "use a list of names of errors, for example [\"EIO\", \"ENOSPC\"]";
    names(value, "names of errors", cure, |name| {
        let unknown = || Fault::new(format!("{name:?} is no error's name"), cure);
        number_of_error(name).ok_or_else(unknown)
    })
}

/// Reasons for being off a CPU, by their names.
pub(super) fn reasons(value: Value<'_>) -> Result<Vec<u16>, Fault> {
    let cure = format!("use a list of these: \"{}\"", reason::NAMES.join("\", \""));
    names(value, "reasons", &cure, |name| {
        let known = (0..).zip(reason::NAMES).find(|(_, known)| *known == name);
        let unknown = || Fault::new(format!("{name:?} is no reason"), &*cure);
        known.map(|(number, _)| number).ok_or_else(unknown)
    })
}

/// Names of system calls, of any machine: a file is for all of them.
pub(super) fn system_calls(value: Value<'_>) -> Result<Vec<String>, Fault> {
    let cure = "use a list of names of system calls, for example [\"futex\", \"poll\"]";
    names(value, "names of system calls", cure, |name| {
        if is_system_call(name) {
            return Ok(name.to_owned());
        }
        let all = syscalls::x86_64::Sysno::iter().map(|call| call.name());
        let all: Vec<&str> = all.collect();
        let cure = nearest(name, &all).map_or_else(
            || cure.to_owned(),
            |near| format!("did you mean \"{near}\"?"),
        );
        Err(Fault::new(format!("{name:?} is no system call"), cure))
    })
}

fn is_system_call(name: &str) -> bool {
    name.parse::<syscalls::x86_64::Sysno>().is_ok()
        || name.parse::<syscalls::aarch64::Sysno>().is_ok()
        || name.parse::<syscalls::x86::Sysno>().is_ok()
        || name.parse::<syscalls::arm::Sysno>().is_ok()
}

fn names<T>(
    value: Value<'_>,
    wanted: &str,
    cure: &str,
    read: impl Fn(&str) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let Value::Toml(DeValue::Array(names)) = value else {
        return Err(value.wrong_type(&format!("a list of {wanted}"), cure));
    };
    let names = names.iter().map(|name| {
        let name = Value::Toml(name.get_ref());
        read(name.text("a name", cure)?)
    });
    names.collect()
}

fn number_of_error(name: &str) -> Option<u32> {
    let mut numbers = ERRNOS.filter(|number| Errno::new(*number).name() == Some(name));
    numbers.next().map(i32::unsigned_abs)
}
