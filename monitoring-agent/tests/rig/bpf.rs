//! The few `bpf` calls that a program of a few instructions needs, without an object file.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use super::namespace::check;

const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP_ELEM: libc::c_int = 1;
const PROG_LOAD: libc::c_int = 5;
const OBJ_PIN: libc::c_int = 6;

const MAP_TYPE_ARRAY: u32 = 2;
const PROG_TYPE_SCHED_CLS: u32 = 3;

/// Instructions of up to so many bytes of log are short.
const LOG_SIZE: usize = 1 << 16;

/// `struct bpf_insn`: opcode, registers (source above destination), offset, immediate.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Instruction(pub(super) u8, pub(super) u8, pub(super) i16, pub(super) i32);

/// An array of one element of 64-bit numbers.
pub(super) struct Numbers<const COUNT: usize>(OwnedFd);

#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
}

#[repr(C)]
struct MapLookup {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instructions_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

#[repr(C)]
struct ObjectPin {
    path: u64,
    object: u32,
    flags: u32,
}

impl<const COUNT: usize> Numbers<COUNT> {
    pub(super) fn new() -> Self {
        let value_size = u32::try_from(COUNT * size_of::<u64>()).unwrap();
        let attributes = MapCreate {
            kind: MAP_TYPE_ARRAY,
            key_size: 4,
            value_size,
            entries: 1,
        };
        Self(object(MAP_CREATE, &attributes).expect("the tests need root"))
    }

    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub(super) fn read(&self) -> [u64; COUNT] {
        let (key, mut value) = (0_u32, [0_u64; COUNT]);
        let attributes = MapLookup {
            map: self.fd().cast_unsigned(),
            padding: 0,
            key: (&raw const key).addr() as u64,
            value: (&raw mut value).expose_provenance() as u64,
            flags: 0,
        };
        check(call(MAP_LOOKUP_ELEM, &attributes)).unwrap();
        value
    }
}

/// Loads a classifier.
pub(super) fn classifier(instructions: &[Instruction]) -> OwnedFd {
    let mut log = vec![0_u8; LOG_SIZE];
    let attributes = ProgramLoad {
        kind: PROG_TYPE_SCHED_CLS,
        instructions_count: instructions.len().try_into().unwrap(),
        instructions: instructions.as_ptr().expose_provenance() as u64,
        license: c"MIT".as_ptr().expose_provenance() as u64,
        log_level: 1,
        log_size: log.len().try_into().unwrap(),
        log: log.as_mut_ptr().expose_provenance() as u64,
    };
    object(PROG_LOAD, &attributes)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&log)))
}

/// Gives an object a path in a bpffs. Makes one system call and nothing else.
pub(super) fn pin(object: RawFd, path: &std::ffi::CStr) -> io::Result<()> {
    let attributes = ObjectPin {
        path: path.as_ptr().expose_provenance() as u64,
        object: object.cast_unsigned(),
        flags: 0,
    };
    check(call(OBJ_PIN, &attributes))
}

fn object<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    let fd = call(command, attributes);
    check(fd)?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn call<T>(command: libc::c_int, attributes: &T) -> libc::c_int {
    // SAFETY: `attributes` is the command's beginning of `union bpf_attr`, of the size that is
    // given; what its addresses name lives across the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    result.try_into().expect("a descriptor, zero or -1")
}
