//! Lays the layers over each other: defaults, file, environment, flags.
//!
//! Owns where each layer is found and what its keys are called there. Knows no value's rule.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use super::{
    Config, ConfigError, Place, Problem, document,
    problem::{Fault, nearest, shown},
    settings::{self, Draft, LISTEN, LOG_LEVEL, MONITORING, Setting},
    values::Value,
};
use crate::cli::Flags;

/// The file that is read when neither `--config` nor `MONITORING_CONFIG` names one, if it exists.
pub const DEFAULT_FILE: &str = "/etc/stratoswarm/monitoring.toml";

/// Largest file that is read. A configuration with all that is allowed in it is far smaller.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What the variables of the environment begin with.
const PREFIX: &str = "MONITORING_";

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
        match text_of(&path, &place) {
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
        for (name, value) in environment.0 {
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

/// The `MONITORING_*` variables, by full name, that have not been used yet.
struct Environment(BTreeMap<String, OsString>);

impl Environment {
    fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut ours = BTreeMap::new();
        for (name, value) in variables {
            let name = name.to_string_lossy();
            if name.starts_with(PREFIX) {
                // Of a variable that is there twice, the first counts, as for getenv.
                ours.entry(name.into_owned()).or_insert(value);
            }
        }
        Self(ours)
    }

    fn take(&mut self, name: &str) -> Option<OsString> {
        self.0.remove(&format!("{PREFIX}{name}"))
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

/// The file's text; `None` where the default file does not exist.
fn text_of(path: &Path, place: &Place) -> Result<Option<String>, Fault> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound && *place == Place::Default => {
            return Ok(None);
        }
        Err(error) => {
            let cure = match error.kind() {
                ErrorKind::NotFound => "name a file that exists; without one, the defaults hold",
                ErrorKind::PermissionDenied => "let the agent's user read it",
                _ => "name a file that can be read",
            };
            return Err(Fault::new(format!("cannot be opened: {error}"), cure));
        }
    };
    let mut bytes = Vec::new();
    // A byte more than allowed tells a file of the largest size from one that is larger.
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| match error.kind() {
            ErrorKind::IsADirectory => Fault::new("a directory", "name the file in it"),
            _ => Fault::new(
                format!("cannot be read: {error}"),
                "name a file that can be read",
            ),
        })?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let cure = "name a configuration file; each is smaller than that";
        return Err(Fault::new("larger than 1 MiB", cure));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        Fault::new(
            format!("not UTF-8 in line {line}"),
            "save the file as UTF-8",
        )
    })
}
