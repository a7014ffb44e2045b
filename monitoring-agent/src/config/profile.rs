//! `[sources.profile]`: what is sampled, who may have it, and what is kept on disk.
//!
//! Knows the values and their limits; what comes of them is in `crate::profile`.

use std::{path::PathBuf, time::Duration};

use toml::de::DeValue;

use super::{
    Config,
    problem::Fault,
    values::{self, PATH_BYTES, Value},
};

/// Samples a second and CPU that `profile_sample_rate = 1` stands for. The specified default of 0.1
/// is the 19 that profilers which run all the time have in common: no divisor of the kernel's
/// ticks, so that what runs in step with them is neither always nor never seen.
const FULL_RATE_HERTZ: f64 = 190.0;

/// Most samples a second and CPU. A sample costs some microseconds: with more, what is measured is
/// the profiler.
pub const MAX_HERTZ: u32 = 1000;

/// Shortest window. A shorter one would make a file system busy with files of next to nothing.
const SHORTEST_WINDOW: Duration = Duration::from_secs(1);

/// Least room for the history: some windows of a busy node.
const LEAST_BYTES: u64 = 1 << 20;

/// `[sources.profile]`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Each is a switch of its own, not a state.
pub struct ProfileConfig {
    /// Whether profiles are taken all the time. Default true.
    pub enabled: bool,
    /// What makes a CPU take a sample. Default [`ProfileEvent::Auto`].
    pub event: ProfileEvent,
    /// Samples a second and CPU of the profile that is always taken, 1 to [`MAX_HERTZ`]. `None` for
    /// what `profile_sample_rate` stands for.
    pub hertz: Option<u32>,
    /// Whether the time off CPUs is profiled all the time, too. Default false.
    pub offcpu: bool,
    /// Whether the growth of memory is profiled all the time, too. Default false.
    pub memory: bool,
    /// Who gets profiles over HTTP. Default [`ProfileAccess::Loopback`].
    pub access: ProfileAccess,
    /// Captures on demand at one time, 1 to 16. Default 2.
    pub max_captures: u32,
    /// Whether what is sampled all the time is kept on disk. Default true.
    pub history: bool,
    /// Where it is kept. An absolute path.
    pub history_directory: PathBuf,
    /// Time that one file of it is about; a second to an hour. Default 10 min.
    pub history_window: Duration,
    /// Room that all its files may take, at least 1 MiB. Default 1 GiB.
    pub history_max_bytes: u64,
}

/// What makes a CPU take a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProfileEvent {
    /// The clock, whose number of samples is exact.
    #[default]
    Auto,
    /// The kernel's clock of each CPU.
    CpuClock,
    /// The hardware's count of CPU cycles.
    Cycles,
}

/// Who gets profiles over HTTP. They tell what a node runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProfileAccess {
    /// Whoever asks from this machine.
    #[default]
    Loopback,
    /// Whoever asks.
    Everywhere,
    /// Nobody.
    Off,
}

impl Default for ProfileConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            event: ProfileEvent::default(),
            hertz: None,
            offcpu: false,
            memory: false,
            access: ProfileAccess::default(),
            max_captures: 2,
            history: true,
            history_directory: PathBuf::from("/var/lib/stratoswarm/profiles"),
            history_window: Duration::from_mins(10),
            history_max_bytes: 1 << 30,
        }
    }
}

impl Config {
    /// Samples a second and CPU of the profile that is always taken: `hertz`, or what
    /// `profile_sample_rate` stands for. 0 for a rate of 0: none is taken.
    ///
    /// # Example
    ///
    /// ```
    /// use monitoring_agent::config::Config;
    ///
    /// assert_eq!(Config::default().profile_hertz(), 19);
    /// ```
    pub fn profile_hertz(&self) -> u32 {
        if let Some(hertz) = self.sources.profile.hertz {
            return hertz;
        }
        if self.profile_sample_rate <= 0.0 {
            return 0;
        }
        let hertz = (self.profile_sample_rate * FULL_RATE_HERTZ).round();
        // A rate is at most 1, and one that was asked for is never rounded to none.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let hertz = hertz as u32;
        hertz.max(1)
    }
}

/// Samples a second.
pub(super) fn hertz(value: Value<'_>) -> Result<Option<u32>, Fault> {
    values::whole(value, 1..=MAX_HERTZ, 19).map(Some)
}

/// What makes a CPU take a sample.
pub(super) fn event(value: Value<'_>) -> Result<ProfileEvent, Fault> {
    let cure = "use \"auto\", \"cpu-clock\" or \"cycles\"";
    match value.text("the name of an event", cure)? {
        "auto" => Ok(ProfileEvent::Auto),
        "cpu-clock" => Ok(ProfileEvent::CpuClock),
        "cycles" => Ok(ProfileEvent::Cycles),
        _ => Err(Fault::new("not an event", cure)),
    }
}

/// Who gets profiles.
pub(super) fn access(value: Value<'_>) -> Result<ProfileAccess, Fault> {
    let cure = "use \"loopback\", \"everywhere\" or \"off\"";
    match value.text("a text", cure)? {
        "loopback" => Ok(ProfileAccess::Loopback),
        "everywhere" => Ok(ProfileAccess::Everywhere),
        "off" => Ok(ProfileAccess::Off),
        _ => Err(Fault::new("not a kind of access", cure)),
    }
}

/// Time that one file is about.
pub(super) fn window(value: Value<'_>) -> Result<Duration, Fault> {
    let window = values::interval(value)?;
    if window < SHORTEST_WINDOW {
        let cure = "use a number with a unit from \"1s\" to \"1h\", for example \"10m\"";
        return Err(Fault::new("shorter than a second", cure));
    }
    Ok(window)
}

/// Where files are kept. It need not exist.
pub(super) fn directory(value: Value<'_>) -> Result<PathBuf, Fault> {
    let cure = "use the absolute path of a directory that is for this alone, for example \
                \"/var/lib/stratoswarm/profiles\"";
    let text = value.text("a path", cure)?;
    let fault = if text.is_empty() {
        "empty"
    } else if text.len() > PATH_BYTES {
        "too long"
    } else if text.chars().any(char::is_control) {
        "contains a control character"
    } else if !text.starts_with('/') {
        "does not begin with /"
    } else if text.chars().all(|character| character == '/') {
        "the root of all directories"
    } else {
        return Ok(PathBuf::from(text));
    };
    Err(Fault::new(fault, cure))
}

/// A number of bytes: a whole number, or one with a unit.
pub(super) fn bytes(value: Value<'_>) -> Result<u64, Fault> {
    let cure = "use a number of bytes of at least 1 MiB, with or without a unit (kB, MB, GB, TB, \
                KiB, MiB, GiB, TiB), for example \"1GiB\"";
    let bytes = match value {
        Value::Toml(DeValue::Integer(number)) => {
            u64::from_str_radix(number.as_str(), number.radix()).ok()
        }
        other => {
            let text = other.text("a number of bytes", cure)?;
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            let (number, unit) = text.split_at(digits);
            if number.is_empty() {
                return Err(Fault::new("does not begin with a number", cure));
            }
            let Some(unit) = unit_bytes(unit.trim_start()) else {
                return Err(Fault::new(
                    "not a whole number and a unit that is known",
                    cure,
                ));
            };
            number
                .parse()
                .ok()
                .and_then(|number: u64| number.checked_mul(unit))
        }
    };
    bytes
        .filter(|bytes| (LEAST_BYTES..=1 << 62).contains(bytes))
        .ok_or_else(|| Fault::new("out of range", cure))
}

fn unit_bytes(unit: &str) -> Option<u64> {
    Some(match unit {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    })
}
