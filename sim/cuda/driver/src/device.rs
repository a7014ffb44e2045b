//! Devices: how many there are, and what they say of themselves.

use std::{ffi::c_char, sync::OnceLock};

use cuda_sim_control::{Out, Text, exports, setting};

use crate::{
    abi::{CUdevice, CUuuid},
    allocations,
    code::{Code, INVALID_DEVICE, INVALID_VALUE},
    driver,
};

/// As many as a large node has.
const MAX_DEVICES: usize = 64;
/// What a device of the simulated kind has, unless the environment says otherwise.
const MEMORY_BYTES: u64 = 80 << 30;
/// Threads of a block, at most.
pub(crate) const MAX_BLOCK_THREADS: u32 = 1024;
/// Shared memory of a block, at most.
pub(crate) const MAX_SHARED_BYTES: u32 = 227 << 10;
/// Attributes that exist have numbers below this.
const ATTRIBUTES: u32 = 150;

/// Number of devices, by `CUDA_SIM_DEVICES`.
pub(crate) fn count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let count = setting("CUDA_SIM_DEVICES").parse().unwrap_or(1);
        count.min(MAX_DEVICES)
    })
}

/// Each device's memory, by `CUDA_SIM_MEMORY_BYTES`.
pub(crate) fn memory_bytes() -> u64 {
    static BYTES: OnceLock<u64> = OnceLock::new();
    *BYTES.get_or_init(|| {
        let asked = setting("CUDA_SIM_MEMORY_BYTES").parse();
        asked.unwrap_or(MEMORY_BYTES)
    })
}

/// The index of a device that exists, once the driver is initialised.
pub(crate) fn index(device: CUdevice) -> Result<usize, Code> {
    driver::check_initialised()?;
    let index = usize::try_from(device).map_err(|_| INVALID_DEVICE)?;
    (index < count()).then_some(index).ok_or(INVALID_DEVICE)
}

/// Bus addresses begin at 1, as on most machines.
fn bus(index: usize) -> usize {
    index + 1
}

fn uuid(index: usize) -> CUuuid {
    let mut uuid = *b"CUDA stand-in \0\0";
    uuid[15] = u8::try_from(index).expect("there are at most 64 devices");
    uuid
}

/// An attribute by its number in `CUdevice_attribute`; those that are not listed are 0, as where
/// something is not supported.
fn attribute(attribute: u32, index: usize) -> Result<usize, Code> {
    let value = match attribute {
        1..=3 => MAX_BLOCK_THREADS as usize,
        4 => 64,
        5 | 11 => 2_147_483_647,
        6 | 7 | 12 | 82 => 65_535,
        8 => 48 << 10,
        9 => 64 << 10,
        10 | 106 => 32,
        13 => 1_980_000,
        14 => 512,
        16 => 132,
        33 => bus(index),
        36 => 2_619_000,
        37 => 5120,
        38 => 50 << 20,
        39 => 2048,
        40 => 3,
        75 => 9,
        81 => 228 << 10,
        97 => MAX_SHARED_BYTES as usize,
        111 => 1024,
        15
        | 19
        | 31
        | 32
        | 41
        | 78..=80
        | 83
        | 89..=91
        | 95
        | 96
        | 99
        | 102
        | 103
        | 115
        | 119
        | 120 => 1,
        0 | ATTRIBUTES.. => return Err(INVALID_VALUE),
        _ => 0,
    };
    Ok(value)
}

fn number(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

exports! {
    fn cuDeviceGet(device: Out<CUdevice>, ordinal: i32) {
        index(ordinal)?;
        device.set(ordinal)
    }
    fn cuDeviceGetCount(result: Out<i32>) {
        driver::check_initialised()?;
        result.set(number(count()))
    }
    fn cuDeviceGetName(name: Out<c_char>, size: i32, device: CUdevice) {
        index(device)?;
        name.set_text("NVIDIA stand-in", usize::try_from(size).map_err(|_| INVALID_VALUE)?)
    }
    fn cuDeviceGetUuid(result: Out<CUuuid>, device: CUdevice) {
        result.set(uuid(index(device)?))
    }
    fn cuDeviceGetUuid_v2(result: Out<CUuuid>, device: CUdevice) {
        result.set(uuid(index(device)?))
    }
    fn cuDeviceTotalMem_v2(result: Out<usize>, device: CUdevice) {
        index(device)?;
        result.set(usize::try_from(memory_bytes()).map_err(|_| INVALID_VALUE)?)
    }
    fn cuDeviceGetAttribute(result: Out<i32>, which: u32, device: CUdevice) {
        result.set(number(attribute(which, index(device)?)?))
    }
    fn cuDeviceGetPCIBusId(text: Out<c_char>, size: i32, device: CUdevice) {
        let address = format!("0000:{:02X}:00.0", bus(index(device)?));
        text.set_text(&address, usize::try_from(size).map_err(|_| INVALID_VALUE)?)
    }
    fn cuDeviceGetByPCIBusId(device: Out<CUdevice>, text: Text) {
        let wanted = text.get()?.to_ascii_uppercase();
        let is_it = |index: &usize| wanted.ends_with(&format!("{:02X}:00.0", bus(*index)));
        device.set(number((0..count()).find(is_it).ok_or(INVALID_DEVICE)?))
    }
    fn cuDeviceCanAccessPeer(result: Out<i32>, device: CUdevice, peer: CUdevice) {
        result.set(i32::from(index(device)? != index(peer)?))
    }
    fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) {
        let device = crate::context::current()?.device;
        let bytes = |bytes: u64| usize::try_from(bytes).map_err(|_| INVALID_VALUE);
        free.set(bytes(memory_bytes().saturating_sub(allocations::used(device)))?)?;
        total.set(bytes(memory_bytes())?)
    }
}
