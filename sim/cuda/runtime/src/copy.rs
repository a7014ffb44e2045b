//! Copying memory: each kind is a driver call of its own.

use cuda_sim_control::{
    In, NullStream,
    abi::{
        CUDA_MEMCPY2D, CUDA_MEMCPY3D, CUcontext, CUstream, MEMORY_DEVICE, MEMORY_HOST,
        MEMORY_UNIFIED, Side2D, Side3D,
    },
    exports,
};

use crate::{
    code::{Code, INVALID_MEMCPY_DIRECTION, INVALID_VALUE, Outcome},
    driver::{self, check},
    shape::{Extent, Memcpy3D, Memcpy3DPeer, Side},
};

/// Host or device memory, by its address.
type Address = u64;

/// `cudaMemcpyKind`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    HostToHost,
    HostToDevice,
    DeviceToHost,
    DeviceToDevice,
    /// By what the driver knows of the addresses.
    Default,
}

impl Kind {
    pub(crate) fn new(number: u32) -> Result<Self, Code> {
        match number {
            0 => Ok(Self::HostToHost),
            1 => Ok(Self::HostToDevice),
            2 => Ok(Self::DeviceToHost),
            3 => Ok(Self::DeviceToDevice),
            4 => Ok(Self::Default),
            _ => Err(INVALID_MEMCPY_DIRECTION),
        }
    }

    /// The driver's memory types: to, from.
    fn memory_types(self) -> (u32, u32) {
        match self {
            Self::HostToHost => (MEMORY_HOST, MEMORY_HOST),
            Self::HostToDevice => (MEMORY_DEVICE, MEMORY_HOST),
            Self::DeviceToHost => (MEMORY_HOST, MEMORY_DEVICE),
            Self::DeviceToDevice => (MEMORY_DEVICE, MEMORY_DEVICE),
            Self::Default => (MEMORY_UNIFIED, MEMORY_UNIFIED),
        }
    }
}

/// Copies a row of bytes.
pub(crate) fn line(
    to: Address,
    from: Address,
    bytes: usize,
    kind: Kind,
    stream: Option<CUstream>,
    null: NullStream,
) -> Outcome {
    let driver = driver::driver(null)?;
    check(match (kind, stream) {
        (Kind::HostToDevice, None) => (driver.cuMemcpyHtoD)(to, from, bytes),
        (Kind::DeviceToHost, None) => (driver.cuMemcpyDtoH)(to, from, bytes),
        (Kind::DeviceToDevice, None) => (driver.cuMemcpyDtoD)(to, from, bytes),
        (Kind::HostToHost | Kind::Default, None) => (driver.cuMemcpy)(to, from, bytes),
        (Kind::HostToDevice, Some(stream)) => (driver.cuMemcpyHtoDAsync)(to, from, bytes, stream),
        (Kind::DeviceToHost, Some(stream)) => (driver.cuMemcpyDtoHAsync)(to, from, bytes, stream),
        (Kind::DeviceToDevice, Some(stream)) => (driver.cuMemcpyDtoDAsync)(to, from, bytes, stream),
        (Kind::HostToHost | Kind::Default, Some(stream)) => {
            (driver.cuMemcpyAsync)(to, from, bytes, stream)
        }
    })
}

fn side_2d(address: Address, pitch_bytes: usize, memory_type: u32) -> Side2D {
    Side2D {
        x_bytes: 0,
        y: 0,
        memory_type,
        host: address,
        device: address,
        array: 0,
        pitch_bytes,
    }
}

/// Where a plane begins, and its pitch.
type Plane = (Address, usize);

fn plane(
    (to, from): (Plane, Plane),
    (width_bytes, height): (usize, usize),
    kind: u32,
    stream: Option<CUstream>,
    null: NullStream,
) -> Outcome {
    let (to_type, from_type) = Kind::new(kind)?.memory_types();
    let copy = CUDA_MEMCPY2D {
        to: side_2d(to.0, to.1, to_type),
        from: side_2d(from.0, from.1, from_type),
        width_bytes,
        height,
    };
    let driver = driver::driver(null)?;
    let copy = (&raw const copy).cast();
    check(match stream {
        Some(stream) => (driver.cuMemcpy2DAsync)(copy, stream),
        None => (driver.cuMemcpy2DUnaligned)(copy),
    })
}

fn side_3d(side: &Side, memory_type: u32, context: CUcontext) -> Result<Side3D, Code> {
    if side.array != 0 {
        return Err(INVALID_VALUE);
    }
    Ok(Side3D {
        x_bytes: side.position.x_bytes,
        y: side.position.y,
        z: side.position.z,
        level: 0,
        memory_type,
        host: side.memory.address,
        device: side.memory.address,
        array: 0,
        context,
        pitch_bytes: side.memory.pitch_bytes,
        height: side.memory.height,
    })
}

fn block(
    (to, to_type, to_context): (&Side, u32, CUcontext),
    (from, from_type, from_context): (&Side, u32, CUcontext),
    extent: Extent,
) -> Result<CUDA_MEMCPY3D, Code> {
    Ok(CUDA_MEMCPY3D {
        to: side_3d(to, to_type, to_context)?,
        from: side_3d(from, from_type, from_context)?,
        width_bytes: extent.width_bytes,
        height: extent.height,
        depth: extent.depth,
    })
}

fn within(given: In<Memcpy3D>) -> Result<CUDA_MEMCPY3D, Code> {
    let given = given.get()?;
    let (to_type, from_type) = Kind::new(given.kind)?.memory_types();
    block(
        (&given.to, to_type, 0),
        (&given.from, from_type, 0),
        given.extent,
    )
}

fn between(given: In<Memcpy3DPeer>) -> Result<CUDA_MEMCPY3D, Code> {
    let given = given.get()?;
    let to = (&given.to, MEMORY_DEVICE, driver::context(given.to_device)?);
    let from = (
        &given.from,
        MEMORY_DEVICE,
        driver::context(given.from_device)?,
    );
    block(to, from, given.extent)
}

exports! {
    fn cudaMemcpy | cudaMemcpy_ptds [null] (to: Address, from: Address, bytes: usize, kind: u32) {
        line(to, from, bytes, Kind::new(kind)?, None, null)
    }
    fn cudaMemcpyAsync | cudaMemcpyAsync_ptsz [null] (
        to: Address, from: Address, bytes: usize, kind: u32, stream: CUstream,
    ) {
        line(to, from, bytes, Kind::new(kind)?, Some(stream), null)
    }
    fn cudaMemcpyPeer(
        to: Address, to_device: i32, from: Address, from_device: i32, bytes: usize,
    ) {
        let (to_context, from_context) =
            (driver::context(to_device)?, driver::context(from_device)?);
        check((driver::plain()?.cuMemcpyPeer)(to, to_context, from, from_context, bytes))
    }
    fn cudaMemcpyPeerAsync(
        to: Address, to_device: i32, from: Address, from_device: i32, bytes: usize,
        stream: CUstream,
    ) {
        let (to_context, from_context) =
            (driver::context(to_device)?, driver::context(from_device)?);
        let copy = driver::plain()?.cuMemcpyPeerAsync;
        check(copy(to, to_context, from, from_context, bytes, stream))
    }
    fn cudaMemcpy2D | cudaMemcpy2D_ptds [null] (
        to: Address, to_pitch_bytes: usize, from: Address, from_pitch_bytes: usize,
        width_bytes: usize, height: usize, kind: u32,
    ) {
        let planes = ((to, to_pitch_bytes), (from, from_pitch_bytes));
        plane(planes, (width_bytes, height), kind, None, null)
    }
    fn cudaMemcpy2DAsync | cudaMemcpy2DAsync_ptsz [null] (
        to: Address, to_pitch_bytes: usize, from: Address, from_pitch_bytes: usize,
        width_bytes: usize, height: usize, kind: u32, stream: CUstream,
    ) {
        let planes = ((to, to_pitch_bytes), (from, from_pitch_bytes));
        plane(planes, (width_bytes, height), kind, Some(stream), null)
    }
    fn cudaMemcpy3D | cudaMemcpy3D_ptds [null] (given: In<Memcpy3D>) {
        let copy = within(given)?;
        check((driver::driver(null)?.cuMemcpy3D)((&raw const copy).cast()))
    }
    fn cudaMemcpy3DAsync | cudaMemcpy3DAsync_ptsz [null] (
        given: In<Memcpy3D>, stream: CUstream,
    ) {
        let copy = within(given)?;
        check((driver::driver(null)?.cuMemcpy3DAsync)((&raw const copy).cast(), stream))
    }
    fn cudaMemcpy3DPeer | cudaMemcpy3DPeer_ptds [null] (given: In<Memcpy3DPeer>) {
        let copy = between(given)?;
        check((driver::driver(null)?.cuMemcpy3DPeer)((&raw const copy).cast()))
    }
    fn cudaMemcpy3DPeerAsync | cudaMemcpy3DPeerAsync_ptsz [null] (
        given: In<Memcpy3DPeer>, stream: CUstream,
    ) {
        let copy = between(given)?;
        check((driver::driver(null)?.cuMemcpy3DPeerAsync)((&raw const copy).cast(), stream))
    }
}
