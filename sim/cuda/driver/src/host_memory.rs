//! Memory of the host that devices reach.

use cuda_sim_control::{Out, exports};

use crate::{
    abi::CUdeviceptr,
    allocations::{self, Allocation, Kind},
    code::{HOST_MEMORY_ALREADY_REGISTERED, HOST_MEMORY_NOT_REGISTERED, INVALID_VALUE, Outcome},
    context,
};

/// Host memory as devices and the driver's tables have it: an address.
type HostAddress = u64;

fn allocate(result: Out<HostAddress>, size_bytes: usize) -> Outcome {
    result.check()?;
    let device = context::current()?.device;
    result.set(allocations::allocate(size_bytes, Kind::Host, device)?)
}

fn is_host(memory: &Allocation) -> bool {
    matches!(memory.kind, Kind::Host | Kind::Registered | Kind::Managed)
}

exports! {
    fn cuMemAllocHost_v2(result: Out<HostAddress>, size_bytes: usize) {
        allocate(result, size_bytes)
    }
    fn cuMemHostAlloc(result: Out<HostAddress>, size_bytes: usize, _flags: u32) {
        allocate(result, size_bytes)
    }
    fn cuMemFreeHost(address: HostAddress) {
        context::current()?;
        allocations::free(address, &[Kind::Host])
    }
    fn cuMemHostRegister_v2(address: HostAddress, size_bytes: usize, _flags: u32) {
        let device = context::current()?.device;
        if address == 0 || size_bytes == 0 {
            return Err(INVALID_VALUE);
        }
        let last = address.checked_add(size_bytes as u64 - 1).ok_or(INVALID_VALUE)?;
        if allocations::find(address).or(allocations::find(last)).is_some() {
            return Err(HOST_MEMORY_ALREADY_REGISTERED);
        }
        allocations::insert(Allocation { address, size_bytes, kind: Kind::Registered, device });
        Ok(())
    }
    fn cuMemHostUnregister(address: HostAddress) {
        context::current()?;
        let removed = allocations::remove(address, &[Kind::Registered]);
        removed.map(|_| ()).map_err(|_| HOST_MEMORY_NOT_REGISTERED)
    }
    fn cuMemHostGetDevicePointer_v2(result: Out<CUdeviceptr>, address: HostAddress, _flags: u32) {
        allocations::find(address).filter(is_host).ok_or(INVALID_VALUE)?;
        result.set(address)
    }
    fn cuMemHostGetFlags(result: Out<u32>, address: HostAddress) {
        allocations::find(address).filter(is_host).ok_or(INVALID_VALUE)?;
        result.set(0)
    }
}
