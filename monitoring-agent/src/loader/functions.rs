//! Programs at functions of other programs: loads, attaches and detaches them.
//!
//! The kernel puts a probe into the memory of each process that maps the function, and takes it out
//! again, on behalf of the thread that asks. If that thread is being killed meanwhile, as all are
//! when their process ends, the kernel gives up half-way: a trap stays in the other process for as
//! long as that lives, and costs more than ever. So no thread attaches or detaches while this
//! process ends. What is attached then is taken down by the kernel when it closes the descriptors of
//! the process, which nothing disturbs.

use std::{
    fs::File,
    mem,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Once, PoisonError, RwLock},
    thread,
};

use anyhow::{Context as _, anyhow, bail};
use aya::programs::{
    ProbeKind, Program, UProbe,
    uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope},
};

use super::{
    Loaded,
    attach::load_for_functions,
    many::{self, At, Many},
};
use crate::source::StartError;

impl Loaded {
    /// Loads a program that is to be attached to functions of other programs, as they are found. Is
    /// not among the family's [programs](super::Family::programs): it is loaded here, and only as the
    /// kernel takes it. Since 4.3; with a cookie, 5.15.
    ///
    /// # Errors
    ///
    /// As of [`load`](super::load()).
    pub fn function_probe(
        &mut self,
        object: &[u8],
        program: &'static str,
    ) -> Result<FunctionProbe, StartError> {
        let Some(Program::UProbe(probe)) = self.ebpf.program(program) else {
            return Err(anyhow!("{program} is no program for functions").into());
        };
        let at = match probe.kind() {
            ProbeKind::Return => At::Return,
            ProbeKind::Entry => At::Entry,
        };
        let many = many::load(object, &self.ebpf, program, at)?;
        if many.is_none()
            && let Some(Program::UProbe(probe)) = self.ebpf.program_mut(program)
        {
            load_for_functions(program, probe)?;
            self.programs.push((program, Ok(())));
        }
        Ok(FunctionProbe { program, many })
    }

    /// A program that is to be attached to functions of other programs at once for their entries
    /// and their returns. `Ok(None)` where the kernel has no such links (before 6.13).
    ///
    /// # Errors
    ///
    /// As of [`Loaded::function_probe`].
    pub fn session_probe(
        &self,
        object: &[u8],
        program: &'static str,
    ) -> anyhow::Result<Option<FunctionProbe>> {
        let many = many::load(object, &self.ebpf, program, At::Both)?;
        Ok(many.map(|many| FunctionProbe {
            program,
            many: Some(many),
        }))
    }

    /// Attaches a program to the functions at offsets of a file, in all processes that map it. Each
    /// has a cookie, which is what the program is told about the place.
    ///
    /// # Errors
    ///
    /// When the file or one of the places cannot be probed; then none is. When this process ends.
    pub fn attach_to_functions(
        &mut self,
        probe: &FunctionProbe,
        file: &Path,
        points: &[(u64, u64)],
    ) -> anyhow::Result<FunctionLinks> {
        self.attach_while(probe, file, points, || true)
    }

    /// Like [`Loaded::attach_to_functions`], as long as `go_on` says so: it is asked before each
    /// function where they are [not attached at once](FunctionProbe::is_at_once), which may take long.
    ///
    /// # Errors
    ///
    /// As there, and when it is over.
    pub fn attach_while(
        &mut self,
        probe: &FunctionProbe,
        file: &Path,
        points: &[(u64, u64)],
        mut go_on: impl FnMut() -> bool,
    ) -> anyhow::Result<FunctionLinks> {
        let context = || format!("attach {} to {}", probe.program, file.display());
        if let Some(many) = &probe.many {
            let link = undisturbed(|| many.attach(file, points)).with_context(context)?;
            return Ok(FunctionLinks(vec![Link::Many(link.with_context(context)?)]));
        }
        let found = self.ebpf.program_mut(probe.program).with_context(context)?;
        let program: &mut UProbe = found.try_into().with_context(context)?;
        let mut links = FunctionLinks(Vec::new());
        for (offset, cookie) in points {
            if !go_on() {
                release(links);
                bail!("it is over");
            }
            let point = UProbeAttachPoint {
                location: UProbeAttachLocation::AbsoluteOffset(*offset),
                cookie: Some(*cookie),
            };
            let link = undisturbed(|| program.attach(point, file, UProbeScope::AllProcesses));
            let link = link.with_context(context)?.with_context(context)?;
            let link = program.take_link(link).with_context(context)?;
            links.0.push(Link::One(link));
        }
        Ok(links)
    }
}

/// A program for functions of other programs; see [`Loaded::function_probe`].
#[derive(Debug)]
pub struct FunctionProbe {
    program: &'static str,
    /// For kernels that attach it to many functions at once.
    many: Option<Many>,
}

impl FunctionProbe {
    /// Whether all functions of a file take one descriptor and one call, as they do since 6.6.
    pub fn is_at_once(&self) -> bool {
        self.many.is_some()
    }

    /// The program's name and, where it is not one of the object's own, its descriptor.
    pub fn program(&self) -> (&'static str, Option<BorrowedFd<'_>>) {
        (self.program, self.many.as_ref().map(Many::program))
    }
}

/// Functions that a program is attached to, until this is dropped, which may take long: before 6.6
/// the kernel takes some 0.1 s for each function, one after the other whoever asks.
#[derive(Debug)]
pub struct FunctionLinks(Vec<Link>);

#[derive(Debug)]
#[allow(dead_code, reason = "held, and dropped, to detach")]
enum Link {
    /// Of all functions.
    Many(OwnedFd),
    /// Of one function.
    One(UProbeLink),
}

impl Drop for FunctionLinks {
    fn drop(&mut self) {
        for link in mem::take(&mut self.0) {
            let mut link = Some(link);
            let _ = undisturbed(|| drop(link.take()));
            // The process ends: the kernel detaches it then.
            mem::forget(link);
        }
    }
}

/// A path for a file that is open, whatever its own means in whoever's mount namespace, and even if it
/// has none any more.
pub fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Lets go of links on a thread of its own: before 6.6 the kernel takes 0.1 s for each function,
/// one after the other whoever asks, and some tens of milliseconds for any link since.
pub fn release<T: Send + 'static>(links: T) {
    let thread = thread::Builder::new().name("detach".into());
    // Where there is no thread to be had, the links end here and now, with the closure.
    let _ = thread.spawn(move || drop(links));
}

/// Whether this process ends. Read by who attaches or detaches, for as long as that takes.
static ENDING: RwLock<bool> = RwLock::new(false);

/// Does something to other processes' memory, unless this process ends. Its end waits meanwhile.
fn undisturbed<T>(work: impl FnOnce() -> T) -> anyhow::Result<T> {
    static WATCHED: Once = Once::new();
    extern "C" fn end() {
        // Waits for who holds it, which is one link at most for each thread.
        *ENDING.write().unwrap_or_else(PoisonError::into_inner) = true;
    }
    // SAFETY: the function may be called at any time, and only touches a static. Where there is no
    // room for it, the process ends as it always did.
    WATCHED.call_once(|| unsafe {
        libc::atexit(end);
    });
    let ending = ENDING.read().unwrap_or_else(PoisonError::into_inner);
    if *ending {
        bail!("this process ends");
    }
    Ok(work())
}
