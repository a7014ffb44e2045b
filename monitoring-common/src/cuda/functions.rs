//! Functions that run on devices: how often each was launched, and what it is called.

use super::ProcessId;

/// Most functions that have been launched, by process and device. A process of `PyTorch` launches
/// some hundred different kernels.
pub const MAX_LAUNCHED: usize = 8_192;

/// Most functions whose name's address is kept: a process registers all kernels of a library when
/// it loads it, of which `libtorch_cuda` alone has some 30,000.
pub const MAX_REGISTERED: usize = 131_072;

/// Bytes of a function's name that are read. Longer ones are marked as cut.
pub const NAME_BYTES: usize = 1_024;

/// Bytes of the ring buffer of names: the names of some thousand functions at a time.
pub const RING_BYTES: usize = 1 << 20;

/// What launches are counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct LaunchKey {
    /// What the caller gave: an address in the program, or a handle.
    pub function: u64,
    /// The caller's process.
    pub process: ProcessId,
    /// The process's agent.
    pub agent: u16,
    /// The thread's device.
    pub device: u16,
    /// Always 0.
    pub padding: u32,
}

const _: () = assert!(size_of::<LaunchKey>() == 8 + 8 + 2 + 2 + 4);

/// What a function is called, or that a process launched one whose name the kernel side does not
/// know. Sent through the ring buffer `NAMES`, with the name behind it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Named {
    /// What the process calls it by.
    pub function: u64,
    /// Another handle of the same function, whose name it has; 0 if there is none.
    pub same_as: u64,
    /// The process.
    pub process: ProcessId,
    /// Bytes of the name with the zero at its end; 0 if the kernel side does not know it.
    /// [`NAME_BYTES`] if it is longer, and cut.
    pub length: u16,
    /// Always 0.
    pub padding: [u16; 3],
}

const _: () = assert!(size_of::<Named>() == 8 + 8 + 8 + 2 + 6);

/// A [`Named`] with the text behind it, as it is sent.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct NamedText {
    /// Of what it is the name.
    pub head: Named,
    /// The name.
    pub name: [u8; NAME_BYTES],
}

const _: () = assert!(size_of::<NamedText>() == size_of::<Named>() + NAME_BYTES);

crate::plain_data!(LaunchKey, Named, NamedText);
