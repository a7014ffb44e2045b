//! Lays the layers over each other: defaults, file, environment, flags.
//!
//! Owns where each layer is found and what its keys are called there. Knows no value's rule.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use monitoring::config::reading::file::text_of;

use super::{
    Config, ConfigError, Place, Problem, document, otlp,
    problem::{Fault, nearest, shown},
    settings::{self, Draft, LISTEN, LOG_LEVEL, MONITORING, Setting},
    values::Value,
};
use crate::cli::Flags;

/// The file that is read when neither `--config` nor `MONITORING_CONFIG` names one, if it exists.
pub const DEFAULT_FILE: &str = "/etc/stratoswarm/monitoring.toml";

/// What the variables of the environment begin with.
const PREFIX: &str = "MONITORING_";

/// What the variables begin with that OpenTelemetry has for its protocol.
const OPENTELEMETRY: &str = "OTEL_EXPORTER_OTLP_";

/// A configuration, and what is to be said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// The least important level that is logged.
    pub log_level: tracing::Level,
    /// Sentences for the log: things that are allowed, but may not be what was meant.
    pub notes: Vec<String>,
}

/// Loads the configuration. Called at the start and again at each reload; touches no state.
///
/// `environment` is [`std::env::vars_os`], or whatever a test wants it to be.
///
/// # Errors
///
/// When anything is wrong in any layer. The error holds all problems.
///
/// # Example
///
/// ```
/// use monitoring_agent::{cli::Flags, config::load};
///
/// let flags = Flags { config: Some("/dev/null".into()), ..Flags::default() };
/// let loaded = load(&flags, [("MONITORING_METRICS_PORT".into(), "9191".into())])?;
/// assert_eq!(loaded.config.listen.port(), 9191);
///
/// let error = load(&flags, [("MONITORING_METRICS_PORT".into(), "http".into())]).unwrap_err();
/// assert!(error.to_string().contains("use a whole number from 1 to 65535"));
/// # Ok::<(), monitoring_agent::config::ConfigError>(())
/// ```
pub fn load(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, ConfigError> {
    load_with(flags, environment, Path::new(DEFAULT_FILE))
}

/// [`load`], with another place for the default file.
pub(super) fn load_with(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    default_file: &Path,
) -> Result<Loaded, ConfigError> {
    let mut environment = Environment::new(environment);
    let mut layers = Layers {
        draft: Draft::new(),
        problems: Vec::new(),
        notes: Vec::new(),
    };
    layers.read_opentelemetry(&environment);
    let file = layers.read_file(flags, &mut environment, default_file);
    layers.read_environment(environment);
    layers.read_flags(flags);
    if !layers.problems.is_empty() {
        return Err(ConfigError(layers.problems));
    }
    let Layers {
        draft, mut notes, ..
    } = layers;
    let log_level = draft.log_level;
    Ok(Loaded {
        config: draft.finish(&mut notes),
        file,
        log_level,
        notes,
    })
}

struct Layers {
    draft: Draft,
    problems: Vec<Problem>,
    notes: Vec<String>,
}

impl Layers {
    /// Reads the file, and says which it was.
    fn read_file(
        &mut self,
        flags: &Flags,
        environment: &mut Environment,
        default_file: &Path,
    ) -> Option<PathBuf> {
        let variable = environment.take("CONFIG");
        let (path, place, key) = if let Some(path) = &flags.config {
            (path.clone(), Place::CommandLine, "--config")
        } else if let Some(path) = variable {
            (PathBuf::from(path), Place::Environment, "MONITORING_CONFIG")
        } else {
            (
                default_file.to_owned(),
                Place::Default,
                "configuration file",
            )
        };
        match text_of(&path, place == Place::Default) {
            Ok(Some(text)) => {
                let problems = document::read(&path, &text, &mut self.draft, &mut self.notes);
                self.problems.extend(problems);
                Some(path)
            }
            Ok(None) => None,
            Err(fault) => {
                let value = format!("\"{}\"", path.display());
                self.problems
                    .push(fault.at(place, key.to_owned(), Some(&value)));
                None
            }
        }
    }

    fn read_opentelemetry(&mut self, environment: &Environment) {
        let lookup = |name: &str| environment.of_opentelemetry.get(name).cloned();
        let problems = otlp::read_environment(&mut self.draft, &lookup);
        self.problems.extend(problems);
    }

    fn read_environment(&mut self, mut environment: Environment) {
        for setting in MONITORING.iter().chain([&LISTEN, &LOG_LEVEL]) {
            let name = setting.key.to_ascii_uppercase();
            let Some(value) = environment.take(&name) else {
                continue;
            };
            let variable = format!("{PREFIX}{name}");
            if let Some(text) = value.to_str() {
                self.apply(setting, Place::Environment, variable, text);
            } else {
                let fault = Fault::new("not UTF-8", "set it to plain text, or unset it");
                self.report(
                    Place::Environment,
                    variable,
                    &value.to_string_lossy(),
                    fault,
                );
            }
        }
        for (name, value) in environment.ours {
            self.read_unknown(name, &value.to_string_lossy());
        }
    }

    /// A slip of a setting's name is a problem: the setting would be ignored. Any other name is
    /// left to whoever means something else by it.
    fn read_unknown(&mut self, name: String, value: &str) {
        let own = &name[PREFIX.len()..];
        let known = environment_names();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let near = nearest(&own.to_ascii_uppercase(), &known);
        match near.filter(|_| !is_of_kubernetes(own, value)) {
            Some(near) => {
                let cure =
                    format!("did you mean {PREFIX}{near}? Unset it if it is meant for others");
                let fault = Fault::new("not a setting of the agent", cure);
                self.report(Place::Environment, name, value, fault);
            }
            None => self.notes.push(format!(
                "environment: {} is not a setting of the agent",
                shown(&name)
            )),
        }
    }

    fn read_flags(&mut self, flags: &Flags) {
        let monitoring = |key| settings::find(key).expect("flags are named after settings");
        let texts = [
            ("--listen", &flags.listen, &LISTEN),
            (
                "--metrics-path",
                &flags.metrics_path,
                monitoring("metrics_path"),
            ),
            (
                "--collection-interval",
                &flags.collection_interval,
                monitoring("collection_interval"),
            ),
            ("--node", &flags.node, monitoring("node")),
            ("--node-type", &flags.node_type, monitoring("node_type")),
            ("--log-level", &flags.log_level, &LOG_LEVEL),
        ];
        for (flag, value, setting) in texts {
            if let Some(value) = value {
                self.apply(setting, Place::CommandLine, flag.to_owned(), value);
            }
        }
        self.draft.config.bpf_stats |= flags.bpf_stats;
        self.draft.config.ebpf_debug |= flags.ebpf_debug;
    }

    fn apply(&mut self, setting: &Setting, place: Place, key: String, text: &str) {
        if let Err(fault) = (setting.apply)(&mut self.draft, Value::Bare(text)) {
            self.report(place, key, text, fault);
        }
    }

    fn report(&mut self, place: Place, key: String, text: &str, fault: Fault) {
        self.problems
            .push(fault.at(place, key, Some(&format!("\"{text}\""))));
    }
}

/// The variables that say something to the agent, by full name.
struct Environment {
    /// `MONITORING_*`, those that have not been used yet.
    ours: BTreeMap<String, OsString>,
    /// `OTEL_EXPORTER_OTLP_*`.
    of_opentelemetry: BTreeMap<String, OsString>,
}

impl Environment {
    fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let (mut ours, mut of_opentelemetry) = (BTreeMap::new(), BTreeMap::new());
        for (name, value) in variables {
            let name = name.to_string_lossy();
            let kept = if name.starts_with(PREFIX) {
                &mut ours
            } else if name.starts_with(OPENTELEMETRY) {
                &mut of_opentelemetry
            } else {
                continue;
            };
            // Of a variable that is there twice, the first counts, as for getenv.
            kept.entry(name.into_owned()).or_insert(value);
        }
        Self {
            ours,
            of_opentelemetry,
        }
    }

    fn take(&mut self, name: &str) -> Option<OsString> {
        self.ours.remove(&format!("{PREFIX}{name}"))
    }
}

/// The settings' names in the environment, without [`PREFIX`].
fn environment_names() -> Vec<String> {
    let keys = MONITORING.iter().map(|setting| setting.key);
    keys.chain([LISTEN.key, LOG_LEVEL.key, "config"])
        .map(str::to_ascii_uppercase)
        .collect()
}

/// Whether Kubernetes may have set this for a service whose name begins with `monitoring`, as it
/// does for every service in each of its containers. `name` is without [`PREFIX`].
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    let name = format!("_{name}");
    let is_link = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    let is_part_of_link = ["_TCP_", "_UDP_", "_SCTP_"]
        .iter()
        .any(|protocol| name.contains(protocol));
    is_link || is_part_of_link || name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT")
}
