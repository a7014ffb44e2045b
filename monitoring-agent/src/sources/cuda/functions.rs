//! The functions of CUDA's libraries that are counted: the one visible list.
//!
//! Positions of arguments are those of the public headers' prototypes, a three-part dimension
//! passed by value as two. A function that is called by several names, for other versions of its
//! arguments or for another default stream, is in the list once.

use monitoring_common::cuda::{Hook, NO_ARGUMENT, direction, kind};

/// Functions that are treated alike.
struct Group {
    kind: u8,
    waits: bool,
    direction: u8,
    /// Names, and positions of the arguments that the kind tells of.
    functions: &'static [(&'static str, &'static [u8])],
}

const fn group(kind: u8, functions: &'static [(&'static str, &'static [u8])]) -> Group {
    Group {
        kind,
        waits: false,
        direction: direction::UNKNOWN,
        functions,
    }
}

const fn waiting(group: &Group) -> Group {
    Group {
        waits: true,
        ..*group
    }
}

const fn copies(direction: u8, functions: &'static [(&'static str, &'static [u8])]) -> Group {
    Group {
        direction,
        ..group(kind::COPY, functions)
    }
}

const NONE: u8 = NO_ARGUMENT;

/// Every function.
const GROUPS: &[Group] = &[
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
    waiting(&group(
        kind::COPY,
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
    group(
        kind::COPY,
        &[
            ("cudaMemcpyAsync", &[2, NONE, 3]),
            ("cudaMemcpy2DAsync", &[4, 5, 6]),
            ("cudaMemcpyToSymbolAsync", &[2, NONE, 4]),
            ("cudaMemcpyFromSymbolAsync", &[2, NONE, 4]),
            ("cudaMemcpyToArrayAsync", &[4, NONE, 5]),
            ("cudaMemcpyFromArrayAsync", &[4, NONE, 5]),
            ("cudaMemcpy2DToArrayAsync", &[5, 6, 7]),
            ("cudaMemcpy2DFromArrayAsync", &[5, 6, 7]),
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
            ("cuMemCreate", &[0, 1]),
        ],
    ),
    group(
        kind::FREE,
        &[
            ("cudaFree", &[0]),
            ("cudaFreeAsync", &[0]),
            ("cuMemFree", &[0]),
            ("cuMemFreeAsync", &[0]),
            ("cuMemRelease", &[0]),
        ],
    ),
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
        kind::PLAIN,
        &[
            ("cudaEventSynchronize", &[]),
            ("cuEventSynchronize", &[]),
            ("cudaMemcpy3D", &[]),
            ("cuMemcpy2D", &[]),
            ("cuMemcpy2DUnaligned", &[]),
            ("cuMemcpy3D", &[]),
        ],
    )),
    group(kind::SET_DEVICE, &[("cudaSetDevice", &[0])]),
    group(
        kind::SET_CONTEXT,
        &[("cuCtxSetCurrent", &[0]), ("cuCtxPushCurrent", &[0])],
    ),
    group(
        kind::GET_CONTEXT,
        &[
            ("cuDevicePrimaryCtxRetain", &[0, 1]),
            ("cuCtxCreate", &[0, 2]),
        ],
    ),
    group(
        kind::GET_FUNCTION,
        &[
            ("cuModuleGetFunction", &[0, 2]),
            ("cuLibraryGetKernel", &[0, 2]),
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
    group(
        kind::PLAIN,
        &[
            ("cudaMemcpy3DAsync", &[]),
            ("cudaMemcpy3DPeer", &[]),
            ("cudaMemcpy3DPeerAsync", &[]),
            ("cudaMemset", &[]),
            ("cudaMemsetAsync", &[]),
            ("cudaMemset2D", &[]),
            ("cudaMemset2DAsync", &[]),
            ("cudaMemset3D", &[]),
            ("cudaMemset3DAsync", &[]),
            ("cudaMallocHost", &[]),
            ("cudaHostAlloc", &[]),
            ("cudaHostRegister", &[]),
            ("cudaFreeHost", &[]),
            ("cudaStreamCreate", &[]),
            ("cudaStreamCreateWithFlags", &[]),
            ("cudaStreamCreateWithPriority", &[]),
            ("cudaStreamDestroy", &[]),
            ("cudaStreamQuery", &[]),
            ("cudaStreamWaitEvent", &[]),
            ("cudaStreamBeginCapture", &[]),
            ("cudaStreamEndCapture", &[]),
            ("cudaEventCreate", &[]),
            ("cudaEventCreateWithFlags", &[]),
            ("cudaEventDestroy", &[]),
            ("cudaEventRecord", &[]),
            ("cudaEventRecordWithFlags", &[]),
            ("cudaEventQuery", &[]),
            ("cudaGraphInstantiate", &[]),
            ("cudaGraphInstantiateWithFlags", &[]),
            ("cudaGraphInstantiateWithParams", &[]),
            ("cudaGraphUpload", &[]),
            ("cudaGraphExecDestroy", &[]),
            ("cudaGraphCreate", &[]),
            ("cudaGraphDestroy", &[]),
            ("cudaLibraryLoadData", &[]),
            ("cudaLibraryLoadFromFile", &[]),
            ("cuMemcpy2DAsync", &[]),
            ("cuMemcpy3DAsync", &[]),
            ("cuMemcpy3DPeer", &[]),
            ("cuMemcpy3DPeerAsync", &[]),
            ("cuMemsetD8", &[]),
            ("cuMemsetD16", &[]),
            ("cuMemsetD32", &[]),
            ("cuMemsetD8Async", &[]),
            ("cuMemsetD16Async", &[]),
            ("cuMemsetD32Async", &[]),
            ("cuMemsetD2D8", &[]),
            ("cuMemsetD2D16", &[]),
            ("cuMemsetD2D32", &[]),
            ("cuMemsetD2D8Async", &[]),
            ("cuMemsetD2D16Async", &[]),
            ("cuMemsetD2D32Async", &[]),
            ("cuMemAllocHost", &[]),
            ("cuMemHostAlloc", &[]),
            ("cuMemHostRegister", &[]),
            ("cuMemFreeHost", &[]),
            ("cuMemMap", &[]),
            ("cuMemUnmap", &[]),
            ("cuStreamCreate", &[]),
            ("cuStreamCreateWithPriority", &[]),
            ("cuStreamDestroy", &[]),
            ("cuStreamQuery", &[]),
            ("cuStreamWaitEvent", &[]),
            ("cuStreamBeginCapture", &[]),
            ("cuStreamEndCapture", &[]),
            ("cuEventCreate", &[]),
            ("cuEventDestroy", &[]),
            ("cuEventRecord", &[]),
            ("cuEventRecordWithFlags", &[]),
            ("cuEventQuery", &[]),
            ("cuGraphInstantiate", &[]),
            ("cuGraphInstantiateWithFlags", &[]),
            ("cuGraphInstantiateWithParams", &[]),
            ("cuGraphUpload", &[]),
            ("cuGraphExecDestroy", &[]),
            ("cuGraphCreate", &[]),
            ("cuGraphDestroy", &[]),
            ("cuModuleLoad", &[]),
            ("cuModuleLoadData", &[]),
            ("cuModuleLoadDataEx", &[]),
            ("cuModuleLoadFatBinary", &[]),
            ("cuModuleUnload", &[]),
            ("cuLibraryLoadData", &[]),
            ("cuLibraryLoadFromFile", &[]),
        ],
    ),
];

/// All functions, numbered.
fn all() -> impl Iterator<Item = (&'static str, &'static Group, &'static [u8])> {
    GROUPS.iter().flat_map(|group| {
        let functions = group.functions.iter();
        functions.map(move |(name, positions)| (*name, group, *positions))
    })
}

/// What stands for another version of the arguments, or for another default stream.
const SUFFIXES: [&str; 5] = ["_ptsz", "_ptds", "_v2", "_v3", "_v4"];

/// The name without what tells versions apart.
fn base(symbol: &str) -> &str {
    let mut name = symbol;
    while let Some(shorter) = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)) {
        name = shorter;
    }
    name
}

/// What stands at the function of this name, if it is counted.
pub(super) fn hook_of(symbol: &str) -> Option<Hook> {
    let name = base(symbol);
    let (number, (_, group, positions)) =
        all().enumerate().find(|(_, (each, ..))| *each == name)?;
    let mut arguments = [NONE; 4];
    arguments[..positions.len()].copy_from_slice(positions);
    let number = u16::try_from(number).expect("fewer than `MAX_CALLS`, which a test sees to");
    let hook = Hook::new(number, group.kind)
        .with_arguments(arguments)
        .with_direction(group.direction);
    let hook = if group.waits {
        hook.that_waits()
    } else {
        hook
    };
    Some(if is_leaf(name, group) {
        hook.that_is_a_leaf()
    } else {
        hook
    })
}

/// Whether a function contains no other counted one, and nothing of what it returns is needed. The
/// runtime's functions contain the driver's.
fn is_leaf(name: &str, group: &Group) -> bool {
    let kinds = [kind::LAUNCH, kind::LAUNCH_EX, kind::COPY, kind::PLAIN];
    api_of(name) == "driver" && kinds.contains(&group.kind) && !group.waits
}

/// Whether calls may be counted when they are entered, by [`Hook::call`].
pub(super) fn leaves() -> Vec<bool> {
    all().map(|(name, group, _)| is_leaf(name, group)).collect()
}

/// The calls' names, by [`Hook::call`].
pub(super) fn names() -> Vec<&'static str> {
    all().map(|(name, ..)| name).collect()
}

/// The library that a function belongs to: the runtime's functions begin with `cuda`.
pub(super) fn api_of(name: &str) -> &'static str {
    if name.trim_start_matches('_').starts_with("cuda") {
        "runtime"
    } else {
        "driver"
    }
}
