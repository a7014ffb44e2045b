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
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, anyhow, bail};
pub use attach::Attach;
use attach::{lacking, load_and_attach};
use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader, VerifierLogLevel,
    maps::{Map, MapData, MapError, MapType},
    programs::Iter,
};
pub use functions::{FunctionLinks, FunctionProbe, path_of, release};
use monitoring_common::{
    agents::{AGENT_OF, LABEL_EPOCH},
    trace::{RUNNING, RUNNING_SINCE, SPANS, TRACE_BUDGET, TRACE_COUNTS, TRACE_PLACES},
};

use crate::{
    ebpf_log::{self, Forwarding},
    offsets::{ABSENT, Offsets},
    pins,
    source::StartError,
};

/// A kernel object and what it needs from this kernel.
#[derive(Clone, Debug)]
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
    /// Values for those of the object's globals that choose spans, if anything is traced; an object
    /// has those that its programs use. Without them its maps of spans are its own, and as small as
    /// can be.
    pub tracing: Option<Vec<(&'static str, Vec<u32>)>>,
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

    /// A loaded program's descriptor, once more.
    pub fn program_fd(&self, program: &str) -> anyhow::Result<OwnedFd> {
        let context = || format!("take the descriptor of program {program}");
        let found = self.ebpf.program(program).with_context(context)?;
        let fd = found.fd().with_context(context)?;
        fd.as_fd().try_clone_to_owned().with_context(context)
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

/// What the objects of all families have in common. A copy of it is the same maps, also those that
/// are made later.
#[derive(Clone, Debug, Default)]
pub struct SharedMaps {
    /// The label maps, once an object has brought them into being; see [`crate::labels`].
    maps: Arc<Mutex<HashMap<&'static str, MapData>>>,
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
            maps: Arc::default(),
            limits: limits.to_vec(),
        }
    }

    /// The shared map of this name, if there is one already.
    ///
    /// # Errors
    ///
    /// When the process has no descriptor left for it.
    pub fn get(&self, name: &str) -> anyhow::Result<Option<MapData>> {
        let maps = self.lock();
        let map = maps.get(name).map(copied);
        map.transpose()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, MapData>> {
        // Maps are only ever added.
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A map once more, by another descriptor.
///
/// # Errors
///
/// When the process has none left.
pub fn copied(map: &MapData) -> anyhow::Result<MapData> {
    let descriptor = map.fd().as_fd().try_clone_to_owned();
    let descriptor = descriptor.context("copy a map's descriptor")?;
    Ok(MapData::from_fd(descriptor)?)
}

/// Names of the maps that all families share.
const SHARED: [&str; 2] = [AGENT_OF, LABEL_EPOCH];

/// Names of the maps that all families share that trace.
const SHARED_TRACING: [&str; 6] = [
    SPANS,
    TRACE_COUNTS,
    TRACE_BUDGET,
    TRACE_PLACES,
    RUNNING,
    RUNNING_SINCE,
];

/// Fewest bytes that a ring buffer may have: a page, for those that nobody writes to.
const UNUSED_RING_BYTES: u32 = 4096;

impl Family<'_> {
    /// Names of the maps that it shares with others.
    fn shared(&self) -> impl Iterator<Item = &'static str> {
        let tracing: &[&str] = if self.tracing.is_some() {
            &SHARED_TRACING
        } else {
            &[]
        };
        SHARED.iter().chain(tracing).copied()
    }
}

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
    shared: &SharedMaps,
    offsets: &mut Offsets,
) -> Result<Loaded, StartError> {
    Prepared::new(family.clone(), offsets)?.load(shared)
}

/// A family that can be loaded at any time: all that is asked of the kernel's types is known.
#[derive(Debug)]
pub struct Prepared<'a> {
    family: Family<'a>,
    /// The types that its programs attach to by name.
    names: Btf,
}

impl<'a> Prepared<'a> {
    /// Asks where this kernel has the attach points. Nothing is loaded.
    ///
    /// # Errors
    ///
    /// When the kernel describes itself in a way that this agent does not understand.
    pub fn new(family: Family<'a>, offsets: &mut Offsets) -> Result<Self, StartError> {
        let names = names::of_programs(family.programs, offsets)?;
        Ok(Self { family, names })
    }

    /// Loads it, and attaches what can be attached. Must run on a tokio runtime.
    ///
    /// # Errors
    ///
    /// As of [`load`].
    pub fn load(&self, shared: &SharedMaps) -> Result<Loaded, StartError> {
        let family = &self.family;
        // Pins live in a mount namespace that ends with its thread, so nothing can be left behind.
        let mut ebpf = pins::in_private_bpffs(|folder| {
            let mut maps = shared.lock();
            for name in family.shared() {
                let Some(map) = maps.get(name) else { continue };
                map.pin(folder.join(name))
                    .with_context(|| format!("pin map {name}"))?;
            }
            let ebpf = create(family, &shared.limits, folder)?;
            for name in family.shared().filter(|name| folder.join(name).exists()) {
                if !maps.contains_key(name) {
                    let map = MapData::from_pin(folder.join(name));
                    maps.insert(name, map.with_context(|| format!("open map {name}"))?);
                }
            }
            Ok(ebpf)
        })?;
        let mut programs = Vec::new();
        for attach in family.programs {
            programs.push((
                attach.program(),
                load_and_attach(&mut ebpf, attach, &self.names)?,
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
}

/// Whether this process may load anything: asked where nothing is loaded yet.
///
/// # Errors
///
/// [`StartError::Unsupported`] when the kernel or the privileges lack something for all objects.
pub fn may_load() -> Result<(), StartError> {
    pins::in_private_bpffs(|_| {
        let made = aya::sys::is_map_supported(MapType::Array);
        made.map(drop)
            .map_err(|error| match lacking(&error.io_error) {
                Some(why) => StartError::Unsupported(why),
                None => StartError::Broken(anyhow!(error).context("make a map")),
            })
    })
}

/// Gives memory that only loading needed (BTF, objects, verifier logs) back to the node.
pub fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function only returns free pages of the heap; it has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
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
    for name in family.shared() {
        loader.map_pin_path(name, pin_folder.join(name));
    }
    for (name, entries) in family.map_sizes.iter().chain(limits) {
        loader.map_max_entries(name, *entries);
    }
    for (name, value) in &family.globals {
        loader.override_global(name, value.as_slice(), true);
    }
    if let Some(tracing) = &family.tracing {
        for (name, value) in tracing {
            loader.override_global(name, value.as_slice(), false);
        }
    } else {
        loader.map_max_entries(SPANS, UNUSED_RING_BYTES);
        loader.map_max_entries(TRACE_PLACES, 1);
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

/// The offset of a kernel structure's field, or [`ABSENT`].
///
/// # Errors
///
/// When the kernel describes itself in a way that this agent does not understand.
pub fn field(offsets: &mut Offsets, structure: &str, path: &str) -> Result<u32, StartError> {
    let offset = offsets.field_or_absent(structure, path);
    Ok(offset.with_context(|| format!("find {structure}.{path} in this kernel"))?)
}

/// The offset of a kernel structure's field that cannot be done without.
///
/// # Errors
///
/// As [`field`], and [`StartError::Unsupported`] where the kernel has no such field.
pub fn needed_field(offsets: &mut Offsets, structure: &str, path: &str) -> Result<u32, StartError> {
    let offset = field(offsets, structure, path)?;
    if offset == ABSENT {
        let why = format!("{structure}.{path} is not in this kernel's BTF");
        return Err(StartError::Unsupported(why));
    }
    Ok(offset)
}
