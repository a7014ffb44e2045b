//! Contexts, and which of them is current on a thread.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use cuda_sim_control::{Out, exports};

use crate::{
    abi::{CUcontext, CUdevice, Opaque},
    code::{Code, INVALID_CONTEXT, INVALID_VALUE},
    device,
    handles::{self, Handles},
    stream::{Stream, Timeline},
};

/// A context: a device, and the streams that belong together.
pub(crate) struct Context {
    pub(crate) device: usize,
    pub(crate) timeline: Arc<Timeline>,
    /// The legacy null stream.
    pub(crate) null: Arc<Stream>,
    flags: AtomicU32,
    cache: AtomicU32,
    limits: Mutex<BTreeMap<u32, usize>>,
}

static CONTEXTS: Handles<Context> = Handles::new();
/// Each device's primary context, and how often it is retained. It is never taken down, so that its
/// handle stays the same.
static PRIMARY: Mutex<BTreeMap<usize, (Arc<Context>, u32)>> = Mutex::new(BTreeMap::new());

thread_local! {
    static STACK: RefCell<Vec<Arc<Context>>> = const { RefCell::new(Vec::new()) };
}

/// The calling thread's context.
pub(crate) fn current() -> Result<Arc<Context>, Code> {
    STACK.with_borrow(|stack| stack.last().cloned().ok_or(INVALID_CONTEXT))
}

/// What a handle stands for.
pub(crate) fn get(handle: CUcontext) -> Result<Arc<Context>, Code> {
    CONTEXTS.get(handle).map_err(|_| INVALID_CONTEXT)
}

impl Context {
    fn create(device: usize, flags: u32) -> Arc<Self> {
        let timeline = Arc::new(Timeline::default());
        let context = Arc::new(Self {
            device,
            null: Stream::create_null(Arc::clone(&timeline), device),
            timeline,
            flags: AtomicU32::new(flags),
            cache: AtomicU32::new(0),
            limits: Mutex::default(),
        });
        CONTEXTS.insert(Arc::clone(&context));
        context
    }
}

fn create(result: Out<CUcontext>, flags: u32, device: CUdevice) -> Result<(), Code> {
    result.check()?;
    let context = Context::create(device::index(device)?, flags);
    result.set(handles::handle(&context))?;
    STACK.with_borrow_mut(|stack| stack.push(context));
    Ok(())
}

fn release(device: CUdevice) -> Result<(), Code> {
    let device = device::index(device)?;
    let mut primary = PRIMARY.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, retained) = primary.get_mut(&device).ok_or(INVALID_CONTEXT)?;
    *retained = retained.checked_sub(1).ok_or(INVALID_CONTEXT)?;
    Ok(())
}

/// What a limit is before anybody sets it, by its number in `CUlimit`: the stack of a thread, the
/// buffer of `printf`, the heap of `malloc`.
fn default_limit(limit: u32) -> usize {
    match limit {
        0 => 1024,
        1 => 1 << 20,
        2 => 8 << 20,
        _ => 0,
    }
}

/// Numbers of `CUlimit` end here.
const LIMITS: u32 = 7;

exports! {
    fn cuDevicePrimaryCtxRetain(result: Out<CUcontext>, device: CUdevice) {
        let device = device::index(device)?;
        result.check()?;
        let mut primary = PRIMARY.lock().unwrap_or_else(PoisonError::into_inner);
        let (context, retained) = primary
            .entry(device)
            .or_insert_with(|| (Context::create(device, 0), 0));
        *retained += 1;
        result.set(handles::handle(context))
    }
    fn cuDevicePrimaryCtxRelease(device: CUdevice) {
        release(device)
    }
    fn cuDevicePrimaryCtxRelease_v2(device: CUdevice) {
        release(device)
    }
    fn cuDevicePrimaryCtxReset_v2(device: CUdevice) {
        device::index(device).map(|_| ())
    }
    fn cuDevicePrimaryCtxSetFlags_v2(device: CUdevice, _flags: u32) {
        device::index(device).map(|_| ())
    }
    fn cuDevicePrimaryCtxGetState(device: CUdevice, flags: Out<u32>, active: Out<i32>) {
        let device = device::index(device)?;
        let primary = PRIMARY.lock().unwrap_or_else(PoisonError::into_inner);
        let retained = primary.get(&device).is_some_and(|(_, retained)| *retained > 0);
        flags.set(0)?;
        active.set(i32::from(retained))
    }
    fn cuCtxCreate_v2(result: Out<CUcontext>, flags: u32, device: CUdevice) {
        create(result, flags, device)
    }
    fn cuCtxCreate_v3(
        result: Out<CUcontext>,
        _affinities: Opaque,
        _count: i32,
        flags: u32,
        device: CUdevice,
    ) {
        create(result, flags, device)
    }
    fn cuCtxCreate_v4(result: Out<CUcontext>, _parameters: Opaque, flags: u32, device: CUdevice) {
        create(result, flags, device)
    }
    fn cuCtxDestroy_v2(context: CUcontext) {
        let context = CONTEXTS.remove(context).map_err(|_| INVALID_CONTEXT)?;
        STACK.with_borrow_mut(|stack| stack.retain(|one| !Arc::ptr_eq(one, &context)));
        Ok(())
    }
    fn cuCtxPushCurrent_v2(context: CUcontext) {
        let context = get(context)?;
        STACK.with_borrow_mut(|stack| stack.push(context));
        Ok(())
    }
    fn cuCtxPopCurrent_v2(result: Out<CUcontext>) {
        let popped = STACK.with_borrow_mut(Vec::pop).ok_or(INVALID_CONTEXT)?;
        result.set_if_wanted(handles::handle(&popped));
        Ok(())
    }
    fn cuCtxSetCurrent(context: CUcontext) {
        let context = match context {
            0 => None,
            handle => Some(get(handle)?),
        };
        STACK.with_borrow_mut(|stack| {
            stack.pop();
            stack.extend(context);
        });
        Ok(())
    }
    fn cuCtxGetCurrent(result: Out<CUcontext>) {
        result.set(current().map_or(0, |context| handles::handle(&context)))
    }
    fn cuCtxGetDevice(result: Out<CUdevice>) {
        let device = i32::try_from(current()?.device).map_err(|_| INVALID_VALUE)?;
        result.set(device)
    }
    fn cuCtxGetFlags(result: Out<u32>) {
        result.set(current()?.flags.load(Ordering::Relaxed))
    }
    fn cuCtxSetFlags(flags: u32) {
        current()?.flags.store(flags, Ordering::Relaxed);
        Ok(())
    }
    fn cuCtxGetApiVersion(_context: CUcontext, result: Out<u32>) {
        result.set(3020)
    }
    fn cuCtxGetCacheConfig(result: Out<u32>) {
        result.set(current()?.cache.load(Ordering::Relaxed))
    }
    fn cuCtxSetCacheConfig(config: u32) {
        current()?.cache.store(config, Ordering::Relaxed);
        Ok(())
    }
    fn cuCtxGetLimit(result: Out<usize>, limit: u32) {
        if limit >= LIMITS {
            return Err(INVALID_VALUE);
        }
        let context = current()?;
        let limits = context.limits.lock().unwrap_or_else(PoisonError::into_inner);
        result.set(limits.get(&limit).copied().unwrap_or_else(|| default_limit(limit)))
    }
    fn cuCtxSetLimit(limit: u32, value: usize) {
        if limit >= LIMITS {
            return Err(INVALID_VALUE);
        }
        let context = current()?;
        let mut limits = context.limits.lock().unwrap_or_else(PoisonError::into_inner);
        limits.insert(limit, value);
        Ok(())
    }
    fn cuCtxGetStreamPriorityRange(least: Out<i32>, greatest: Out<i32>) {
        current()?;
        least.set_if_wanted(0);
        greatest.set_if_wanted(-5);
        Ok(())
    }
    fn cuCtxSynchronize() {
        current()?.timeline.synchronize();
        Ok(())
    }
    fn cuCtxEnablePeerAccess(peer: CUcontext, _flags: u32) {
        get(peer).map(|_| ())
    }
    fn cuCtxDisablePeerAccess(peer: CUcontext) {
        get(peer).map(|_| ())
    }
}
