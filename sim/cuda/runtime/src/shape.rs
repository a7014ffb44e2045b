//! The runtime API's structures, as far as calls take them.

use cuda_sim_control::abi::{CUstream, Opaque};

/// `dim3`; by value it is two words.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Dim3 {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) z: u32,
}

/// `cudaPitchedPtr`
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct PitchedPtr {
    pub(crate) address: u64,
    pub(crate) pitch_bytes: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// `cudaExtent`
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Extent {
    pub(crate) width_bytes: usize,
    pub(crate) height: usize,
    pub(crate) depth: usize,
}

/// `cudaPos`
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Position {
    pub(crate) x_bytes: usize,
    pub(crate) y: usize,
    pub(crate) z: usize,
}

/// One side of a copy in three dimensions.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Side {
    pub(crate) array: Opaque,
    pub(crate) position: Position,
    pub(crate) memory: PitchedPtr,
}

/// `cudaMemcpy3DParms`
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Memcpy3D {
    pub(crate) from: Side,
    pub(crate) to: Side,
    pub(crate) extent: Extent,
    pub(crate) kind: u32,
}

/// `cudaMemcpy3DPeerParms`
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Memcpy3DPeer {
    pub(crate) from: Side,
    pub(crate) from_device: i32,
    pub(crate) to: Side,
    pub(crate) to_device: i32,
    pub(crate) extent: Extent,
}

/// `cudaLaunchConfig_t`
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct LaunchConfig {
    pub(crate) grid: Dim3,
    pub(crate) block: Dim3,
    pub(crate) shared_bytes: usize,
    pub(crate) stream: CUstream,
    pub(crate) attributes: Opaque,
    pub(crate) attribute_count: u32,
}

/// `cudaKernelNodeParams`
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct KernelNode {
    pub(crate) function: usize,
    pub(crate) grid: Dim3,
    pub(crate) block: Dim3,
    pub(crate) shared_bytes: u32,
    pub(crate) parameters: Opaque,
    pub(crate) extra: Opaque,
}

/// `cudaPointerAttributes`
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct PointerAttributes {
    pub(crate) kind: u32,
    pub(crate) device: i32,
    pub(crate) device_address: u64,
    pub(crate) host_address: u64,
}

/// `cudaFuncAttributes`
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct FuncAttributes {
    pub(crate) shared_bytes: usize,
    pub(crate) constant_bytes: usize,
    pub(crate) local_bytes: usize,
    /// From the most threads of a block on, nearly in the order of the driver's attributes.
    pub(crate) numbers: [i32; 13],
    pub(crate) reserved: [i32; 16],
}

/// `cudaDeviceProp`: what is written into it lies at the offsets that the headers give.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct DeviceProperties(pub(crate) [u8; 1032]);

// The sizes that CUDA's headers give on 64-bit machines.
const _: () = assert!(size_of::<Memcpy3D>() == 160);
const _: () = assert!(size_of::<Memcpy3DPeer>() == 168);
const _: () = assert!(size_of::<LaunchConfig>() == 56);
const _: () = assert!(size_of::<KernelNode>() == 56);
const _: () = assert!(size_of::<PointerAttributes>() == 24);
const _: () = assert!(size_of::<FuncAttributes>() == 144);
