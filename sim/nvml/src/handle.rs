//! What a device handle of the C side stands for: a number, so that no pointer is followed.

use std::ptr;

use nvml_wrapper_sys::bindings::nvmlDevice_t;

use crate::abi::{Answer, Code};

/// Stands in the upper half of each handle, so that other pointers are told apart.
const MARK: usize = 0x4756_0000;
const MARK_MASK: usize = 0xffff_0000;

/// A GPU, or one of its MIG instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle {
    /// Its place in the script.
    pub(crate) gpu: usize,
    /// The instance's place in the script.
    pub(crate) mig: Option<usize>,
}

impl Handle {
    pub(crate) fn of(device: nvmlDevice_t) -> Answer<Self> {
        let number = device.addr();
        if number & MARK_MASK != MARK || number > u32::MAX as usize {
            return Err(Code::INVALID_ARGUMENT);
        }
        let (gpu, mig) = (number >> 8 & 0xff, number & 0xff);
        let mig = mig.checked_sub(1);
        Ok(Self { gpu, mig })
    }

    pub(crate) fn pointer(self) -> nvmlDevice_t {
        let mig = self.mig.map_or(0, |mig| mig + 1);
        ptr::without_provenance_mut(MARK | self.gpu << 8 | mig)
    }
}
