//! The driver library: found, its functions looked up, and each thread's device made current.

use std::{
    cell::Cell,
    ffi::{CString, c_char, c_void},
    mem,
    sync::{Mutex, OnceLock, PoisonError},
};

use cuda_sim_control::{
    NullStream,
    abi::{
        CUcontext, CUdevice, CUdeviceptr, CUevent, CUfunction, CUgraph, CUgraphExec, CUgraphNode,
        CUkernel, CUlibrary, CUmemLocation, CUmemoryPool, CUstream, Opaque,
    },
};

use crate::code::{Code, INSUFFICIENT_DRIVER, Outcome};

/// The version of CUDA whose functions are asked for.
pub(crate) const VERSION: i32 = 12_080;

/// `cuGetProcAddress_v2`
type GetProcAddress = extern "C" fn(*const c_char, *mut *mut c_void, i32, u64, *mut u32) -> u32;

macro_rules! functions {
    ($($name:ident ($($type:ty),* $(,)?))*) => {
        /// The driver's functions, by the names that they are looked up by.
        #[allow(non_snake_case, reason = "the names are CUDA's")]
        pub(crate) struct Driver {
            $(pub(crate) $name: extern "C" fn($($type),*) -> u32,)*
        }

        impl Driver {
            fn look_up(get: GetProcAddress, flags: u64) -> Option<Self> {
                Some(Self {
                    $($name: {
                        let address = address(get, stringify!($name), flags)?;
                        // SAFETY: the driver's function of this name has this signature.
                        unsafe {
                            mem::transmute::<*mut c_void, extern "C" fn($($type),*) -> u32>(address)
                        }
                    },)*
                })
            }
        }
    };
}

functions! {
    cuCtxGetLimit(*mut usize, u32)
    cuCtxGetStreamPriorityRange(*mut i32, *mut i32)
    cuCtxSetCurrent(CUcontext)
    cuCtxSetLimit(u32, usize)
    cuCtxSynchronize()
    cuDeviceCanAccessPeer(*mut i32, CUdevice, CUdevice)
    cuDeviceGet(*mut CUdevice, i32)
    cuDeviceGetAttribute(*mut i32, u32, CUdevice)
    cuDeviceGetByPCIBusId(*mut CUdevice, *const c_char)
    cuDeviceGetCount(*mut i32)
    cuDeviceGetDefaultMemPool(*mut CUmemoryPool, CUdevice)
    cuDeviceGetMemPool(*mut CUmemoryPool, CUdevice)
    cuDeviceGetName(*mut c_char, i32, CUdevice)
    cuDeviceGetPCIBusId(*mut c_char, i32, CUdevice)
    cuDeviceGetUuid(*mut u8, CUdevice)
    cuDevicePrimaryCtxRetain(*mut CUcontext, CUdevice)
    cuDeviceSetMemPool(CUdevice, CUmemoryPool)
    cuDeviceTotalMem(*mut usize, CUdevice)
    cuDriverGetVersion(*mut i32)
    cuEventCreate(*mut CUevent, u32)
    cuEventDestroy(CUevent)
    cuEventElapsedTime(*mut f32, CUevent, CUevent)
    cuEventQuery(CUevent)
    cuEventRecord(CUevent, CUstream)
    cuEventRecordWithFlags(CUevent, CUstream, u32)
    cuEventSynchronize(CUevent)
    cuFuncGetAttribute(*mut i32, u32, CUfunction)
    cuFuncGetName(*mut *const c_char, CUfunction)
    cuFuncSetAttribute(CUfunction, u32, i32)
    cuFuncSetCacheConfig(CUfunction, u32)
    cuGraphAddKernelNode(*mut CUgraphNode, CUgraph, Opaque, usize, *const c_void)
    cuGraphCreate(*mut CUgraph, u32)
    cuGraphDestroy(CUgraph)
    cuGraphExecDestroy(CUgraphExec)
    cuGraphGetNodes(CUgraph, *mut CUgraphNode, *mut usize)
    cuGraphInstantiateWithFlags(*mut CUgraphExec, CUgraph, u64)
    cuGraphInstantiateWithParams(*mut CUgraphExec, CUgraph, Opaque)
    cuGraphLaunch(CUgraphExec, CUstream)
    cuGraphNodeGetType(CUgraphNode, *mut u32)
    cuGraphUpload(CUgraphExec, CUstream)
    cuInit(u32)
    cuLaunchCooperativeKernel(
        CUfunction, u32, u32, u32, u32, u32, u32, u32, CUstream, Opaque,
    )
    cuLaunchHostFunc(CUstream, Opaque, Opaque)
    cuLaunchKernel(
        CUfunction, u32, u32, u32, u32, u32, u32, u32, CUstream, Opaque, Opaque,
    )
    cuLaunchKernelEx(*const c_void, CUfunction, Opaque, Opaque)
    cuLibraryGetGlobal(*mut CUdeviceptr, *mut usize, CUlibrary, *const c_char)
    cuLibraryGetKernel(*mut CUkernel, CUlibrary, *const c_char)
    cuLibraryLoadData(*mut CUlibrary, Opaque, Opaque, Opaque, u32, Opaque, Opaque, u32)
    cuMemAdvise(CUdeviceptr, usize, u32, CUmemLocation)
    cuMemAlloc(*mut CUdeviceptr, usize)
    cuMemAllocAsync(*mut CUdeviceptr, usize, CUstream)
    cuMemAllocFromPoolAsync(*mut CUdeviceptr, usize, CUmemoryPool, CUstream)
    cuMemAllocHost(*mut CUdeviceptr, usize)
    cuMemAllocManaged(*mut CUdeviceptr, usize, u32)
    cuMemAllocPitch(*mut CUdeviceptr, *mut usize, usize, usize, u32)
    cuMemFree(CUdeviceptr)
    cuMemFreeAsync(CUdeviceptr, CUstream)
    cuMemFreeHost(CUdeviceptr)
    cuMemGetInfo(*mut usize, *mut usize)
    cuMemHostAlloc(*mut CUdeviceptr, usize, u32)
    cuMemHostGetDevicePointer(*mut CUdeviceptr, CUdeviceptr, u32)
    cuMemHostGetFlags(*mut u32, CUdeviceptr)
    cuMemHostRegister(CUdeviceptr, usize, u32)
    cuMemHostUnregister(CUdeviceptr)
    cuMemPoolCreate(*mut CUmemoryPool, *const c_void)
    cuMemPoolDestroy(CUmemoryPool)
    cuMemPoolGetAttribute(CUmemoryPool, u32, *mut u64)
    cuMemPoolSetAttribute(CUmemoryPool, u32, *const u64)
    cuMemPoolTrimTo(CUmemoryPool, usize)
    cuMemPrefetchAsync(CUdeviceptr, usize, CUmemLocation, u32, CUstream)
    cuMemcpy(CUdeviceptr, CUdeviceptr, usize)
    cuMemcpy2DAsync(*const c_void, CUstream)
    cuMemcpy2DUnaligned(*const c_void)
    cuMemcpy3D(*const c_void)
    cuMemcpy3DAsync(*const c_void, CUstream)
    cuMemcpy3DPeer(*const c_void)
    cuMemcpy3DPeerAsync(*const c_void, CUstream)
    cuMemcpyAsync(CUdeviceptr, CUdeviceptr, usize, CUstream)
    cuMemcpyDtoD(CUdeviceptr, CUdeviceptr, usize)
    cuMemcpyDtoDAsync(CUdeviceptr, CUdeviceptr, usize, CUstream)
    cuMemcpyDtoH(CUdeviceptr, CUdeviceptr, usize)
    cuMemcpyDtoHAsync(CUdeviceptr, CUdeviceptr, usize, CUstream)
    cuMemcpyHtoD(CUdeviceptr, CUdeviceptr, usize)
    cuMemcpyHtoDAsync(CUdeviceptr, CUdeviceptr, usize, CUstream)
    cuMemcpyPeer(CUdeviceptr, CUcontext, CUdeviceptr, CUcontext, usize)
    cuMemcpyPeerAsync(CUdeviceptr, CUcontext, CUdeviceptr, CUcontext, usize, CUstream)
    cuMemsetD2D8(CUdeviceptr, usize, u8, usize, usize)
    cuMemsetD2D8Async(CUdeviceptr, usize, u8, usize, usize, CUstream)
    cuMemsetD8(CUdeviceptr, u8, usize)
    cuMemsetD8Async(CUdeviceptr, u8, usize, CUstream)
    cuOccupancyMaxActiveBlocksPerMultiprocessor(*mut i32, CUfunction, i32, usize)
    cuPointerGetAttributes(u32, *const u32, *const *mut c_void, CUdeviceptr)
    cuProfilerStart()
    cuProfilerStop()
    cuStreamAddCallback(CUstream, Opaque, Opaque, u32)
    cuStreamAttachMemAsync(CUstream, CUdeviceptr, usize, u32)
    cuStreamBeginCapture(CUstream, u32)
    cuStreamCreate(*mut CUstream, u32)
    cuStreamCreateWithPriority(*mut CUstream, u32, i32)
    cuStreamDestroy(CUstream)
    cuStreamEndCapture(CUstream, *mut CUgraph)
    cuStreamGetCaptureInfo(
        CUstream, *mut u32, *mut u64, *mut CUgraph, *mut Opaque, *mut usize,
    )
    cuStreamGetDevice(CUstream, *mut CUdevice)
    cuStreamGetFlags(CUstream, *mut u32)
    cuStreamGetPriority(CUstream, *mut i32)
    cuStreamIsCapturing(CUstream, *mut u32)
    cuStreamQuery(CUstream)
    cuStreamSynchronize(CUstream)
    cuStreamWaitEvent(CUstream, CUevent, u32)
    cuThreadExchangeStreamCaptureMode(*mut u32)
}

thread_local! {
    static DEVICE: Cell<CUdevice> = const { Cell::new(0) };
    /// The device whose context was made current on this thread.
    static CURRENT: Cell<Option<CUdevice>> = const { Cell::new(None) };
}

/// Both forms of the functions: null stream legacy, and the thread's own. Absent without a driver.
fn loaded(null: NullStream) -> Result<&'static Driver, Code> {
    static DRIVERS: OnceLock<Option<[Driver; 2]>> = OnceLock::new();
    let drivers = DRIVERS.get_or_init(|| {
        let get = open()?;
        // CU_GET_PROC_ADDRESS_LEGACY_STREAM and _PER_THREAD_DEFAULT_STREAM
        Some([Driver::look_up(get, 1)?, Driver::look_up(get, 2)?])
    });
    let [legacy, per_thread] = drivers.as_ref().ok_or(INSUFFICIENT_DRIVER)?;
    Ok(match null {
        NullStream::Legacy => legacy,
        NullStream::PerThread => per_thread,
    })
}

fn open() -> Option<GetProcAddress> {
    // SAFETY: the name is a C string; the library stays open for ever.
    let library = unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW) };
    if library.is_null() {
        return None;
    }
    // SAFETY: the library is open, and the name is a C string.
    let first = unsafe { libc::dlsym(library, c"cuGetProcAddress_v2".as_ptr()) };
    if first.is_null() {
        return None;
    }
    // SAFETY: the driver's function of this name has this signature.
    let first = unsafe { mem::transmute::<*mut c_void, GetProcAddress>(first) };
    // The real library asks the driver for this function, too.
    let again = address(first, "cuGetProcAddress", 0)?;
    // SAFETY: as above.
    Some(unsafe { mem::transmute::<*mut c_void, GetProcAddress>(again) })
}

fn address(get: GetProcAddress, name: &str, flags: u64) -> Option<*mut c_void> {
    let name = CString::new(name).ok()?;
    let (mut address, mut status) = (std::ptr::null_mut(), 0);
    let code = get(
        name.as_ptr(),
        &raw mut address,
        VERSION,
        flags,
        &raw mut status,
    );
    (code == 0 && !address.is_null()).then_some(address)
}

/// The driver, initialised, with no context on this thread.
pub(crate) fn initialised() -> Result<&'static Driver, Code> {
    static INITIALISED: OnceLock<u32> = OnceLock::new();
    let driver = loaded(NullStream::Legacy)?;
    check(*INITIALISED.get_or_init(|| (driver.cuInit)(0)))?;
    Ok(driver)
}

/// The driver, with the context of the thread's device.
pub(crate) fn driver(null: NullStream) -> Result<&'static Driver, Code> {
    let device = DEVICE.get();
    if CURRENT.get() != Some(device) {
        let driver = initialised()?;
        check((driver.cuCtxSetCurrent)(context(device)?))?;
        CURRENT.set(Some(device));
    }
    loaded(null)
}

/// Calls without a stream, and those that have but one form.
pub(crate) fn plain() -> Result<&'static Driver, Code> {
    driver(NullStream::Legacy)
}

/// A device's primary context; retained once.
pub(crate) fn context(device: CUdevice) -> Result<CUcontext, Code> {
    static RETAINING: Mutex<()> = Mutex::new(());
    static CONTEXTS: [OnceLock<CUcontext>; 64] = [const { OnceLock::new() }; 64];
    let known = usize::try_from(device).ok().and_then(|at| CONTEXTS.get(at));
    let known = known.ok_or(crate::code::INVALID_VALUE)?;
    if let Some(context) = known.get() {
        return Ok(*context);
    }
    let _retaining = RETAINING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(context) = known.get() {
        // Another thread was first.
        return Ok(*context);
    }
    let mut context = 0;
    check((initialised()?.cuDevicePrimaryCtxRetain)(
        &raw mut context,
        device,
    ))?;
    Ok(*known.get_or_init(|| context))
}

/// The device of this thread.
pub(crate) fn device() -> CUdevice {
    DEVICE.get()
}

/// Changes the device of this thread, and makes its context current.
pub(crate) fn set_device(device: CUdevice) -> Outcome {
    let mut known = 0;
    check((initialised()?.cuDeviceGet)(&raw mut known, device))?;
    DEVICE.set(device);
    plain().map(|_| ())
}

/// What the driver returned. Its codes are the runtime's as well.
pub(crate) fn check(code: u32) -> Outcome {
    if code == 0 { Ok(()) } else { Err(Code(code)) }
}
