//! Loads kernel programs, one object per family, and attaches each program by itself.
//!
//! It keeps apart "this kernel has no such thing" ([`StartError::Unsupported`]: the source is off,
//! the agent carries on) and "this should have worked" ([`StartError::Broken`], with the
//! verifier's log). It knows no family: what to load comes as a [`Family`].

use std::{collections::HashMap, io, path::Path};

use anyhow::{Context as _, anyhow, bail};
use aya::{
    Ebpf, EbpfError, EbpfLoader, VerifierLogLevel,
    maps::{Map, MapData, MapError},
    programs::{Program, ProgramError},
};
use monitoring_common::agents::{AGENT_OF, LABEL_EPOCH};

use crate::{
    ebpf_log::{self, Forwarding},
    offsets::Offsets,
    pins,
    source::StartError,
};

/// A kernel object and what it needs from this kernel.
#[derive(Debug)]
pub struct Family<'a> {
    /// The family's name.
    pub name: &'static str,
    /// The object, as built by the build script.
    pub object: &'a [u8],
    /// Values for the object's globals, all of them 32 bits wide or arrays of such.
    pub globals: Vec<(&'static str, Vec<u32>)>,
    /// Sizes of maps that differ from the object's own.
    pub map_sizes: Vec<(&'static str, u32)>,
    /// Programs and what each attaches to.
    pub programs: &'a [Attach],
    /// Whether the programs' debug messages are compiled in.
    pub debug: bool,
}

/// A program and its attach point.
#[derive(Clone, Copy, Debug)]
pub enum Attach {
    /// A raw tracepoint: program name, tracepoint name. Since 4.17.
    RawTracepoint(&'static str, &'static str),
}

impl Attach {
    /// The program's name in the object.
    pub const fn program(&self) -> &'static str {
        match self {
            Self::RawTracepoint(program, _) => program,
        }
    }
}

/// A loaded family. Dropping it detaches its programs and frees its maps.
#[derive(Debug)]
pub struct Loaded {
    /// The object's programs and maps.
    pub ebpf: Ebpf,
    /// Programs by name, and why those that are not attached are not.
    pub programs: Vec<(&'static str, Result<(), String>)>,
    /// Held for as long as the programs' debug messages are wanted.
    _log: Option<Forwarding>,
}

impl Loaded {
    /// Takes a map out of the object, to be read by its descriptor or as a ring buffer.
    pub fn take_map(&mut self, name: &str) -> anyhow::Result<MapData> {
        match self.ebpf.take_map(name) {
            Some(
                Map::PerCpuHashMap(map)
                | Map::PerCpuArray(map)
                | Map::Array(map)
                | Map::HashMap(map)
                | Map::RingBuf(map)
                | Map::Unsupported(map),
            ) => Ok(map),
            _ => bail!("map {name} is missing in the kernel object; build it again"),
        }
    }
}

/// The label maps, once an object has brought them into being; see [`crate::labels`].
pub type SharedMaps = HashMap<&'static str, MapData>;

/// Names of the maps that all families share.
const SHARED: [&str; 2] = [AGENT_OF, LABEL_EPOCH];

/// Fewest bytes that a ring buffer may have: a page, for the log buffer nobody writes to.
const UNUSED_RING_BYTES: u32 = 4096;

/// Loads a family and attaches what can be attached. Must run on a tokio runtime.
///
/// `shared` holds the maps that every family uses; what is missing in it is created.
///
/// # Errors
///
/// [`StartError::Unsupported`] when not one program could be attached because the kernel or the
/// privileges lack something, [`StartError::Broken`] when a program was refused for another reason.
pub fn load(family: &Family<'_>, shared: &mut SharedMaps) -> Result<Loaded, StartError> {
    // Pins live in a mount namespace that ends with its thread, so nothing can be left behind.
    let mut ebpf = pins::in_private_bpffs(|folder| {
        for (name, map) in &*shared {
            map.pin(folder.join(name))
                .with_context(|| format!("pin map {name}"))?;
        }
        let ebpf = create(family, folder)?;
        for name in SHARED.into_iter().filter(|name| folder.join(name).exists()) {
            if !shared.contains_key(name) {
                let map = MapData::from_pin(folder.join(name));
                shared.insert(name, map.with_context(|| format!("open map {name}"))?);
            }
        }
        Ok(ebpf)
    })?;
    let mut programs = Vec::new();
    for attach in family.programs {
        programs.push((attach.program(), load_and_attach(&mut ebpf, attach)?));
    }
    if let Some((_, Err(why))) = programs.iter().find(|(_, attached)| attached.is_err())
        && programs.iter().all(|(_, attached)| attached.is_err())
    {
        return Err(StartError::Unsupported(why.clone()));
    }
    let log = family
        .debug
        .then(|| ebpf_log::forward(&mut ebpf))
        .transpose()?;
    Ok(Loaded {
        ebpf,
        programs,
        _log: log,
    })
}

/// Creates the object's maps and relocates its programs.
fn create(family: &Family<'_>, pin_folder: &Path) -> Result<Ebpf, StartError> {
    let mut loader = EbpfLoader::new();
    // No program uses CO-RE, which Rust does not have; offsets come from `offsets`.
    loader.btf(None).verifier_log_level(VerifierLogLevel::DEBUG);
    // Task storage is unknown to aya's typed maps. Only kernel programs touch it.
    loader.allow_unsupported_maps();
    for name in SHARED {
        loader.map_pin_path(name, pin_folder.join(name));
    }
    for (name, entries) in &family.map_sizes {
        loader.map_max_entries(name, *entries);
    }
    for (name, value) in &family.globals {
        loader.override_global(name, value.as_slice(), true);
    }
    let log_level = if family.debug {
        aya_log::Level::Debug as u8
    } else {
        0
    };
    loader.override_global(aya_log::LEVEL, &log_level, false);
    if !family.debug {
        loader.map_max_entries("AYA_LOGS", UNUSED_RING_BYTES);
    }
    loader
        .load(family.object)
        .map_err(|error| object_error(family.name, error))
}

fn object_error(family: &str, error: EbpfError) -> StartError {
    if let EbpfError::MapError(MapError::CreateError { name, io_error }) = &error
        && let Some(why) = lacking(io_error)
    {
        return StartError::Unsupported(format!("map {name}: {why}"));
    }
    StartError::Broken(anyhow!(error).context(format!("load kernel object {family}")))
}

/// `Ok(Err(reason))` when this kernel or these privileges do not allow the program.
fn load_and_attach(ebpf: &mut Ebpf, attach: &Attach) -> Result<Result<(), String>, StartError> {
    let name = attach.program();
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| anyhow!("the kernel object has no program {name}; build it again"))?;
    let attached = match (attach, program) {
        (Attach::RawTracepoint(_, tracepoint), Program::RawTracePoint(program)) => program
            .load()
            .and_then(|()| program.attach(tracepoint))
            .map(drop),
        (_, program) => {
            let kind = program.prog_type();
            return Err(anyhow!("program {name} is a {kind:?}, not what {attach:?} needs").into());
        }
    };
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
        _ => None,
    }
}

/// What the kernel or the process lacks, by the error number of `bpf(2)`.
fn lacking(error: &io::Error) -> Option<String> {
    match error.raw_os_error()? {
        libc::EPERM | libc::EACCES => Some(format!(
            "no permission ({error}); run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN"
        )),
        libc::ENOENT => Some("this kernel has no such tracepoint".to_owned()),
        libc::ENOSYS => Some("this kernel has no bpf system call".to_owned()),
        libc::EOPNOTSUPP | 524 => Some(format!("this kernel does not support it ({error})")),
        _ => None,
    }
}

/// The offset of a kernel structure's field, or [`crate::offsets::ABSENT`].
///
/// # Errors
///
/// When the kernel describes itself in a way that this agent does not understand.
pub fn field(offsets: &mut Offsets, structure: &str, path: &str) -> Result<u32, StartError> {
    let offset = offsets.field_or_absent(structure, path);
    Ok(offset.with_context(|| format!("find {structure}.{path} in this kernel"))?)
}
