//! The capabilities that the agent works with, and what there is not without each of them.
//!
//! The files in `deploy` give it these and no others. Knows no source, and grants nothing.

use anyhow::Context as _;

use crate::source::StartError;

/// A capability, of `capabilities(7)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privilege {
    /// Its name, as in `CAP_SYS_ADMIN`.
    pub name: &'static str,
    /// Any one of these allows the same, as bits of `CapEff` in `/proc/self/status`.
    any_of: u64,
    /// The sources that are off without it.
    pub sources: &'static [&'static str],
    /// What is missing without it, for people.
    pub without: &'static str,
}

/// To load kernel programs. It includes `CAP_BPF` and `CAP_PERFMON`, which are not enough: families
/// share maps through a file system that has to be [mounted](crate::pins).
pub const SYS_ADMIN: Privilege = Privilege {
    name: "CAP_SYS_ADMIN",
    any_of: 1 << 21,
    sources: &[
        "process", "sched", "block", "net", "syscalls", "cuda", "swarm", "profile",
    ],
    without: "no kernel program can be loaded, and nothing be sampled",
};

/// To see what others have mapped, and to read their memory.
pub const SYS_PTRACE: Privilege = Privilege {
    name: "CAP_SYS_PTRACE",
    any_of: 1 << 19,
    sources: &["cuda", "swarm"],
    without: "nothing can be found in other processes: neither calls into CUDA, nor what applications \
              say of their agents, nor the names of functions in profiles",
};

/// To list and open what belongs to other users. Who may also write there may do that as well.
pub const DAC_READ_SEARCH: Privilege = Privilege {
    name: "CAP_DAC_READ_SEARCH",
    any_of: 1 << 2 | 1 << 1,
    sources: &[],
    without: "other users' processes are seen in part only: not their open files, their environments \
              and what is in files that only they may read",
};

/// To see where the kernel has its functions.
pub const SYSLOG: Privilege = Privilege {
    name: "CAP_SYSLOG",
    any_of: 1 << 34,
    sources: &[],
    without: "functions of the kernel have no names in profiles, unless the sysctls \
              kernel.kptr_restrict and kernel.perf_event_paranoid let everybody have them",
};

/// All of them.
pub const PRIVILEGES: [Privilege; 4] = [SYS_ADMIN, SYS_PTRACE, DAC_READ_SEARCH, SYSLOG];

impl Privilege {
    /// What to do where it is missing.
    pub fn cure(&self) -> String {
        format!("run as root or with {}", self.name)
    }

    fn is_in(&self, effective: u64) -> bool {
        effective & self.any_of != 0
    }
}

/// Those that this process lacks.
///
/// # Errors
///
/// When `/proc` cannot be read.
pub fn missing() -> anyhow::Result<Vec<Privilege>> {
    let own = procfs::process::Process::myself().and_then(|own| own.status());
    let effective = own.context("read this process's privileges")?.capeff;
    Ok(missing_in(effective))
}

fn missing_in(effective: u64) -> Vec<Privilege> {
    let mut missing = PRIVILEGES.to_vec();
    missing.retain(|privilege| !privilege.is_in(effective));
    missing
}

/// Whether this process has a privilege that a source cannot do without.
///
/// # Errors
///
/// [`StartError::Unsupported`] where it is missing, with what to do.
pub fn need(privilege: &Privilege) -> Result<(), StartError> {
    if missing()?.contains(privilege) {
        let why = format!("{}; {}", privilege.without, privilege.cure());
        return Err(StartError::Unsupported(why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::SOURCES;

    #[test]
    fn what_is_missing_is_told_by_the_bits() {
        let check = |effective: u64, want: &[&str]| {
            let names: Vec<_> = missing_in(effective)
                .iter()
                .map(|lacks| lacks.name)
                .collect();
            assert_eq!(names, want, "{effective:#x}");
        };
        // As `capsh --decode` has them.
        check(0x1ff_ffff_ffff, &[]);
        check(0x4_0028_0004, &[]);
        check(0x4_0008_0004, &["CAP_SYS_ADMIN"]);
        check(0x4_0020_0004, &["CAP_SYS_PTRACE"]);
        check(0x4_0028_0000, &["CAP_DAC_READ_SEARCH"]);
        check(0x4_0028_0002, &[]);
        check(0x28_0004, &["CAP_SYSLOG"]);
        // CAP_BPF and CAP_PERFMON.
        check(0xc0_0000_0000, &PRIVILEGES.map(|privilege| privilege.name));
    }

    #[test]
    fn sources_are_those_that_there_are() {
        for source in PRIVILEGES.iter().flat_map(|privilege| privilege.sources) {
            assert!(
                SOURCES.iter().any(|entry| entry.name == *source),
                "{source}"
            );
        }
    }
}
