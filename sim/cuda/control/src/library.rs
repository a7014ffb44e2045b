//! One library: its calls, what the environment asks of it, and the report at the end.

use std::{
    collections::BTreeMap,
    env,
    fs::OpenOptions,
    io::Write as _,
    process,
    sync::{Mutex, Once, OnceLock, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{Call, rules::Rules};

/// A stand-in for one library.
#[derive(Debug)]
pub struct Library {
    name: &'static str,
    owns: fn(&str) -> bool,
    calls: &'static [&'static [&'static Call]],
    failed: Option<fn(u32)>,
    started: Once,
}

/// What a library counted: one line of the file that `CUDA_SIM_COUNTS` names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// The library's file name, as programs know it.
    pub library: String,
    /// The process that it was in.
    pub pid: u32,
    /// Counts by exported name; those without a call are absent.
    pub calls: BTreeMap<String, Calls>,
}

/// What was counted of one exported function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// All calls, failed ones included.
    pub count: u64,
    /// Failed calls, by code.
    pub errors: BTreeMap<u32, u64>,
}

/// Libraries of this process whose counts are written at its end.
static REPORTING: Mutex<Vec<&'static Library>> = Mutex::new(Vec::new());

impl Library {
    /// A library with calls in these tables. Rules for calls whose name it owns have to be
    /// for one of them.
    pub const fn new(
        name: &'static str,
        owns: fn(&str) -> bool,
        calls: &'static [&'static [&'static Call]],
    ) -> Self {
        Self {
            name,
            owns,
            calls,
            failed: None,
            started: Once::new(),
        }
    }

    /// Has this function told of each failed call's code, on the thread that called.
    #[must_use]
    pub const fn telling(mut self, failed: fn(u32)) -> Self {
        self.failed = Some(failed);
        self
    }

    /// A call failed.
    pub(crate) fn tell(&self, code: u32) {
        if let Some(failed) = self.failed {
            failed(code);
        }
    }

    /// All exported calls.
    pub fn calls(&self) -> impl Iterator<Item = &'static Call> {
        self.calls.iter().flat_map(|table| table.iter().copied())
    }

    /// Reads the environment, at the first call.
    #[inline]
    pub(crate) fn start(&'static self) {
        if !self.started.is_completed() {
            self.started.call_once(|| self.read_environment());
        }
    }

    #[cold]
    fn read_environment(&'static self) {
        let rules = Rules::parse(&setting("CUDA_SIM_LATENCY_NS"), &setting("CUDA_SIM_ERRORS"));
        let rules = rules.unwrap_or_else(|error| self.refuse(&error.to_string()));
        for call in rules.calls() {
            if (self.owns)(call) && !self.calls().any(|known| known.name() == call) {
                self.refuse(&format!("there is no call `{call}`"));
            }
        }
        self.calls().for_each(|call| call.follow(&rules));
        if env::var_os("CUDA_SIM_COUNTS").is_some() {
            let mut reporting = REPORTING.lock().unwrap_or_else(PoisonError::into_inner);
            if reporting.is_empty() {
                // SAFETY: the handler takes no arguments, and lives as long as this library, whose
                // removal runs it.
                unsafe { libc::atexit(report) };
            }
            reporting.push(self);
        }
    }

    /// Ends the process: a rule that is not followed would make a test pass that tests nothing.
    fn refuse(&self, problem: &str) -> ! {
        eprintln!("{}: rules in the environment: {problem}", self.name);
        process::exit(2)
    }

    fn counts(&self) -> Counts {
        let counted = self.calls().filter_map(|call| {
            let counts = call.counts()?;
            Some((call.name().to_owned(), counts))
        });
        Counts {
            library: self.name.to_owned(),
            pid: process::id(),
            calls: counted.collect(),
        }
    }
}

/// Appends the counts to the file. Several processes may share it: a line is one write.
extern "C" fn report() {
    let path = setting("CUDA_SIM_COUNTS");
    let reporting = REPORTING.lock().unwrap_or_else(PoisonError::into_inner);
    for library in reporting.iter() {
        let line = serde_json::to_string(&library.counts()).expect("numbers and names are JSON");
        let file = OpenOptions::new().append(true).create(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        if let Err(error) = written {
            eprintln!("{}: write {path}: {error}", library.name);
        }
    }
}

/// A variable of the environment; empty if it is not set.
pub fn setting(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// How long a kernel of this name runs, by `CUDA_SIM_KERNEL_NS`; by default no time at all.
pub fn kernel_duration_ns(kernel: &str) -> u64 {
    static RULES: OnceLock<Rules> = OnceLock::new();
    let rules = RULES.get_or_init(|| {
        Rules::parse(&setting("CUDA_SIM_KERNEL_NS"), "").unwrap_or_else(|error| {
            eprintln!("CUDA_SIM_KERNEL_NS: {error}");
            process::exit(2)
        })
    });
    rules.latency_ns(kernel).unwrap_or(0)
}
