//! OpenTelemetry's environment variables, read once. Knows nothing of what they are used for.

use std::{env, ffi::OsString};

#[cfg(feature = "otlp")]
use crate::otlp::{
    Signal,
    environment::{self, Mistake, Said},
};
use crate::trace::{TraceError, sampling::Sampling};

/// The variables that are read here, besides those of the protocol.
const VARIABLES: [&str; 6] = [
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
];

/// What the environment says. A variable that is empty counts as one that is not set.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "otlp"), derive(Default))]
pub(in crate::trace) struct Environment {
    values: Vec<(&'static str, String)>,
    /// What the variables of the protocol say, or the first that says what cannot be.
    #[cfg(feature = "otlp")]
    otlp: Result<Said, Box<Mistake>>,
}

#[cfg(feature = "otlp")]
impl Default for Environment {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            otlp: Ok(Said::default()),
        }
    }
}

impl Environment {
    /// That of this process.
    ///
    /// # Errors
    ///
    /// When a variable is no text.
    pub(in crate::trace) fn of_this_process() -> Result<Self, TraceError> {
        Self::read(|name| env::var_os(name))
    }

    fn read(value: impl Fn(&str) -> Option<OsString>) -> Result<Self, TraceError> {
        let mut values = Vec::new();
        for name in VARIABLES {
            let Some(value) = value(name) else { continue };
            let value = value.into_string().map_err(|value| {
                let value = value.to_string_lossy().into_owned();
                TraceError::environment(name, value, "a text in UTF-8")
            })?;
            let value = value.trim();
            if !value.is_empty() {
                values.push((name, value.to_owned()));
            }
        }
        Ok(Self {
            values,
            #[cfg(feature = "otlp")]
            otlp: environment::read(Signal::Traces, &value).map_err(|mistakes| {
                mistakes
                    .into_iter()
                    .next()
                    .map_or_else(Box::default, Box::new)
            }),
        })
    }

    /// What the variables of the protocol say.
    ///
    /// # Errors
    ///
    /// When one says what cannot be.
    #[cfg(feature = "otlp")]
    pub(super) fn otlp(&self) -> Result<&Said, TraceError> {
        self.otlp.as_ref().map_err(|mistake| {
            // What may be a secret is not repeated.
            let value = mistake.value.as_deref().unwrap_or("…");
            TraceError::environment(mistake.name, value, mistake.allowed.clone())
        })
    }

    /// What a variable says.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether a variable says `true`, in any case, as the specification has it for all of them.
    fn is_true(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Whether nothing at all is to be recorded.
    pub(in crate::trace) fn is_disabled(&self) -> bool {
        self.is_true("OTEL_SDK_DISABLED")
    }

    /// Which traces are recorded: the share that it says, from 0 to 1, else `otherwise`.
    ///
    /// By a sampler whose name begins with `parentbased_`, and where none is named, children go with
    /// their parents. By the others, each span is decided by itself.
    ///
    /// # Errors
    ///
    /// When it names a sampler that is none of these, or a share that is no number from 0 to 1.
    pub(in crate::trace) fn sampling(&self, otherwise: Sampling) -> Result<Sampling, TraceError> {
        const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
        const SHARE: &str = "OTEL_TRACES_SAMPLER_ARG";
        let sampler = self.get(SAMPLER).map(str::to_ascii_lowercase);
        let sampler = sampler.as_deref().unwrap_or("parentbased_traceidratio");
        let of_roots = sampler.strip_prefix("parentbased_");
        let all = match of_roots.unwrap_or(sampler) {
            "always_on" => Sampling::ALL,
            "always_off" => Sampling::NONE,
            "traceidratio" => match self.get(SHARE) {
                None => otherwise,
                Some(text) => {
                    let share = text.parse().ok().and_then(Sampling::new);
                    let error = || TraceError::environment(SHARE, text, "a number from 0 to 1");
                    share.ok_or_else(error)?
                }
            },
            _ => {
                let allowed = "always_on, always_off or traceidratio, each also with parentbased_";
                return Err(TraceError::environment(SAMPLER, sampler, allowed));
            }
        };
        Ok(match of_roots {
            Some(_) => all,
            None => all.regardless_of_parents(),
        })
    }

    /// What the variables say, for tests.
    #[cfg(test)]
    pub(super) fn of(values: &[(&str, &str)]) -> Self {
        let find = |name: &str| values.iter().find(|(other, _)| *other == name);
        for (name, _) in values {
            let is_read = VARIABLES.contains(name) || name.starts_with("OTEL_EXPORTER_OTLP_");
            assert!(is_read, "{name} is not read");
        }
        Self::read(|name| find(name).map(|(_, value)| value.into())).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn what_is_empty_is_not_set() {
        let environment = Environment::of(&[
            ("OTEL_SERVICE_NAME", " a "),
            ("OTEL_TRACES_SAMPLER", ""),
            ("OTEL_SDK_DISABLED", "TRUE"),
        ]);
        assert_eq!(environment.get("OTEL_SERVICE_NAME"), Some("a"));
        assert_eq!(environment.get("OTEL_TRACES_SAMPLER"), None);
        assert!(environment.is_disabled());
        assert!(!Environment::of(&[("OTEL_SDK_DISABLED", "1")]).is_disabled());
    }

    #[test]
    fn what_is_no_text_is_an_error() {
        let error = Environment::read(|_| Some(OsString::from_vec(vec![0xff])));
        let said = error.unwrap_err().to_string();
        assert!(said.contains("OTEL_RESOURCE_ATTRIBUTES"), "{said}");
    }

    #[test]
    fn samplers_are_shares() {
        let rate = |rate| Sampling::new(rate).unwrap();
        let otherwise = rate(0.125);
        let check = |sampler: &str, share: &str, want: Result<Sampling, &str>| {
            let values = [
                ("OTEL_TRACES_SAMPLER", sampler),
                ("OTEL_TRACES_SAMPLER_ARG", share),
            ];
            match (Environment::of(&values).sampling(otherwise), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{sampler} {share}"),
                (Err(error), Err(want)) => {
                    let said = error.to_string();
                    assert!(said.contains(want), "{said}");
                }
                (got, want) => panic!("{sampler} {share}: {got:?} instead of {want:?}"),
            }
        };
        check("", "", Ok(otherwise));
        check("", "0.25", Ok(rate(0.25)));
        check("parentbased_always_on", "0.25", Ok(rate(1.0)));
        check("parentbased_always_off", "", Ok(rate(0.0)));
        check("ParentBased_TraceIdRatio", "1", Ok(rate(1.0)));
        check("parentbased_traceidratio", "", Ok(otherwise));
        // These say it of every span, and not only of roots.
        let each = |share| Ok(rate(share).regardless_of_parents());
        check("always_on", "0.25", each(1.0));
        check("Always_Off", "", each(0.0));
        check("traceidratio", "0.25", each(0.25));
        check("traceidratio", "", each(0.125));
        check("traceidratio", "1.5", Err("a number from 0 to 1"));
        check("traceidratio", "NaN", Err("OTEL_TRACES_SAMPLER_ARG"));
        check("jaeger_remote", "", Err("jaeger_remote"));
    }
}
