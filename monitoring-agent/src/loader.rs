//! Loads kernel programs, one object per family, and attaches each program by itself.
//!
//! It keeps apart "this kernel has no such thing" ([`StartError::Unsupported`]: the source is off,
//! the agent carries on) and "this should have worked" ([`StartError::Broken`], with the
//! verifier's log). It knows no family: what to load comes as a [`Family`].

mod attach;
mod cgroup;
mod functions;
mod many;
mod names;

use std::{
    collections::HashMap,
    io::{self, Read as _},
    path::Path,
};

use anyhow::{Context as _, anyhow, bail};
pub use attach::Attach;
use attach::{lacking, load_and_attach};
use aya::{
    Ebpf, EbpfError, EbpfLoader, VerifierLogLevel,
    maps::{Map, MapData, MapError},
    programs::Iter,
};
pub use functions::{FunctionLinks, FunctionProbe};
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
                | Map::LruHashMap(map)
                | Map::LpmTrie(map)
                | Map::RingBuf(map)
                | Map::SkStorage(map)
                | Map::Unsupported(map),
            ) => Ok(map),
            _ => bail!("map {name} is missing in the kernel object; build it again"),
        }
    }

    /// Whether a program is loaded and attached.
    pub fn is_attached(&self, program: &str) -> bool {
        let mut programs = self.programs.iter();
        programs.any(|(name, attached)| *name == program && attached.is_ok())
    }

    /// Runs an iterator's program once for each of its objects, and returns what it wrote.
    pub fn iterate(&mut self, program: &str) -> anyhow::Result<Vec<u8>> {
        let context = || format!("run the iterator {program}");
        let found = self.ebpf.program_mut(program).with_context(context)?;
        let iterator: &mut Iter = found.try_into().with_context(context)?;
        let link = iterator.attach().with_context(context)?;
        let link = iterator.take_link(link).with_context(context)?;
        let mut written = Vec::new();
        let mut file = link.into_file().with_context(context)?;
        // After a million objects without output the kernel lets the reader breathe.
        while let Err(error) = file.read_to_end(&mut written) {
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(error).with_context(context);
            }
        }
        Ok(written)
    }
}

/// What the objects of all families have in common.
#[derive(Debug, Default)]
pub struct SharedMaps {
    /// The label maps, once an object has brought them into being; see [`crate::labels`].
    maps: HashMap<&'static str, MapData>,
    /// Maps that are made smaller than their families want them, so that tests can fill them.
    limits: Vec<(&'static str, u32)>,
}

impl SharedMaps {
    /// No maps yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// No maps yet; those of these names will have room for so many entries only.
    pub fn with_limits(limits: &[(&'static str, u32)]) -> Self {
        Self {
            maps: HashMap::new(),
            limits: limits.to_vec(),
        }
    }

    /// The shared map of this name, if there is one already.
    pub fn get(&self, name: &str) -> Option<&MapData> {
        self.maps.get(name)
    }
}

/// Names of the maps that all families share.
const SHARED: [&str; 2] = [AGENT_OF, LABEL_EPOCH];

/// Fewest bytes that a ring buffer may have: a page, for the log buffer nobody writes to.
const UNUSED_RING_BYTES: u32 = 4096;

/// Loads a family and attaches what can be attached. Must run on a tokio runtime.
///
/// `shared` holds the maps that every family uses; what is missing in it is created. `offsets` says
/// where this kernel has the attach points.
///
/// # Errors
///
/// [`StartError::Unsupported`] when not one program could be attached because the kernel or the
/// privileges lack something, [`StartError::Broken`] when a program was refused for another reason.
pub fn load(
    family: &Family<'_>,
    shared: &mut SharedMaps,
    offsets: &mut Offsets,
) -> Result<Loaded, StartError> {
    let names = names::of_programs(family.programs, offsets)?;
    // Pins live in a mount namespace that ends with its thread, so nothing can be left behind.
    let mut ebpf = pins::in_private_bpffs(|folder| {
        for (name, map) in &shared.maps {
            map.pin(folder.join(name))
                .with_context(|| format!("pin map {name}"))?;
        }
        let ebpf = create(family, &shared.limits, folder)?;
        for name in SHARED.into_iter().filter(|name| folder.join(name).exists()) {
            if !shared.maps.contains_key(name) {
                let map = MapData::from_pin(folder.join(name));
                shared
                    .maps
                    .insert(name, map.with_context(|| format!("open map {name}"))?);
            }
        }
        Ok(ebpf)
    })?;
    let mut programs = Vec::new();
    for attach in family.programs {
        programs.push((
            attach.program(),
            load_and_attach(&mut ebpf, attach, &names)?,
        ));
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
fn create(
    family: &Family<'_>,
    limits: &[(&'static str, u32)],
    pin_folder: &Path,
) -> Result<Ebpf, StartError> {
    let mut loader = EbpfLoader::new();
    // No program uses CO-RE, which Rust does not have; offsets come from `offsets`.
    loader.btf(None).verifier_log_level(VerifierLogLevel::DEBUG);
    // Task storage is unknown to aya's typed maps. Only kernel programs touch it.
    loader.allow_unsupported_maps();
    for name in SHARED {
        loader.map_pin_path(name, pin_folder.join(name));
    }
    for (name, entries) in family.map_sizes.iter().chain(limits) {
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

/// The offset of a kernel structure's field, or [`crate::offsets::ABSENT`].
///
/// # Errors
///
/// When the kernel describes itself in a way that this agent does not understand.
pub fn field(offsets: &mut Offsets, structure: &str, path: &str) -> Result<u32, StartError> {
    let offset = offsets.field_or_absent(structure, path);
    Ok(offset.with_context(|| format!("find {structure}.{path} in this kernel"))?)
}
