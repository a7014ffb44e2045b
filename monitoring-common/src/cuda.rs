//! Family `cuda`: calls into CUDA's runtime and driver libraries.
//!
//! One pair of programs stands at every function. What a function is comes with its probe, as the
//! 64-bit cookie of the attach point: see [`Hook`].

mod cost;

pub use cost::Cost;

use crate::histogram::Histogram;

/// What a call does, as far as the kernel programs treat it differently.
pub mod kind {
    /// Counted and timed, nothing more: creations, queries, attributes.
    pub const PLAIN: u8 = 0;
    /// Launches a kernel. Arguments: function, stream.
    pub const LAUNCH: u8 = 1;
    /// Launches a kernel; the stream is in a structure. Arguments: function, structure.
    pub const LAUNCH_EX: u8 = 2;
    /// Launches a graph. Arguments: graph, stream.
    pub const GRAPH_LAUNCH: u8 = 3;
    /// Copies. Arguments: bytes, or bytes a row and rows; direction, where it is an argument.
    pub const COPY: u8 = 4;
    /// Allocates device memory. Arguments: where the pointer is put; size, or where the bytes of a
    /// row are put and rows.
    pub const ALLOC: u8 = 5;
    /// Frees device memory. Argument: the pointer.
    pub const FREE: u8 = 6;
    /// Waits for all launches of the process, or of one stream. Argument: the stream.
    pub const SYNC: u8 = 7;
    /// Chooses the thread's device. Argument: its number.
    pub const SET_DEVICE: u8 = 8;
    /// Chooses the thread's context. Argument: the context.
    pub const SET_CONTEXT: u8 = 9;
    /// Gives a context of a device. Arguments: where the context is put, the device.
    pub const GET_CONTEXT: u8 = 10;
    /// Gives a function's handle. Arguments: where the handle is put, the name.
    pub const GET_FUNCTION: u8 = 11;
    /// Gives a handle for another handle of the same function. Arguments: where it is put, the
    /// other one.
    pub const ALIAS_FUNCTION: u8 = 12;
    /// Tells a function's name. Arguments: the handle, the name.
    pub const NAME_FUNCTION: u8 = 13;
}

/// Where a probe stands: what the function is, and where its arguments are.
///
/// The agent writes it as the cookie of the attach point (since 5.15); the kernel programs need no
/// table. Bits 0 to 9: number of the call in the agent's list; 10 to 13: [`kind`]; 14: whether it
/// waits for the device; 15: whether it is a leaf; 16 to 31: four argument positions; 32 to 34: direction of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook(pub u64);

/// An argument position that means "there is none".
pub const NO_ARGUMENT: u8 = 15;

/// Calls that can be told apart.
pub const MAX_CALLS: usize = 1 << 10;

impl Hook {
    /// A hook without arguments. `call` is below [`MAX_CALLS`].
    pub const fn new(call: u16, kind: u8) -> Self {
        let call = call as u64 & (MAX_CALLS as u64 - 1);
        Self(call | ((kind as u64 & 15) << 10) | 0xffff << 16)
    }

    /// Of a function that returns only when the device has done something.
    #[must_use]
    pub const fn that_waits(self) -> Self {
        Self(self.0 | 1 << 14)
    }

    /// Of a function that calls no other counted one, and whose result nobody needs: it may be
    /// counted when it is entered.
    #[must_use]
    pub const fn that_is_a_leaf(self) -> Self {
        Self(self.0 | 1 << 15)
    }

    /// With the positions of the arguments that the kind tells of, in its order.
    #[must_use]
    pub const fn with_arguments(self, positions: [u8; 4]) -> Self {
        let mut packed = 0;
        let mut place = 0;
        while place < 4 {
            packed |= (positions[place] as u64 & 15) << (16 + 4 * place);
            place += 1;
        }
        Self(self.0 & !(0xffff << 16) | packed)
    }

    /// With a [`direction`] that the function's name tells.
    #[must_use]
    pub const fn with_direction(self, direction: u8) -> Self {
        Self(self.0 & !(7 << 32) | (direction as u64 & 7) << 32)
    }

    /// Number of the call in the agent's list.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "10 bits")]
    pub const fn call(self) -> u16 {
        (self.0 & (MAX_CALLS as u64 - 1)) as u16
    }

    /// What the call does, by [`kind`].
    #[inline(always)]
    pub const fn kind(self) -> u8 {
        (self.0 >> 10 & 15) as u8
    }

    /// Whether the function returns only when the device has done something.
    #[inline(always)]
    pub const fn waits(self) -> bool {
        self.0 >> 14 & 1 != 0
    }

    /// Whether the call may be counted when it is entered.
    #[inline(always)]
    pub const fn is_leaf(self) -> bool {
        self.0 >> 15 & 1 != 0
    }

    /// The position of an argument, [`NO_ARGUMENT`] if there is none.
    #[inline(always)]
    pub const fn argument(self, place: u32) -> u8 {
        (self.0 >> (16 + 4 * place) & 15) as u8
    }

    /// The direction that the function's name tells.
    #[inline(always)]
    pub const fn direction(self) -> u8 {
        (self.0 >> 32 & 7) as u8
    }
}

/// Directions of copies: numbers as in `enum cudaMemcpyKind`, which has them as an argument.
pub mod direction {
    /// From host memory to host memory.
    pub const HOST_TO_HOST: u8 = 0;
    /// From host memory to device memory.
    pub const HOST_TO_DEVICE: u8 = 1;
    /// From device memory to host memory.
    pub const DEVICE_TO_HOST: u8 = 2;
    /// Within or between devices.
    pub const DEVICE_TO_DEVICE: u8 = 3;
    /// Found out by the driver from the addresses, which tell nobody else.
    pub const UNKNOWN: u8 = 4;
    /// How many there are.
    pub const COUNT: usize = 5;
    /// The label's values, by number.
    pub const NAMES: [&str; COUNT] = ["h2h", "h2d", "d2h", "d2d", "unknown"];
}

/// Most pairs of call and agent. An entry takes 256 bytes on each CPU.
pub const MAX_CALL_PAIRS: usize = 2_048;

/// Most triples of call, agent and error.
pub const MAX_ERRORS: usize = 1_024;

/// Most functions that have been launched, by process and device. A process of `PyTorch` launches
/// some hundred different kernels.
pub const MAX_LAUNCHED: usize = 8_192;

/// Most functions whose name's address is kept: a process registers all kernels of a library when
/// it loads it, of which `libtorch_cuda` alone has some 30,000.
pub const MAX_REGISTERED: usize = 131_072;

/// Most allocations of device memory that are alive.
pub const MAX_ALLOCATIONS: usize = 131_072;

/// Most pairs of process and device that have memory.
pub const MAX_HOLDERS: usize = 4_096;

/// Most streams, and processes, with launches that nobody has waited for.
pub const MAX_WINDOWS: usize = 16_384;

/// Most contexts and their devices.
pub const MAX_CONTEXTS: usize = 4_096;

/// Bytes of a function's name that are read. Longer ones are marked as cut.
pub const NAME_BYTES: usize = 1_024;

/// Bytes of the ring buffer of names: the names of some thousand functions at a time.
pub const RING_BYTES: usize = 1 << 20;

/// What calls are counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct CallKey {
    /// [`Hook::call`].
    pub call: u16,
    /// The caller's agent.
    pub agent: u16,
}

const _: () = assert!(size_of::<CallKey>() == 2 + 2);

/// One CPU's calls of one [`CallKey`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Calls {
    /// Calls that returned, by duration.
    pub timed: Histogram,
    /// Calls that did not return where they were expected to.
    pub untimed: u64,
}

const _: () = assert!(size_of::<Calls>() == size_of::<Histogram>() + 8);

impl Calls {
    /// No calls.
    pub const EMPTY: Self = Self {
        timed: Histogram::EMPTY,
        untimed: 0,
    };
}

/// What failed calls are counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ErrorKey {
    /// The call.
    pub call: CallKey,
    /// `cudaError_t` or `CUresult`; never 0.
    pub code: u32,
}

const _: () = assert!(size_of::<ErrorKey>() == 4 + 4);

/// What launches are counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct LaunchKey {
    /// What the caller gave: an address in the program, or a handle.
    pub function: u64,
    /// The caller's process.
    pub pid: u32,
    /// The process's agent.
    pub agent: u16,
    /// The thread's device.
    pub device: u16,
}

const _: () = assert!(size_of::<LaunchKey>() == 8 + 4 + 2 + 2);

/// An address, or a handle, in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Address {
    /// The number; of a stream, an allocation, a context or a function.
    pub value: u64,
    /// The process.
    pub pid: u32,
    /// Always 0.
    pub padding: u32,
}

const _: () = assert!(size_of::<Address>() == 8 + 4 + 4);

/// Device memory that is in use.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Allocation {
    /// How much was asked for.
    pub bytes: u64,
    /// When, by the kernel's monotonic clock.
    pub since_ns: u64,
    /// The device of the thread that allocated it.
    pub device: u16,
    /// The process's agent at that time.
    pub agent: u16,
    /// Always 0.
    pub padding: u32,
}

const _: () = assert!(size_of::<Allocation>() == 8 + 8 + 2 + 2 + 4);

/// Who holds device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct HolderKey {
    /// The process.
    pub pid: u32,
    /// Its agent at its first allocation.
    pub agent: u16,
    /// The device.
    pub device: u16,
}

const _: () = assert!(size_of::<HolderKey>() == 4 + 2 + 2);

/// What a process has allocated and freed on a device.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Held {
    /// Bytes allocated so far.
    pub allocated_bytes: u64,
    /// Bytes freed so far, of those.
    pub freed_bytes: u64,
}

const _: () = assert!(size_of::<Held>() == 8 + 8);

/// What an agent has done on one CPU.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Sums {
    /// Bytes copied, by [`direction`].
    pub copied_bytes: [u64; direction::COUNT],
    /// Bytes of device memory allocated.
    pub allocated_bytes: u64,
    /// Bytes of device memory freed.
    pub freed_bytes: u64,
    /// Frees of what was not allocated while the agent looked, or was freed before.
    pub unknown_frees: u64,
    /// Time spent waiting for the device.
    pub waited_ns: u64,
    /// Graphs launched.
    pub graphs: u64,
    /// Counted functions entered within other calls: not calls of their own, but traps.
    pub nested: u64,
    /// From a launch to the end of the wait for it.
    pub execution: Histogram,
}

const _: () = assert!(size_of::<Sums>() == 8 * (direction::COUNT + 6) + size_of::<Histogram>());

impl Sums {
    /// Nothing.
    pub const EMPTY: Self = Self {
        copied_bytes: [0; direction::COUNT],
        allocated_bytes: 0,
        freed_bytes: 0,
        unknown_frees: 0,
        waited_ns: 0,
        graphs: 0,
        nested: 0,
        execution: Histogram::EMPTY,
    };

    /// Adds another CPU's.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.copied_bytes.iter_mut().zip(other.copied_bytes) {
            *sum = sum.wrapping_add(more);
        }
        for (sum, more) in [
            (&mut self.allocated_bytes, other.allocated_bytes),
            (&mut self.freed_bytes, other.freed_bytes),
            (&mut self.unknown_frees, other.unknown_frees),
            (&mut self.waited_ns, other.waited_ns),
            (&mut self.graphs, other.graphs),
            (&mut self.nested, other.nested),
        ] {
            *sum = sum.wrapping_add(more);
        }
        self.execution.merge(&other.execution);
    }
}

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
    pub pid: u32,
    /// Bytes of the name with the zero at its end; 0 if the kernel side does not know it.
    /// [`NAME_BYTES`] if it is longer, and cut.
    pub length: u16,
    /// Always 0.
    pub padding: u16,
}

const _: () = assert!(size_of::<Named>() == 8 + 8 + 4 + 2 + 2);

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

/// What a thread remembers of the outermost call that it is in. Kernel side only.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Thread {
    /// Stack pointer at the call's entry; 0 outside of calls.
    pub stack: u64,
    /// The call's [`Hook`].
    pub hook: u64,
    /// When the call was entered.
    pub entered_ns: u64,
    /// Its arguments, in the order of its kind.
    pub arguments: [u64; 4],
    /// The epoch under which `agent` was read; see [`crate::agents::LABEL_EPOCH`].
    pub epoch: u32,
    /// The thread's agent.
    pub agent: u16,
    /// The device that the thread has chosen, 0 if it never did.
    pub device: u16,
    /// Counted functions that were entered within the call.
    pub nested: u32,
    /// The epoch under which the window of `window_stream` was seen to have begun.
    pub window_epoch: u32,
    /// The stream of the thread's last launch.
    pub window_stream: u64,
}

const _: () = assert!(size_of::<Thread>() == 3 * 8 + 4 * 8 + 4 + 2 + 2 + 4 + 4 + 8);
crate::plain_data!(
    CallKey, ErrorKey, LaunchKey, Address, Allocation, HolderKey, Held, Sums, Named, NamedText,
    Calls
);

/// Slots of the per-CPU array `LOST`.
pub mod lost {
    /// The kernel had no memory for a thread's state: the call is not counted.
    pub const THREAD_STATE: u32 = 0;
    /// More pairs of call and agent than `MAX_CALL_PAIRS`: the call is not counted.
    pub const CALLS_FULL: u32 = 1;
    /// More errors than `MAX_ERRORS`: the error is not counted.
    pub const ERRORS_FULL: u32 = 2;
    /// More functions than `MAX_LAUNCHED`: the launch is counted without its function.
    pub const LAUNCHED_FULL: u32 = 3;
    /// More allocations than `MAX_ALLOCATIONS` or `MAX_HOLDERS`: memory is not followed.
    pub const ALLOCATIONS_FULL: u32 = 4;
    /// More streams or contexts than there is room for, or a name that was not sent.
    pub const DETAILS_FULL: u32 = 5;
    /// A call that was entered and never returned, as after `longjmp`: counted, without a duration.
    pub const NO_RETURN: u32 = 6;
    /// An argument that could not be read: its bytes, or its handle, are not counted.
    pub const UNREADABLE: u32 = 7;
    /// The reasons' label values, by slot.
    pub const REASONS: [&str; 8] = [
        "thread_state",
        "calls_full",
        "errors_full",
        "launched_full",
        "allocations_full",
        "details_full",
        "no_return",
        "unreadable",
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_hold_what_they_are_given() {
        let hook = Hook::new(1023, kind::COPY)
            .that_waits()
            .that_is_a_leaf()
            .with_arguments([2, 9, NO_ARGUMENT, 0])
            .with_direction(direction::UNKNOWN);
        assert_eq!(hook.call(), 1023);
        assert_eq!(hook.kind(), kind::COPY);
        assert!(hook.waits() && hook.is_leaf());
        let places = [0, 1, 2, 3].map(|place| hook.argument(place));
        assert_eq!(places, [2, 9, NO_ARGUMENT, 0]);
        assert_eq!(hook.direction(), direction::UNKNOWN);
        let plain = Hook::new(0, kind::PLAIN);
        assert_eq!(
            (plain.call(), plain.waits(), plain.is_leaf()),
            (0, false, false)
        );
        assert_eq!(plain.argument(3), NO_ARGUMENT);
    }
}
