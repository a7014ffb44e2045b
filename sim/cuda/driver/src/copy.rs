//! Copying memory, in all of CUDA's shapes. Arrays (the texture kind) are refused.

use cuda_sim_control::{In, NullStream, exports};

use crate::{
    abi::{
        CUDA_MEMCPY2D, CUDA_MEMCPY3D, CUcontext, CUdeviceptr, CUstream, MEMORY_DEVICE, MEMORY_HOST,
        MEMORY_UNIFIED, Side2D, Side3D,
    },
    allocations,
    code::{Code, INVALID_VALUE, Outcome},
    context,
    movement::{Copy, Extent, Rows, Work},
    stream,
};

/// Memory of the host, whose owner is the caller.
type HostAddress = u64;

/// A call with a stream leaves the work to it, one without waits for its end.
fn copy(copy: Copy, stream: Option<CUstream>, null: NullStream) -> Outcome {
    let work = Work::Copy(copy);
    match stream {
        Some(stream) => stream::get(stream, null)?.enqueue(work),
        None => stream::get(0, null)?.enqueue_and_wait(work),
    }
}

/// One row; each side says whether it is on a device.
fn line(
    (to, to_device): (u64, bool),
    (from, from_device): (u64, bool),
    width_bytes: usize,
) -> Copy {
    Copy {
        to: Rows::line(to, to_device),
        from: Rows::line(from, from_device),
        extent: Extent::line(width_bytes),
    }
}

/// One row between addresses that say themselves where they are: what the driver does not know is
/// the host's.
fn anywhere(to: CUdeviceptr, from: CUdeviceptr, width_bytes: usize) -> Copy {
    let side = |address| (address, allocations::find(address).is_some());
    line(side(to), side(from), width_bytes)
}

fn between(contexts: [CUcontext; 2]) -> Outcome {
    let known = |handle: CUcontext| handle == 0 || context::get(handle).is_ok();
    if contexts.into_iter().all(known) {
        Ok(())
    } else {
        Err(INVALID_VALUE)
    }
}

/// Where a side begins, and whether the driver has to know it.
fn place(memory_type: u32, host: u64, device: CUdeviceptr) -> Result<(u64, bool), Code> {
    match memory_type {
        MEMORY_HOST => Ok((host, false)),
        MEMORY_DEVICE => Ok((device, true)),
        MEMORY_UNIFIED => Ok((device, allocations::find(device).is_some())),
        _ => Err(INVALID_VALUE),
    }
}

fn offset(address: u64, offsets: [Option<usize>; 3]) -> Result<u64, Code> {
    let add = |at: u64, offset: Option<usize>| at.checked_add(offset? as u64);
    let end = offsets.into_iter().try_fold(address, add);
    end.ok_or(INVALID_VALUE)
}

fn side_2d(side: &Side2D, width_bytes: usize) -> Result<Rows, Code> {
    let (address, known) = place(side.memory_type, side.host, side.device)?;
    let pitch_bytes = if side.pitch_bytes == 0 {
        width_bytes
    } else {
        side.pitch_bytes
    };
    let rows = side.y.checked_mul(pitch_bytes);
    Ok(Rows {
        address: offset(address, [Some(side.x_bytes), rows, Some(0)])?,
        pitch_bytes,
        slice_bytes: 0,
        known,
    })
}

fn side_3d(side: &Side3D, extent: &Extent) -> Result<Rows, Code> {
    let (address, known) = place(side.memory_type, side.host, side.device)?;
    let or = |given: usize, implied: usize| if given == 0 { implied } else { given };
    let pitch_bytes = or(side.pitch_bytes, extent.width_bytes);
    let height = or(side.height, extent.height);
    let slice_bytes = pitch_bytes.checked_mul(height).ok_or(INVALID_VALUE)?;
    let (rows, slices) = (
        side.y.checked_mul(pitch_bytes),
        side.z.checked_mul(slice_bytes),
    );
    Ok(Rows {
        address: offset(address, [Some(side.x_bytes), rows, slices])?,
        pitch_bytes,
        slice_bytes,
        known,
    })
}

fn plane(given: In<CUDA_MEMCPY2D>) -> Result<Copy, Code> {
    let given = given.get()?;
    Ok(Copy {
        to: side_2d(&given.to, given.width_bytes)?,
        from: side_2d(&given.from, given.width_bytes)?,
        extent: Extent {
            height: given.height,
            ..Extent::line(given.width_bytes)
        },
    })
}

fn block(given: In<CUDA_MEMCPY3D>) -> Result<Copy, Code> {
    let given = given.get()?;
    let extent = Extent {
        width_bytes: given.width_bytes,
        height: given.height,
        depth: given.depth,
    };
    Ok(Copy {
        to: side_3d(&given.to, &extent)?,
        from: side_3d(&given.from, &extent)?,
        extent,
    })
}

exports! {
    fn cuMemcpy | cuMemcpy_ptds [null] (to: CUdeviceptr, from: CUdeviceptr, bytes: usize) {
        copy(anywhere(to, from, bytes), None, null)
    }
    fn cuMemcpyAsync | cuMemcpyAsync_ptsz [null] (
        to: CUdeviceptr, from: CUdeviceptr, bytes: usize, stream: CUstream,
    ) {
        copy(anywhere(to, from, bytes), Some(stream), null)
    }
    fn cuMemcpyHtoD_v2 | cuMemcpyHtoD_v2_ptds [null] (
        to: CUdeviceptr, from: HostAddress, bytes: usize,
    ) {
        copy(line((to, true), (from, false), bytes), None, null)
    }
    fn cuMemcpyHtoDAsync_v2 | cuMemcpyHtoDAsync_v2_ptsz [null] (
        to: CUdeviceptr, from: HostAddress, bytes: usize, stream: CUstream,
    ) {
        copy(line((to, true), (from, false), bytes), Some(stream), null)
    }
    fn cuMemcpyDtoH_v2 | cuMemcpyDtoH_v2_ptds [null] (
        to: HostAddress, from: CUdeviceptr, bytes: usize,
    ) {
        copy(line((to, false), (from, true), bytes), None, null)
    }
    fn cuMemcpyDtoHAsync_v2 | cuMemcpyDtoHAsync_v2_ptsz [null] (
        to: HostAddress, from: CUdeviceptr, bytes: usize, stream: CUstream,
    ) {
        copy(line((to, false), (from, true), bytes), Some(stream), null)
    }
    fn cuMemcpyDtoD_v2 | cuMemcpyDtoD_v2_ptds [null] (
        to: CUdeviceptr, from: CUdeviceptr, bytes: usize,
    ) {
        copy(line((to, true), (from, true), bytes), None, null)
    }
    fn cuMemcpyDtoDAsync_v2 | cuMemcpyDtoDAsync_v2_ptsz [null] (
        to: CUdeviceptr, from: CUdeviceptr, bytes: usize, stream: CUstream,
    ) {
        copy(line((to, true), (from, true), bytes), Some(stream), null)
    }
    fn cuMemcpyPeer | cuMemcpyPeer_ptds [null] (
        to: CUdeviceptr, to_context: CUcontext, from: CUdeviceptr, from_context: CUcontext,
        bytes: usize,
    ) {
        between([to_context, from_context])?;
        copy(line((to, true), (from, true), bytes), None, null)
    }
    fn cuMemcpyPeerAsync | cuMemcpyPeerAsync_ptsz [null] (
        to: CUdeviceptr, to_context: CUcontext, from: CUdeviceptr, from_context: CUcontext,
        bytes: usize, stream: CUstream,
    ) {
        between([to_context, from_context])?;
        copy(line((to, true), (from, true), bytes), Some(stream), null)
    }
    fn cuMemcpy2D_v2 | cuMemcpy2D_v2_ptds [null] (given: In<CUDA_MEMCPY2D>) {
        copy(plane(given)?, None, null)
    }
    fn cuMemcpy2DUnaligned_v2 | cuMemcpy2DUnaligned_v2_ptds [null] (given: In<CUDA_MEMCPY2D>) {
        copy(plane(given)?, None, null)
    }
    fn cuMemcpy2DAsync_v2 | cuMemcpy2DAsync_v2_ptsz [null] (
        given: In<CUDA_MEMCPY2D>, stream: CUstream,
    ) {
        copy(plane(given)?, Some(stream), null)
    }
    fn cuMemcpy3D_v2 | cuMemcpy3D_v2_ptds [null] (given: In<CUDA_MEMCPY3D>) {
        copy(block(given)?, None, null)
    }
    fn cuMemcpy3DAsync_v2 | cuMemcpy3DAsync_v2_ptsz [null] (
        given: In<CUDA_MEMCPY3D>, stream: CUstream,
    ) {
        copy(block(given)?, Some(stream), null)
    }
    fn cuMemcpy3DPeer | cuMemcpy3DPeer_ptds [null] (given: In<CUDA_MEMCPY3D>) {
        let sides = given.get()?;
        between([sides.to.context, sides.from.context])?;
        copy(block(given)?, None, null)
    }
    fn cuMemcpy3DPeerAsync | cuMemcpy3DPeerAsync_ptsz [null] (
        given: In<CUDA_MEMCPY3D>, stream: CUstream,
    ) {
        let sides = given.get()?;
        between([sides.to.context, sides.from.context])?;
        copy(block(given)?, Some(stream), null)
    }
}
