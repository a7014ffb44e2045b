//! Functions with the names of CUDA's. They only do what callers and probes can see of the real ones.

use std::{
    arch::naked_asm,
    hint::black_box,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// `cudaErrorInvalidValue`.
const INVALID: i32 = 1;

/// Calls of `cudaLaunchKernel`.
pub(crate) static LAUNCHED: AtomicU64 = AtomicU64::new(0);

#[repr(C)]
#[derive(Clone, Copy)]
struct Dim3 {
    x: u32,
    y: u32,
    z: u32,
}

type Launch = extern "C" fn(usize, Dim3, Dim3, usize, usize, usize) -> i32;

/// Fails for the null function.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cudaLaunchKernel(
    function: usize,
    _grid: Dim3,
    _block: Dim3,
    _arguments: usize,
    _shared: usize,
    _stream: usize,
) -> i32 {
    LAUNCHED.fetch_add(1, Relaxed);
    if function == 0 { INVALID } else { 0 }
}

/// Makes a call of the driver's, as the real one does.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn cudaMalloc(result: *mut usize, bytes: usize) -> i32 {
    let driver: unsafe extern "C" fn(*mut usize, usize) -> i32 = black_box(cuMemAlloc_v2);
    // SAFETY: the caller's promise.
    unsafe { driver(result, bytes) }
}

#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn cuMemAlloc_v2(result: *mut usize, _bytes: usize) -> i32 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // SAFETY: the caller's promise.
    unsafe { *result = usize::try_from(NEXT.fetch_add(1, Relaxed)).unwrap() << 12 };
    0
}

/// While somebody holds it, nobody gets through `cudaStreamSynchronize`.
pub(crate) static DEVICE: Mutex<()> = Mutex::new(());

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cudaStreamSynchronize(stream: usize) -> i32 {
    drop(DEVICE.lock().unwrap());
    black_box(stream);
    0
}

/// Threads that are in `cudaFreeAsync`, where the memory is free already.
pub(crate) static FREEING: AtomicU64 = AtomicU64::new(0);

/// Returns when nobody holds [`DEVICE`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cudaFreeAsync(pointer: usize, stream: usize) -> i32 {
    FREEING.fetch_add(1, Relaxed);
    drop(DEVICE.lock().unwrap());
    FREEING.fetch_sub(1, Relaxed);
    if black_box(stream) == NO_STREAM {
        black_box(pointer);
        return INVALID;
    }
    0
}

/// A stream that does not exist.
const NO_STREAM: usize = 1;

/// Gives the stream as the pointer.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn cudaMallocAsync(result: *mut usize, _bytes: usize, stream: usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { *result = black_box(stream) };
    0
}

/// Functions that take numbers and succeed.
macro_rules! succeeding {
    ($($name:ident($($argument:ident),*);)+) => {
        $(
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $name($($argument: usize),*) -> i32 {
                // Unlike any other, or the compiler would make one function of them.
                $(black_box($argument);)*
                black_box(stringify!($name));
                0
            }
        )+
    };
}

succeeding! {
    cudaFree(pointer);
    cudaDeviceSynchronize();
    cudaEventRecord(event, stream);
    cudaEventSynchronize(event);
    cudaMemcpyBatchAsync(to, from, sizes, count);
    cudaMemset2D(pointer, pitch, value, width, height);
    cudaMemcpy3D(parameters);
    cuMemcpy2D_v2(parameters);
    cuMemcpy3DAsync_v2(parameters, stream);
    cuMemsetD16_v2(pointer, value, count);
    cuCtxSetCurrent(context);
    cuCtxPopCurrent_v2(context);
    cuMemRelease(handle);
}

/// A context is its device's number and a hundred.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut usize, device: i32) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { *context = 100 + usize::try_from(device).unwrap() };
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn cuCtxCreate_v2(context: *mut usize, _flags: u32, device: i32) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { *context = 200 + usize::try_from(device).unwrap() };
    0
}

/// A handle, which is the same number as the first pointer.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn cuMemCreate(
    handle: *mut usize,
    _bytes: usize,
    _kind: usize,
    _flags: u64,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { *handle = 1 << 12 };
    0
}

/// Launches a function on a stream.
pub(crate) fn launch(function: usize, stream: usize) {
    launch_shaped(function, [[1; 3]; 2], 0, stream);
}

/// Launches a function with a grid and a block, and with bytes of shared memory.
pub(crate) fn launch_shaped(function: usize, shape: [[u32; 3]; 2], shared: usize, stream: usize) {
    let [grid, block] = shape.map(|[x, y, z]| Dim3 { x, y, z });
    let launch: Launch = black_box(cudaLaunchKernel);
    launch(function, grid, block, 0, shared, stream);
}

/// Calls of a function that takes numbers.
macro_rules! calling {
    ($($name:ident = $function:ident($($argument:ident),*);)+) => {
        $(
            pub(crate) fn $name($($argument: usize),*) {
                let function: extern "C" fn($(calling!(@type $argument)),*) -> i32 =
                    black_box($function);
                assert_eq!(function($($argument),*), 0);
            }
        )+
    };
    (@type $argument:ident) => { usize };
}

calling! {
    free = cudaFree(pointer);
    release = cuMemRelease(handle);
    wait_for_device = cudaDeviceSynchronize();
    wait_for_stream = cudaStreamSynchronize(stream);
    record = cudaEventRecord(event, stream);
    wait_for_event = cudaEventSynchronize(event);
    copy_batch = cudaMemcpyBatchAsync(to, from, sizes, count);
    copy_3d = cudaMemcpy3D(parameters);
    driver_copy_2d = cuMemcpy2D_v2(parameters);
    driver_copy_3d = cuMemcpy3DAsync_v2(parameters, stream);
    set_2d = cudaMemset2D(pointer, pitch, value, width, height);
    set_halves = cuMemsetD16_v2(pointer, value, count);
    choose = cuCtxSetCurrent(context);
    pop = cuCtxPopCurrent_v2(context);
}

/// What a function of this kind gives.
fn given(call: impl FnOnce(*mut usize) -> i32) -> usize {
    let mut result = 0;
    assert_eq!(call(&raw mut result), 0);
    result
}

/// Allocates memory.
pub(crate) fn allocate(bytes: usize) -> usize {
    let malloc: unsafe extern "C" fn(*mut usize, usize) -> i32 = black_box(cudaMalloc);
    // SAFETY: the result is written to a variable, here and below.
    given(|result| unsafe { malloc(result, bytes) })
}

/// Allocates memory at a place.
pub(crate) fn allocate_at(place: usize, bytes: usize) {
    let malloc: unsafe extern "C" fn(*mut usize, usize, usize) -> i32 = black_box(cudaMallocAsync);
    // SAFETY: as above.
    let given = given(|result| unsafe { malloc(result, bytes, place) });
    assert_eq!(given, place);
}

/// Frees memory, or is refused.
pub(crate) fn free_late(pointer: usize, is_refused: bool) {
    let free: extern "C" fn(usize, usize) -> i32 = black_box(cudaFreeAsync);
    let stream = if is_refused { NO_STREAM } else { 0 };
    assert_eq!(free(pointer, stream) != 0, is_refused);
}

/// Allocates physical memory.
pub(crate) fn create(bytes: usize) -> usize {
    let create: unsafe extern "C" fn(*mut usize, usize, usize, u64) -> i32 = black_box(cuMemCreate);
    // SAFETY: as above.
    given(|result| unsafe { create(result, bytes, 0, 0) })
}

/// A device's first context.
pub(crate) fn retain(device: i32) -> usize {
    let retain: unsafe extern "C" fn(*mut usize, i32) -> i32 = black_box(cuDevicePrimaryCtxRetain);
    // SAFETY: as above.
    given(|result| unsafe { retain(result, device) })
}

/// A new context of a device, which is the thread's from now on.
pub(crate) fn create_context(device: i32) -> usize {
    let create: unsafe extern "C" fn(*mut usize, u32, i32) -> i32 = black_box(cuCtxCreate_v2);
    // SAFETY: as above.
    given(|result| unsafe { create(result, 0, device) })
}

/// Goes on where it is told to, as `longjmp` does: its caller gets it back without its return.
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn cudaEventCreate(to: usize) {
    #[cfg(target_arch = "x86_64")]
    naked_asm!("add rsp, 8", "jmp rdi");
    #[cfg(target_arch = "aarch64")]
    naked_asm!("br x0");
}

/// Calls a function that goes on here, and does not return.
#[unsafe(naked)]
extern "C" fn left_by_a_jump(function: extern "C" fn(usize)) {
    #[cfg(target_arch = "x86_64")]
    naked_asm!(
        "sub rsp, 8",
        "mov rax, rdi",
        "lea rdi, [rip + 2f]",
        "call rax",
        "2:",
        "add rsp, 8",
        "ret",
    );
    #[cfg(target_arch = "aarch64")]
    naked_asm!(
        "stp x29, x30, [sp, #-16]!",
        "mov x1, x0",
        "adr x0, 2f",
        "blr x1",
        "2:",
        "ldp x29, x30, [sp], #16",
        "ret",
    );
}

/// A call of which nobody sees the return.
pub(crate) fn never_return() {
    left_by_a_jump(black_box(cudaEventCreate));
}
