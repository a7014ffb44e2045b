//! A program at many functions of a file at once, by one link (`BPF_TRACE_UPROBE_MULTI`, since 6.6),
//! or at both ends of them (`BPF_TRACE_UPROBE_SESSION`, since 6.13).
//!
//! aya attaches to one function at a time, each with a perf event of its own: measured, 230 of
//! them take 0.3 s to attach and 27 s to detach, because the kernel waits each time until no CPU
//! can be in one. One link waits once. aya cannot load a program for it either, so that this file
//! does: the object is read once more, with the maps that aya has made.

use std::{
    collections::HashSet,
    ffi::CString,
    io, mem,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, anyhow};
use aya::{Ebpf, maps::Map};
use aya_obj::{
    Object,
    generated::{
        BPF_F_UPROBE_MULTI_RETURN, bpf_attach_type::BPF_TRACE_UPROBE_MULTI, bpf_attr, bpf_cmd,
        bpf_prog_type::BPF_PROG_TYPE_KPROBE,
    },
};

/// `BPF_TRACE_UPROBE_SESSION`, which is newer than aya's bindings.
const SESSION: u32 = 57;

/// Room for what the verifier says of a program that it refuses, and how much of that is told: its
/// end, where the reason stands.
const LOG_BYTES: usize = 16 << 20;
const SHOWN_BYTES: usize = 4_096;

/// Where in its functions a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// At the first instruction.
    Entry,
    /// When the function has returned.
    Return,
    /// At both; what it returns at the entry says whether the return is skipped.
    Both,
}

impl At {
    /// The attach type, of the program as of its links.
    fn attach_type(self) -> u32 {
        match self {
            Self::Entry | Self::Return => BPF_TRACE_UPROBE_MULTI as u32,
            Self::Both => SESSION,
        }
    }
}

/// A program that attaches to many functions by one link.
#[derive(Debug)]
pub(super) struct Many {
    program: OwnedFd,
    at: At,
}

/// Loads the program of this name. `Ok(None)` where the kernel has no such links.
pub(super) fn load(object: &[u8], ebpf: &Ebpf, name: &str, at: At) -> anyhow::Result<Option<Many>> {
    let mut object = Object::parse(object).context("read the kernel object")?;
    let maps = object.maps.clone();
    let text: HashSet<usize> = object
        .functions
        .keys()
        .map(|(section, _)| *section)
        .collect();
    let made = ebpf.maps().filter_map(|(name, map)| {
        let definition = maps.get(name)?;
        Some((name, descriptor(map)?, definition))
    });
    object
        .relocate_maps(made, &text)
        .context("put the maps in")?;
    object.relocate_calls(&text).context("put the calls in")?;
    let program = object.programs.get(name);
    let program = program.ok_or_else(|| anyhow!("the kernel object has no program {name}"))?;
    let function = &object.functions[&program.function_key()];
    // SAFETY: all zeros is a value of the union.
    let mut attr: bpf_attr = unsafe { mem::zeroed() };
    // SAFETY: the union's member of this command; pointers outlive the call.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = BPF_PROG_TYPE_KPROBE as u32;
    load.expected_attach_type = at.attach_type();
    load.insns = function.instructions.as_ptr() as u64;
    load.insn_cnt = u32::try_from(function.instructions.len()).context("a short program")?;
    load.license = program.license.as_ptr() as u64;
    for (to, from) in load.prog_name.iter_mut().zip(name.bytes().take(15)) {
        *to = from.cast_signed();
    }
    match bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr) {
        Ok(program) => Ok(Some(Many { program, at }).filter(Many::is_supported)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(None),
        Err(error) => {
            let why = verifier_log(&mut attr);
            Err(error).with_context(|| format!("load program {name} for many functions\n{why}"))
        }
    }
}

/// Loads once more what was refused, for the verifier's last words about it.
fn verifier_log(attr: &mut bpf_attr) -> String {
    let mut log = vec![0_u8; LOG_BYTES];
    // SAFETY: the union's member of this command, which the caller has filled in.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.log_level = 1;
    load.log_buf = log.as_mut_ptr() as u64;
    load.log_size = u32::try_from(log.len()).unwrap_or(u32::MAX);
    // Refused again; if not, nobody needs the program any more.
    drop(bpf(bpf_cmd::BPF_PROG_LOAD, attr));
    let end = log.iter().position(|byte| *byte == 0);
    let log = &log[..end.unwrap_or(log.len())];
    let last = log.len().saturating_sub(SHOWN_BYTES);
    String::from_utf8_lossy(&log[last..]).into_owned()
}

impl Many {
    pub(super) fn program(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }

    /// Whether the kernel has such links. It loads programs for attach types that it does not know,
    /// so the proof is a link that it refuses for another reason: a folder has no functions.
    fn is_supported(&self) -> bool {
        let refused = self.attach(Path::new("/"), &[(1, 0)]);
        refused.is_err_and(|error| error.raw_os_error() == Some(libc::EBADF))
    }

    /// Attaches to the functions at these offsets of a file, each with its cookie. All or none. The
    /// link ends when the descriptor is dropped.
    pub(super) fn attach(&self, file: &Path, points: &[(u64, u64)]) -> io::Result<OwnedFd> {
        let path = CString::new(file.as_os_str().as_bytes())?;
        let (offsets, cookies): (Vec<u64>, Vec<u64>) = points.iter().copied().unzip();
        // SAFETY: all zeros is a value of the union.
        let mut attr: bpf_attr = unsafe { mem::zeroed() };
        // SAFETY: the union's member of this command; pointers outlive the call.
        let create = unsafe { &mut attr.link_create };
        create.__bindgen_anon_1.prog_fd = self.program.as_raw_fd().cast_unsigned();
        create.attach_type = self.at.attach_type();
        // SAFETY: as above.
        let multi = unsafe { &mut create.__bindgen_anon_3.uprobe_multi };
        multi.path = path.as_ptr() as u64;
        multi.offsets = offsets.as_ptr() as u64;
        multi.cookies = cookies.as_ptr() as u64;
        multi.cnt = u32::try_from(points.len()).unwrap_or(u32::MAX);
        if self.at == At::Return {
            multi.flags = BPF_F_UPROBE_MULTI_RETURN;
        }
        bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr)
    }
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the callers fill in what the command reads; it writes nothing else.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            &raw mut *attr,
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let descriptor = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn descriptor(map: &Map) -> Option<i32> {
    match map {
        Map::PerCpuHashMap(map)
        | Map::PerCpuArray(map)
        | Map::Array(map)
        | Map::HashMap(map)
        | Map::LruHashMap(map)
        | Map::RingBuf(map)
        | Map::Unsupported(map) => Some(map.fd().as_fd().as_raw_fd()),
        _ => None,
    }
}
