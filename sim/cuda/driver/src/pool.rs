//! Memory pools. They keep nothing: what is freed goes back to the device at once.

use std::sync::{Arc, Mutex, PoisonError};

use cuda_sim_control::{In, Out, exports};

use crate::{
    abi::{CUdevice, CUmemPoolProps, CUmemoryPool, Opaque},
    code::{Code, INVALID_HANDLE, INVALID_VALUE, NOT_SUPPORTED, Outcome},
    device,
    handles::{self, Handles},
};

struct Pool {
    /// `CU_MEMPOOL_ATTR_RELEASE_THRESHOLD`, which has no effect.
    release_threshold: Mutex<u64>,
}

/// The attribute that programs set.
const RELEASE_THRESHOLD: u32 = 4;

static POOLS: Handles<Pool> = Handles::new();
/// The pool of each device that has one.
static DEFAULT: Mutex<Vec<(usize, Arc<Pool>)>> = Mutex::new(Vec::new());

/// Fails if there is no such pool.
pub(crate) fn check(pool: CUmemoryPool) -> Outcome {
    POOLS.get(pool).map(|_| ())
}

fn create() -> Arc<Pool> {
    let pool = Arc::new(Pool {
        release_threshold: Mutex::default(),
    });
    POOLS.insert(Arc::clone(&pool));
    pool
}

fn of_device(device: CUdevice) -> Result<CUmemoryPool, Code> {
    let device = device::index(device)?;
    let mut pools = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, pool)) = pools.iter().find(|(known, _)| *known == device) {
        return Ok(handles::handle(pool));
    }
    let pool = create();
    let handle = handles::handle(&pool);
    pools.push((device, pool));
    Ok(handle)
}

exports! {
    fn cuDeviceGetDefaultMemPool(result: Out<CUmemoryPool>, device: CUdevice) {
        result.set(of_device(device)?)
    }
    fn cuDeviceGetMemPool(result: Out<CUmemoryPool>, device: CUdevice) {
        result.set(of_device(device)?)
    }
    fn cuDeviceSetMemPool(device: CUdevice, pool: CUmemoryPool) {
        device::index(device)?;
        let pool = POOLS.get(pool)?;
        let mut pools = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner);
        let device = device::index(device)?;
        pools.retain(|(known, _)| *known != device);
        pools.push((device, pool));
        Ok(())
    }
    fn cuMemPoolCreate(result: Out<CUmemoryPool>, properties: In<CUmemPoolProps>) {
        device::index(properties.get()?.location.id)?;
        result.check()?;
        result.set(handles::handle(&create()))
    }
    fn cuMemPoolDestroy(pool: CUmemoryPool) {
        POOLS.remove(pool).map(|_| ())
    }
    fn cuMemPoolTrimTo(pool: CUmemoryPool, _keep_bytes: usize) {
        check(pool)
    }
    fn cuMemPoolSetAttribute(pool: CUmemoryPool, which: u32, value: In<u64>) {
        let pool = POOLS.get(pool)?;
        if which == RELEASE_THRESHOLD {
            let mut threshold = pool.release_threshold.lock().map_err(|_| INVALID_HANDLE)?;
            *threshold = value.get()?;
        }
        Ok(())
    }
    fn cuMemPoolGetAttribute(pool: CUmemoryPool, which: u32, result: Out<u64>) {
        let pool = POOLS.get(pool)?;
        if which != RELEASE_THRESHOLD {
            return Err(NOT_SUPPORTED);
        }
        let threshold = pool.release_threshold.lock().map_err(|_| INVALID_HANDLE)?;
        result.set(*threshold)
    }
    fn cuMemPoolSetAccess(pool: CUmemoryPool, access: Opaque, count: usize) {
        check(pool)?;
        if access == 0 && count > 0 { Err(INVALID_VALUE) } else { Ok(()) }
    }
}
