//! What stands at a function: what it does with the device, and where its arguments are.

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
    /// Copies. Arguments: bytes, or bytes a row; rows; direction, where it is an argument.
    pub const COPY: u8 = 4;
    /// Copies what a structure says. Argument: the structure, one of [`super::layout`].
    pub const COPY_STRUCTURE: u8 = 5;
    /// Makes several copies. Arguments: an array of their bytes, how many they are.
    pub const COPY_BATCH: u8 = 6;
    /// Sets memory. Arguments: elements, or elements a row; rows; slices.
    pub const SET: u8 = 7;
    /// Allocates device memory. Arguments: where the pointer is put; size, or where the bytes of a
    /// row are put and rows.
    pub const ALLOC: u8 = 8;
    /// Frees device memory. Argument: the pointer.
    pub const FREE: u8 = 9;
    /// Ends when all launches of the process, or of one stream, have ended. Argument: the stream.
    pub const SYNC: u8 = 10;
    /// Ends when what was before an event in its stream has ended. Argument: the event.
    pub const SYNC_EVENT: u8 = 11;
    /// Puts an event into a stream. Arguments: event, stream.
    pub const RECORD_EVENT: u8 = 12;
    /// Chooses the thread's device. Argument: its number.
    pub const SET_DEVICE: u8 = 13;
    /// Chooses the thread's context. Argument: the context.
    pub const SET_CONTEXT: u8 = 14;
    /// Chooses the thread's context until it is taken back. Argument: the context.
    pub const PUSH_CONTEXT: u8 = 15;
    /// Takes back the choice of the thread's context.
    pub const POP_CONTEXT: u8 = 16;
    /// Gives a context of a device. Arguments: where the context is put, the device.
    pub const GET_CONTEXT: u8 = 17;
    /// Gives a new context of a device, and chooses it as [`PUSH_CONTEXT`] does. Arguments as
    /// [`GET_CONTEXT`].
    pub const CREATE_CONTEXT: u8 = 18;
    /// Gives a function's handle. Arguments: where the handle is put, the name.
    pub const GET_FUNCTION: u8 = 19;
    /// Gives a handle for another handle of the same function. Arguments: where it is put, the
    /// other one.
    pub const ALIAS_FUNCTION: u8 = 20;
    /// Tells a function's name. Arguments: the handle, the name.
    pub const NAME_FUNCTION: u8 = 21;
}

/// The structures that [`kind::COPY_STRUCTURE`] takes, with NVIDIA's names.
pub mod layout {
    /// `CUDA_MEMCPY2D`.
    pub const DRIVER_2D: u8 = 0;
    /// `CUDA_MEMCPY3D` and `CUDA_MEMCPY3D_PEER`, which has its contexts in the former's gaps.
    pub const DRIVER_3D: u8 = 1;
    /// `cudaMemcpy3DParms`.
    pub const RUNTIME_3D: u8 = 2;
    /// `cudaMemcpy3DPeerParms`.
    pub const RUNTIME_3D_PEER: u8 = 3;
    /// `cudaMemcpy3DBatchOp` and `CUDA_MEMCPY3D_BATCH_OP`, of which there may be several: not read.
    pub const OPERANDS_3D: u8 = 4;
}

/// What an allocation's number is.
pub mod space {
    /// A pointer.
    pub const POINTER: u8 = 0;
    /// A handle of physical memory (`CUmemGenericAllocationHandle`), which may equal a pointer.
    pub const HANDLE: u8 = 1;
}

/// Where a probe stands: what the function is, and where its arguments are.
///
/// The agent writes it as the cookie of the attach point (since 5.15); the kernel programs need no
/// table. Bits 0 to 8: number of the call in the agent's list; 10 to 14: [`kind`]; 15: whether it
/// waits for the device; 16 to 31: four argument positions; 32 to 34: its variant; 35: whether
/// it is a leaf; 36 to 51: the attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook(pub u64);

/// An argument position that means "there is none".
pub const NO_ARGUMENT: u8 = 15;

/// Where the attachment's number begins, and what is below it.
const ATTACHMENT_SHIFT: u32 = 36;
const ATTACHMENT_BELOW: u64 = (1 << ATTACHMENT_SHIFT) - 1;

/// Calls that can be told apart.
pub const MAX_CALLS: usize = 1 << 9;

impl Hook {
    /// A hook without arguments. `call` is below [`MAX_CALLS`].
    pub const fn new(call: u16, kind: u8) -> Self {
        let call = call as u64 & (MAX_CALLS as u64 - 1);
        Self(call | ((kind as u64 & 31) << 10) | 0xffff << 16)
    }

    /// Of a function that returns only when the device has done something.
    #[must_use]
    pub const fn that_waits(self) -> Self {
        Self(self.0 | 1 << 15)
    }

    /// Of a function that calls no other counted one, and whose result nobody needs: it may be
    /// counted when it is entered.
    #[must_use]
    pub const fn that_is_a_leaf(self) -> Self {
        Self(self.0 | 1 << 35)
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

    /// With what the function's name tells: a copy's [`direction`] or [`layout`], an allocation's
    /// [`space`], or the bytes of an element that is set, as a power of two.
    #[must_use]
    pub const fn with_variant(self, variant: u8) -> Self {
        Self(self.0 & !(7 << 32) | (variant as u64 & 7) << 32)
    }

    /// As part of an attachment, by its number: files are attached to one by one.
    #[must_use]
    pub const fn attached_by(self, attachment: u16) -> Self {
        Self(self.0 & ATTACHMENT_BELOW | (attachment as u64) << ATTACHMENT_SHIFT)
    }

    /// The attachment's number, 0 if it has none.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "16 bits")]
    pub const fn attachment(self) -> u16 {
        (self.0 >> ATTACHMENT_SHIFT) as u16
    }

    /// Whether both are of one function, whatever they are attached by.
    #[inline(always)]
    pub const fn is_same_function(self, other: Self) -> bool {
        (self.0 ^ other.0) & ATTACHMENT_BELOW == 0
    }

    /// Number of the call in the agent's list.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "9 bits")]
    pub const fn call(self) -> u16 {
        (self.0 & (MAX_CALLS as u64 - 1)) as u16
    }

    /// What the call does, by [`kind`].
    #[inline(always)]
    pub const fn kind(self) -> u8 {
        (self.0 >> 10 & 31) as u8
    }

    /// Whether the function returns only when the device has done something.
    #[inline(always)]
    pub const fn waits(self) -> bool {
        self.0 >> 15 & 1 != 0
    }

    /// Whether the call may be counted when it is entered.
    #[inline(always)]
    pub const fn is_leaf(self) -> bool {
        self.0 >> 35 & 1 != 0
    }

    /// The position of an argument, [`NO_ARGUMENT`] if there is none.
    #[inline(always)]
    pub const fn argument(self, place: u32) -> u8 {
        (self.0 >> (16 + 4 * place) & 15) as u8
    }

    /// What the function's name tells; see [`Hook::with_variant`].
    #[inline(always)]
    pub const fn variant(self) -> u8 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_hold_what_they_are_given() {
        let hook = Hook::new(511, kind::NAME_FUNCTION)
            .that_waits()
            .that_is_a_leaf()
            .with_arguments([2, 9, NO_ARGUMENT, 0])
            .with_variant(direction::UNKNOWN);
        assert_eq!(hook.call(), 511);
        assert_eq!(hook.kind(), kind::NAME_FUNCTION);
        assert!(hook.waits() && hook.is_leaf());
        let places = [0, 1, 2, 3].map(|place| hook.argument(place));
        assert_eq!(places, [2, 9, NO_ARGUMENT, 0]);
        assert_eq!(hook.variant(), direction::UNKNOWN);
        let attached = hook.attached_by(3).attached_by(u16::MAX);
        assert_eq!((hook.attachment(), attached.attachment()), (0, u16::MAX));
        assert!(attached.is_same_function(hook) && attached != hook);
        assert_eq!((attached.call(), attached.variant()), (511, 4));
        let plain = Hook::new(0, kind::PLAIN);
        assert!(!plain.is_same_function(Hook::new(1, kind::PLAIN)));
        assert_eq!(
            (plain.call(), plain.waits(), plain.is_leaf()),
            (0, false, false)
        );
        assert_eq!(plain.argument(3), NO_ARGUMENT);
    }
}
