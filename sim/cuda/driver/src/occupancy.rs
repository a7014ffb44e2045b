//! How many blocks fit: as many as there are threads for.

use cuda_sim_control::{Out, exports};

use crate::{
    abi::{CUfunction, Opaque},
    code::{INVALID_VALUE, Outcome},
    device, function,
};

/// Threads of a multiprocessor, and multiprocessors of a device, as in its attributes.
const THREADS: i32 = 2048;
const MULTIPROCESSORS: i32 = 132;

fn blocks(result: Out<i32>, function: CUfunction, block_threads: i32) -> Outcome {
    function::get(function)?;
    if block_threads <= 0 {
        return Err(INVALID_VALUE);
    }
    result.set(THREADS / block_threads)
}

fn best(grid: Out<i32>, block: Out<i32>, function: CUfunction, limit: i32) -> Outcome {
    function::get(function)?;
    let most = device::MAX_BLOCK_THREADS.cast_signed();
    let threads = if limit > 0 { limit.min(most) } else { most };
    block.set(threads)?;
    grid.set(MULTIPROCESSORS * (THREADS / threads))
}

exports! {
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
        result: Out<i32>, function: CUfunction, block_threads: i32, _shared_bytes: usize,
    ) {
        blocks(result, function, block_threads)
    }
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        result: Out<i32>, function: CUfunction, block_threads: i32, _shared_bytes: usize,
        _flags: u32,
    ) {
        blocks(result, function, block_threads)
    }
    fn cuOccupancyMaxPotentialBlockSize(
        grid: Out<i32>, block: Out<i32>, function: CUfunction, _shared_of_block: Opaque,
        _shared_bytes: usize, limit: i32,
    ) {
        best(grid, block, function, limit)
    }
    fn cuOccupancyMaxPotentialBlockSizeWithFlags(
        grid: Out<i32>, block: Out<i32>, function: CUfunction, _shared_of_block: Opaque,
        _shared_bytes: usize, limit: i32, _flags: u32,
    ) {
        best(grid, block, function, limit)
    }
    fn cuOccupancyAvailableDynamicSMemPerBlock(
        result: Out<usize>, function: CUfunction, blocks: i32, _block_threads: i32,
    ) {
        function::get(function)?;
        let blocks = usize::try_from(blocks).map_err(|_| INVALID_VALUE)?;
        let shared = device::MAX_SHARED_BYTES as usize;
        result.set(shared.checked_div(blocks).ok_or(INVALID_VALUE)?)
    }
    fn cuOccupancyMaxPotentialClusterSize(
        result: Out<i32>, function: CUfunction, _config: Opaque,
    ) {
        function::get(function)?;
        result.set(8)
    }
    fn cuOccupancyMaxActiveClusters(result: Out<i32>, function: CUfunction, _config: Opaque) {
        function::get(function)?;
        result.set(MULTIPROCESSORS / 8)
    }
}
