//! The driver API's types, as far as calls take them. Both libraries have them: the runtime library
//! calls the driver. Handles are numbers here: nobody follows them.

#![allow(
    missing_docs,
    non_camel_case_types,
    reason = "names and meanings are CUDA's"
)]

/// An address on a device.
pub type CUdeviceptr = u64;
/// A device's number.
pub type CUdevice = i32;
/// Handle of a context.
pub type CUcontext = usize;
/// Handle of a stream; 0 is the null stream.
pub type CUstream = usize;
/// Handle of an event.
pub type CUevent = usize;
/// Handle of a module.
pub type CUmodule = usize;
/// Handle of a library of kernels.
pub type CUlibrary = usize;
/// Handle of a kernel; what takes a [`CUfunction`] takes this too.
pub type CUkernel = usize;
/// Handle of a kernel in a module.
pub type CUfunction = usize;
/// Handle of a graph.
pub type CUgraph = usize;
/// Handle of a graph that can be launched.
pub type CUgraphExec = usize;
/// Handle of a part of a graph.
pub type CUgraphNode = usize;
/// Handle of a memory pool.
pub type CUmemoryPool = usize;
/// Handle of physical memory.
pub type CUmemGenericAllocationHandle = u64;
/// Pointer that is handed on or kept, and not followed.
pub type Opaque = usize;

/// `CU_STREAM_LEGACY`
pub const STREAM_LEGACY: CUstream = 1;
/// `CU_STREAM_PER_THREAD`
pub const STREAM_PER_THREAD: CUstream = 2;

/// `CUmemorytype`
pub const MEMORY_HOST: u32 = 1;
pub const MEMORY_DEVICE: u32 = 2;
pub const MEMORY_UNIFIED: u32 = 4;

/// `CUuuid`
pub type CUuuid = [u8; 16];

/// `CUlaunchConfig`
#[derive(Clone, Copy)]
#[repr(C)]
pub struct CUlaunchConfig {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared_bytes: u32,
    pub stream: CUstream,
    pub attributes: Opaque,
    pub attribute_count: u32,
}

/// One side of a `CUDA_MEMCPY2D`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Side2D {
    pub x_bytes: usize,
    pub y: usize,
    pub memory_type: u32,
    pub host: u64,
    pub device: CUdeviceptr,
    pub array: Opaque,
    pub pitch_bytes: usize,
}

/// `CUDA_MEMCPY2D_v2`
#[derive(Clone, Copy)]
#[repr(C)]
pub struct CUDA_MEMCPY2D {
    pub from: Side2D,
    pub to: Side2D,
    pub width_bytes: usize,
    pub height: usize,
}

/// One side of a `CUDA_MEMCPY3D` or, with the context where the other has a reserved word, of a
/// `CUDA_MEMCPY3D_PEER`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Side3D {
    pub x_bytes: usize,
    pub y: usize,
    pub z: usize,
    pub level: usize,
    pub memory_type: u32,
    pub host: u64,
    pub device: CUdeviceptr,
    pub array: Opaque,
    pub context: CUcontext,
    pub pitch_bytes: usize,
    pub height: usize,
}

/// `CUDA_MEMCPY3D_v2` and `CUDA_MEMCPY3D_PEER_v1`
#[derive(Clone, Copy)]
#[repr(C)]
pub struct CUDA_MEMCPY3D {
    pub from: Side3D,
    pub to: Side3D,
    pub width_bytes: usize,
    pub height: usize,
    pub depth: usize,
}

/// `CUmemLocation`
#[derive(Clone, Copy)]
#[repr(C)]
pub struct CUmemLocation {
    pub kind: u32,
    pub id: i32,
}

/// `CUmemAllocationProp`
#[derive(Clone, Copy)]
#[repr(C)]
pub struct CUmemAllocationProp {
    pub kind: u32,
    pub handle_types: u32,
    pub location: CUmemLocation,
    pub windows: Opaque,
    pub flags: [u8; 8],
}

/// `CUmemAccessDesc`
#[derive(Clone, Copy)]
#[repr(C)]
pub struct CUmemAccessDesc {
    pub location: CUmemLocation,
    pub flags: u32,
}

/// `CUmemPoolProps`
#[derive(Clone, Copy)]
#[repr(C)]
pub struct CUmemPoolProps {
    pub kind: u32,
    pub handle_types: u32,
    pub location: CUmemLocation,
    pub windows: Opaque,
    pub max_bytes: usize,
    pub reserved: [u8; 56],
}

/// `CUDA_KERNEL_NODE_PARAMS_v2`
#[derive(Clone, Copy)]
#[repr(C)]
pub struct CUDA_KERNEL_NODE_PARAMS {
    pub function: CUfunction,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared_bytes: u32,
    pub parameters: Opaque,
    pub extra: Opaque,
    pub kernel: CUkernel,
    pub context: CUcontext,
}

// The sizes that CUDA's headers give on 64-bit machines.
const _: () = assert!(size_of::<CUlaunchConfig>() == 56);
const _: () = assert!(size_of::<CUDA_MEMCPY2D>() == 128);
const _: () = assert!(size_of::<CUDA_MEMCPY3D>() == 200);
const _: () = assert!(size_of::<CUmemAllocationProp>() == 32);
const _: () = assert!(size_of::<CUmemPoolProps>() == 88);
const _: () = assert!(size_of::<CUDA_KERNEL_NODE_PARAMS>() == 72);
