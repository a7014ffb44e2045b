//! Attaches one program to one place, and tells what this kernel lacks from what is broken.

use std::{fs::File, io};

use anyhow::anyhow;
use aya::{
    Btf, Ebpf,
    programs::{CgroupAttachMode, Program, ProgramError, UProbe},
};

use super::cgroup;
use crate::{privileges::SYS_ADMIN, source::StartError};

/// A program and its attach point.
#[derive(Clone, Copy, Debug)]
pub enum Attach {
    /// A raw tracepoint: program name, tracepoint name. Since 4.17. The cheapest hook; what its
    /// arguments point to has to be copied to be looked at.
    RawTracepoint(&'static str, &'static str),
    /// A raw tracepoint with typed arguments: program name, tracepoint name. Since 5.5. Fields of
    /// its arguments are read by plain loads, and storage can be hung on them.
    BtfTracepoint(&'static str, &'static str),
    /// An iterator over kernel objects: program name, kind of object, such as `task`. Since 5.8.
    /// Loaded only; [`Loaded::iterate`](super::Loaded::iterate) runs it.
    Iterator(&'static str, &'static str),
    /// A program at the root of the cgroup hierarchy, which sees every socket or packet of the
    /// node: program name; its section says which events. Since 4.10.
    Cgroup(&'static str),
    /// A program at perf events: program name. Since 4.9. Loaded only; whoever opens the events
    /// hands it to them.
    PerfEvent(&'static str),
}

impl Attach {
    /// The program's name in the object.
    pub const fn program(&self) -> &'static str {
        match self {
            Self::RawTracepoint(program, _)
            | Self::BtfTracepoint(program, _)
            | Self::Iterator(program, _)
            | Self::Cgroup(program)
            | Self::PerfEvent(program) => program,
        }
    }
}

/// Loads and attaches a program. `btf` has the types that its attach point is named by.
///
/// `Ok(Err(reason))` when this kernel or these privileges do not allow the program.
pub(super) fn load_and_attach(
    ebpf: &mut Ebpf,
    attach: &Attach,
    btf: &Btf,
) -> Result<Result<(), String>, StartError> {
    let name = attach.program();
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| anyhow!("the kernel object has no program {name}; build it again"))?;
    if let Attach::Cgroup(_) = attach {
        return match cgroup::root() {
            Ok(root) => outcome(name, at_cgroup(program, root)),
            Err(why) => Ok(Err(format!("program {name}: {why}"))),
        };
    }
    let attached = match (attach, program) {
        (Attach::RawTracepoint(_, tracepoint), Program::RawTracePoint(program)) => program
            .load()
            .and_then(|()| program.attach(tracepoint))
            .map(drop),
        (Attach::BtfTracepoint(_, tracepoint), Program::BtfTracePoint(program)) => program
            .load(tracepoint, btf)
            .and_then(|()| program.attach())
            .map(drop),
        (Attach::Iterator(_, kind), Program::Iter(program)) => program.load(kind, btf),
        (Attach::PerfEvent(_), Program::PerfEvent(program)) => program.load(),
        (_, program) => {
            let kind = program.prog_type();
            return Err(anyhow!("program {name} is a {kind:?}, not what {attach:?} needs").into());
        }
    };
    outcome(name, attached)
}

/// Loads a program that is attached to functions later.
pub(super) fn load_for_functions(
    name: &'static str,
    program: &mut UProbe,
) -> Result<(), StartError> {
    outcome(name, program.load())?.map_err(StartError::Unsupported)
}

/// Loads a program and attaches it to a cgroup, beside whatever is attached there already.
fn at_cgroup(program: &mut Program, root: File) -> Result<(), ProgramError> {
    // With a link (since 5.7) others may always attach as well, and no mode may be given: this is
    // how aya says so.
    let mode = CgroupAttachMode::Single;
    match program {
        Program::CgroupSkb(program) => {
            program.load()?;
            let events = *program.expected_attach_type();
            let events = events.ok_or(ProgramError::UnexpectedProgramType)?;
            program.attach(root, events, mode).map(drop)
        }
        Program::CgroupSock(program) => {
            program.load()?;
            program.attach(root, mode).map(drop)
        }
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Tells a refusal that is the kernel's from one that is the program's fault.
fn outcome(
    name: &str,
    attached: Result<(), ProgramError>,
) -> Result<Result<(), String>, StartError> {
    match attached {
        Ok(()) => Ok(Ok(())),
        Err(error) => match program_unsupported(&error) {
            Some(why) => Ok(Err(format!("program {name}: {why}"))),
            None => Err(StartError::Broken(
                anyhow!(error).context(format!("load and attach program {name}")),
            )),
        },
    }
}

/// Why a refusal is the kernel's and not the program's fault; `None` if it is the program's.
fn program_unsupported(error: &ProgramError) -> Option<String> {
    match error {
        ProgramError::SyscallError(error) => lacking(&error.io_error),
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            // The verifier's own words for a helper that this kernel or program type lacks.
            let log = verifier_log.to_string();
            let unknown = [
                "unknown func",
                "invalid func",
                "program of this type cannot use helper",
            ];
            let line = log
                .lines()
                .find(|line| unknown.iter().any(|words| line.contains(words)));
            line.map(|line| format!("the kernel lacks a helper: {}", line.trim()))
                .or_else(|| {
                    if log.trim().is_empty() {
                        lacking(io_error)
                    } else {
                        None
                    }
                })
        }
        // The name that the attach point is found by is not among the kernel's types.
        ProgramError::Btf(aya::BtfError::UnknownBtfTypeName { type_name }) => {
            Some(format!("this kernel has no `{type_name}`"))
        }
        _ => None,
    }
}

/// What the kernel or the process lacks, by the error number of `bpf(2)`.
pub(super) fn lacking(error: &io::Error) -> Option<String> {
    match error.raw_os_error()? {
        libc::EPERM | libc::EACCES => {
            Some(format!("no permission ({error}); {}", SYS_ADMIN.cure()))
        }
        libc::ENOENT => Some("this kernel has no such tracepoint".to_owned()),
        libc::ENOSYS => Some("this kernel has no bpf system call".to_owned()),
        libc::EOPNOTSUPP | 524 => Some(format!("this kernel does not support it ({error})")),
        _ => None,
    }
}
