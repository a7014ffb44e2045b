//! Memory that other interfaces made. There are none on this machine.

use cuda_sim_control::{abi::Opaque, exports};

use crate::code::NOT_SUPPORTED;

exports! {
    fn cuImportExternalMemory(_result: Opaque, _description: Opaque) {
        Err(NOT_SUPPORTED)
    }
    fn cuExternalMemoryGetMappedBuffer(_result: Opaque, _memory: Opaque, _description: Opaque) {
        Err(NOT_SUPPORTED)
    }
    fn cuDestroyExternalMemory(_memory: Opaque) {
        Err(NOT_SUPPORTED)
    }
}
