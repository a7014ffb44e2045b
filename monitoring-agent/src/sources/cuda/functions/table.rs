//! The functions of CUDA's libraries that are counted: the one visible list.
//!
//! Positions of arguments are those of the public headers' prototypes, a three-part dimension
//! passed by value as two. A function that is called by several names, for other versions of its
//! arguments or for another default stream, is in the list once.

mod plain;

use monitoring_common::cuda::{NO_ARGUMENT, direction, kind, layout, space};

use plain::{DRIVER, RUNTIME};

/// Functions that are treated alike.
pub(super) struct Group {
    pub(super) kind: u8,
    pub(super) waits: bool,
    /// See [`Hook::with_variant`].
    pub(super) variant: u8,
    /// Names, and positions of the arguments that the kind tells of.
    pub(super) functions: &'static [(&'static str, &'static [u8])],
}

const fn group(kind: u8, functions: &'static [(&'static str, &'static [u8])]) -> Group {
    Group {
        kind,
        waits: false,
        variant: 0,
        functions,
    }
}

const fn waiting(group: &Group) -> Group {
    Group {
        waits: true,
        ..*group
    }
}

const fn variant(variant: u8, group: &Group) -> Group {
    Group { variant, ..*group }
}

const fn copies(direction: u8, functions: &'static [(&'static str, &'static [u8])]) -> Group {
    variant(direction, &group(kind::COPY, functions))
}

const fn structures(layout: u8, functions: &'static [(&'static str, &'static [u8])]) -> Group {
    variant(layout, &group(kind::COPY_STRUCTURE, functions))
}

/// `power`: the bytes of an element as a power of two.
const fn sets(power: u8, functions: &'static [(&'static str, &'static [u8])]) -> Group {
    variant(power, &group(kind::SET, functions))
}

pub(super) const NONE: u8 = NO_ARGUMENT;

/// Every function.
pub(super) const GROUPS: &[Group] = &[
    group(
        kind::LAUNCH,
        &[
            ("cudaLaunchKernel", &[0, 7]),
            ("cudaLaunchCooperativeKernel", &[0, 7]),
            ("cuLaunchKernel", &[0, 8]),
            ("cuLaunchCooperativeKernel", &[0, 8]),
            ("cuLaunchGridAsync", &[0, 3]),
            ("cuLaunchGrid", &[0]),
            ("cuLaunch", &[0]),
        ],
    ),
    group(
        kind::LAUNCH_EX,
        &[
            ("cudaLaunchKernelExC", &[1, 0]),
            ("cuLaunchKernelEx", &[1, 0]),
        ],
    ),
    group(
        kind::GRAPH_LAUNCH,
        &[("cudaGraphLaunch", &[0, 1]), ("cuGraphLaunch", &[0, 1])],
    ),
    waiting(&copies(
        direction::UNKNOWN,
        &[
            ("cudaMemcpy", &[2, NONE, 3]),
            ("cudaMemcpy2D", &[4, 5, 6]),
            ("cudaMemcpyToSymbol", &[2, NONE, 4]),
            ("cudaMemcpyFromSymbol", &[2, NONE, 4]),
            ("cudaMemcpyToArray", &[4, NONE, 5]),
            ("cudaMemcpyFromArray", &[4, NONE, 5]),
            ("cudaMemcpy2DToArray", &[5, 6, 7]),
            ("cudaMemcpy2DFromArray", &[5, 6, 7]),
            ("cuMemcpy", &[2]),
        ],
    )),
    copies(
        direction::UNKNOWN,
        &[
            ("cudaMemcpyAsync", &[2, NONE, 3]),
            ("cudaMemcpy2DAsync", &[4, 5, 6]),
            ("cudaMemcpyToSymbolAsync", &[2, NONE, 4]),
            ("cudaMemcpyFromSymbolAsync", &[2, NONE, 4]),
            ("cudaMemcpyToArrayAsync", &[4, NONE, 5]),
            ("cudaMemcpyFromArrayAsync", &[4, NONE, 5]),
            ("cudaMemcpy2DToArrayAsync", &[5, 6, 7]),
            ("cudaMemcpy2DFromArrayAsync", &[5, 6, 7]),
            ("cudaMemcpyArrayToArray", &[6, NONE, 7]),
            ("cudaMemcpy2DArrayToArray", &[6, 7, 8]),
            ("cudaMemcpyWithAttributesAsync", &[2]),
            ("cuMemcpyWithAttributesAsync", &[2]),
            ("cuMemcpyAsync", &[2]),
        ],
    ),
    waiting(&copies(
        direction::HOST_TO_DEVICE,
        &[("cuMemcpyHtoD", &[2]), ("cuMemcpyHtoA", &[3])],
    )),
    copies(
        direction::HOST_TO_DEVICE,
        &[("cuMemcpyHtoDAsync", &[2]), ("cuMemcpyHtoAAsync", &[3])],
    ),
    waiting(&copies(
        direction::DEVICE_TO_HOST,
        &[("cuMemcpyDtoH", &[2]), ("cuMemcpyAtoH", &[3])],
    )),
    copies(
        direction::DEVICE_TO_HOST,
        &[("cuMemcpyDtoHAsync", &[2]), ("cuMemcpyAtoHAsync", &[3])],
    ),
    copies(
        direction::DEVICE_TO_DEVICE,
        &[
            ("cudaMemcpyPeer", &[4]),
            ("cudaMemcpyPeerAsync", &[4]),
            ("cuMemcpyDtoD", &[2]),
            ("cuMemcpyDtoDAsync", &[2]),
            ("cuMemcpyDtoA", &[3]),
            ("cuMemcpyAtoD", &[3]),
            ("cuMemcpyAtoA", &[4]),
            ("cuMemcpyPeer", &[4]),
            ("cuMemcpyPeerAsync", &[4]),
        ],
    ),
    group(
        kind::COPY_BATCH,
        &[
            ("cudaMemcpyBatchAsync", &[2, 3]),
            ("cuMemcpyBatchAsync", &[2, 3]),
        ],
    ),
    waiting(&structures(
        layout::DRIVER_2D,
        &[("cuMemcpy2D", &[0]), ("cuMemcpy2DUnaligned", &[0])],
    )),
    structures(layout::DRIVER_2D, &[("cuMemcpy2DAsync", &[0])]),
    waiting(&structures(
        layout::DRIVER_3D,
        &[("cuMemcpy3D", &[0]), ("cuMemcpy3DPeer", &[0])],
    )),
    structures(
        layout::DRIVER_3D,
        &[("cuMemcpy3DAsync", &[0]), ("cuMemcpy3DPeerAsync", &[0])],
    ),
    waiting(&structures(layout::RUNTIME_3D, &[("cudaMemcpy3D", &[0])])),
    structures(layout::RUNTIME_3D, &[("cudaMemcpy3DAsync", &[0])]),
    structures(
        layout::RUNTIME_3D_PEER,
        &[("cudaMemcpy3DPeer", &[0]), ("cudaMemcpy3DPeerAsync", &[0])],
    ),
    structures(
        layout::OPERANDS_3D,
        &[
            ("cudaMemcpy3DWithAttributesAsync", &[0]),
            ("cudaMemcpy3DBatchAsync", &[1]),
            ("cuMemcpy3DWithAttributesAsync", &[0]),
            ("cuMemcpy3DBatchAsync", &[1]),
        ],
    ),
    sets(
        0,
        &[
            ("cudaMemset", &[2]),
            ("cudaMemsetAsync", &[2]),
            ("cudaMemset2D", &[3, 4]),
            ("cudaMemset2DAsync", &[3, 4]),
            ("cuMemsetD8", &[2]),
            ("cuMemsetD8Async", &[2]),
            ("cuMemsetD2D8", &[3, 4]),
            ("cuMemsetD2D8Async", &[3, 4]),
        ],
    ),
    sets(
        1,
        &[
            ("cuMemsetD16", &[2]),
            ("cuMemsetD16Async", &[2]),
            ("cuMemsetD2D16", &[3, 4]),
            ("cuMemsetD2D16Async", &[3, 4]),
        ],
    ),
    sets(
        2,
        &[
            ("cuMemsetD32", &[2]),
            ("cuMemsetD32Async", &[2]),
            ("cuMemsetD2D32", &[3, 4]),
            ("cuMemsetD2D32Async", &[3, 4]),
        ],
    ),
    // Of its arguments, two are structures, which the callers of each machine pass in other places.
    #[cfg(target_arch = "x86_64")]
    sets(
        0,
        &[
            ("cudaMemset3D", &[10, 11, 12]),
            ("cudaMemset3DAsync", &[10, 11, 12]),
        ],
    ),
    #[cfg(not(target_arch = "x86_64"))]
    group(
        kind::PLAIN,
        &[("cudaMemset3D", &[]), ("cudaMemset3DAsync", &[])],
    ),
    group(
        kind::ALLOC,
        &[
            ("cudaMalloc", &[0, 1]),
            ("cudaMallocManaged", &[0, 1]),
            ("cudaMallocAsync", &[0, 1]),
            ("cudaMallocFromPoolAsync", &[0, 1]),
            ("cudaMallocPitch", &[0, 1, 3]),
            ("cuMemAlloc", &[0, 1]),
            ("cuMemAllocManaged", &[0, 1]),
            ("cuMemAllocAsync", &[0, 1]),
            ("cuMemAllocFromPoolAsync", &[0, 1]),
            ("cuMemAllocPitch", &[0, 1, 3]),
        ],
    ),
    variant(
        space::HANDLE,
        &group(kind::ALLOC, &[("cuMemCreate", &[0, 1])]),
    ),
    group(
        kind::FREE,
        &[
            ("cudaFree", &[0]),
            ("cudaFreeAsync", &[0]),
            ("cuMemFree", &[0]),
            ("cuMemFreeAsync", &[0]),
        ],
    ),
    variant(space::HANDLE, &group(kind::FREE, &[("cuMemRelease", &[0])])),
    waiting(&group(
        kind::SYNC,
        &[
            ("cudaDeviceSynchronize", &[]),
            ("cudaThreadSynchronize", &[]),
            ("cudaStreamSynchronize", &[0]),
            ("cuCtxSynchronize", &[]),
            ("cuStreamSynchronize", &[0]),
        ],
    )),
    waiting(&group(
        kind::SYNC_EVENT,
        &[("cudaEventSynchronize", &[0]), ("cuEventSynchronize", &[0])],
    )),
    // Whoever asks until the answer is yes has waited too.
    group(
        kind::SYNC,
        &[("cudaStreamQuery", &[0]), ("cuStreamQuery", &[0])],
    ),
    group(
        kind::SYNC_EVENT,
        &[("cudaEventQuery", &[0]), ("cuEventQuery", &[0])],
    ),
    group(
        kind::RECORD_EVENT,
        &[
            ("cudaEventRecord", &[0, 1]),
            ("cudaEventRecordWithFlags", &[0, 1]),
            ("cuEventRecord", &[0, 1]),
            ("cuEventRecordWithFlags", &[0, 1]),
        ],
    ),
    group(kind::SET_DEVICE, &[("cudaSetDevice", &[0])]),
    group(kind::SET_CONTEXT, &[("cuCtxSetCurrent", &[0])]),
    group(kind::PUSH_CONTEXT, &[("cuCtxPushCurrent", &[0])]),
    group(kind::POP_CONTEXT, &[("cuCtxPopCurrent", &[])]),
    group(kind::GET_CONTEXT, &[("cuDevicePrimaryCtxRetain", &[0, 1])]),
    group(
        kind::CREATE_CONTEXT,
        &[
            ("cuCtxCreate", &[0, 2]),
            ("cuCtxCreate_v3", &[0, 4]),
            ("cuCtxCreate_v4", &[0, 3]),
        ],
    ),
    group(
        kind::GET_FUNCTION,
        &[
            ("cuModuleGetFunction", &[0, 2]),
            ("cuLibraryGetKernel", &[0, 2]),
            ("cudaLibraryGetKernel", &[0, 2]),
        ],
    ),
    group(
        kind::ALIAS_FUNCTION,
        &[
            ("cuKernelGetFunction", &[0, 1]),
            ("__cudaGetKernel", &[0, 1]),
            ("cudaGetFuncBySymbol", &[0, 1]),
            ("cudaGetKernel", &[0, 1]),
        ],
    ),
    group(kind::NAME_FUNCTION, &[("__cudaRegisterFunction", &[1, 3])]),
    // Of a part of a device: which launches it has waited for cannot be told.
    waiting(&group(kind::PLAIN, &[("cudaExecutionCtxSynchronize", &[])])),
    group(kind::PLAIN, RUNTIME),
    group(kind::PLAIN, DRIVER),
];
