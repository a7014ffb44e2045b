//! What spans of calls into CUDA tell beyond the common [`Header`], and the rooms in which the spans
//! of a window are kept until it is known whether the window becomes one.

use super::{Header, Record, ThreadContext};
use crate::cuda::ProcessId;

/// `cudaErrorNotReady` and `CUDA_ERROR_NOT_READY`: the answer of a query, and no failure.
pub const NOT_READY: u32 = 600;

/// Spans of one window that are kept; further ones are counted.
pub const KEPT: usize = 64;

/// Windows whose spans are kept at the same time. Those for which there is no room are told of without
/// what happened within them.
pub const ROOMS: usize = 32;

/// A room whose window began so long ago is given to another one: it may never be waited for.
pub const ROOM_AGE_NS: u64 = 60_000_000_000;

/// A chain that is in the sample only where all are.
pub const NEVER_DRAWN: u64 = 0xe3bd_28a8_7948_3d6a;

/// Bits of [`CudaDetail::flags`].
pub mod flags {
    /// A launch of a graph; [`CudaDetail::object`](super::CudaDetail::object) is the graph.
    pub const GRAPH: u16 = 1;
    /// The grid is known, and the block but for its third dimension.
    pub const SHAPE: u16 = 2;
    /// The block's third dimension is known.
    pub const DEPTH: u16 = 4;
    /// A window of all streams of a device.
    pub const DEVICE_WIDE: u16 = 8;
    /// The call was seen when it was entered only: it has no duration, and its result is not known.
    pub const UNTIMED: u16 = 16;
    /// A window of which not all launches were looked at.
    pub const INCOMPLETE: u16 = 32;
    /// A window that ended with a successful query: nobody knows since when it was waited for.
    pub const POLLED: u16 = 64;
    /// The stream is known.
    pub const STREAM: u16 = 128;
    /// The bytes are known.
    pub const BYTES: u16 = 256;
    /// The direction is known.
    pub const DIRECTION: u16 = 512;
    /// The shared memory is known.
    pub const SHARED: u16 = 1024;
}

/// A window, or a call. What a kind does not have is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CudaDetail {
    /// The process, as names of functions are kept under it.
    pub process: ProcessId,
    /// What was launched: an address or a handle. Of memory the pointer.
    pub object: u64,
    /// The stream that was launched on or waited for.
    pub stream: u64,
    /// Bytes copied, set, allocated or freed.
    pub bytes: u64,
    /// Of a window: when the call was entered that waited for it.
    pub waited_from_ns: u64,
    /// Blocks by dimension.
    pub grid: [u32; 3],
    /// Threads of a block by dimension.
    pub block: [u32; 3],
    /// Shared memory that was asked for at the launch, in bytes a block.
    pub shared_bytes: u32,
    /// Launches in a window, as far as they were looked at.
    pub launches: u32,
    /// Those of them, and other calls, that were not kept because there were more than [`KEPT`].
    pub left_out: u32,
    /// [`Hook::call`](crate::cuda::Hook::call); of a window, of the call that waited for it.
    pub call: u16,
    /// The device, as the process numbers it.
    pub device: u16,
    /// Bits of [`flags`].
    pub flags: u16,
    /// One of [`direction`](crate::cuda::direction).
    pub direction: u16,
    /// For no padding; 0.
    pub reserved: u32,
}

const _: () = assert!(size_of::<CudaDetail>() == 5 * 8 + 7 * 4 + 2 * 4 + 4 * 2 + 4);

impl CudaDetail {
    /// Nothing known.
    pub const NONE: Self = Self {
        process: 0,
        object: 0,
        stream: 0,
        bytes: 0,
        waited_from_ns: 0,
        grid: [0; 3],
        block: [0; 3],
        shared_bytes: 0,
        launches: 0,
        left_out: 0,
        call: 0,
        device: 0,
        flags: 0,
        direction: 0,
        reserved: 0,
    };
}

/// A span that is kept until its window ends. Kernel side only.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Kept {
    /// Its place in the order of all that were kept in the room, from 1 on; written last, so that
    /// what another thread still writes is not told of.
    pub number: u64,
    /// The span.
    pub record: Record<CudaDetail>,
}

const _: () = assert!(size_of::<Kept>() == 8 + size_of::<Header>() + size_of::<CudaDetail>());

/// What happened within a stream's window, as long as the window is open. Kernel side only.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Room {
    /// Since when it is the stream's: 0 if it is free. Whoever changes this from what it was has the
    /// room.
    pub since_ns: u64,
    /// When the window began that it has now.
    pub window_ns: u64,
    /// What the first window is chosen with that began when it was the stream's already.
    pub chain: u64,
    /// The window's process.
    pub process: ProcessId,
    /// The window's device.
    pub device: u64,
    /// The span in which the application opened the window, if it is recorded.
    pub context: ThreadContext,
    /// What was kept so far.
    pub kept: u64,
    /// As far as it has been told of, or left.
    pub told: u64,
    /// As far as it is to be told of.
    pub until: u64,
    /// For whoever goes through it.
    pub cursor: u64,
    /// Launches of the window.
    pub launches: u64,
    /// Launches that turned out to be of the next one.
    pub later: u64,
    /// What was not kept of the window.
    pub left_out: u64,
    /// When the last call began that lasted long by itself, as a copy does that waits for launches.
    pub long_ns: u64,
    /// The spans, each in the place of its number.
    pub spans: [Kept; KEPT],
}

const _: () = assert!(size_of::<Room>() == 13 * 8 + 24 + KEPT * size_of::<Kept>());
const _: () = assert!(KEPT.is_power_of_two() && ROOMS <= 32, "a bit for each");

crate::plain_data!(CudaDetail);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::lot;

    #[test]
    fn what_is_never_drawn_is_drawn_last() {
        assert_eq!(lot(NEVER_DRAWN), u32::MAX);
    }
}
