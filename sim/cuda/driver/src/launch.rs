//! Launching kernels.

use cuda_sim_control::{In, NullStream, exports};

use crate::{
    abi::{CUfunction, CUlaunchConfig, CUstream, Opaque},
    code::{INVALID_VALUE, Outcome},
    context, device, function,
    movement::Work,
    stream,
};

/// Blocks of a grid in its second and third direction.
const MAX_GRID_YZ: u32 = 65_535;
/// Threads of a block in its third direction.
const MAX_BLOCK_Z: u32 = 64;

/// Fails where a device would refuse.
pub(crate) fn check(grid: [u32; 3], block: [u32; 3], shared_bytes: u32) -> Outcome {
    let threads = block.into_iter().try_fold(1_u32, u32::checked_mul);
    let fits = threads.is_some_and(|threads| (1..=device::MAX_BLOCK_THREADS).contains(&threads))
        && block[2] <= MAX_BLOCK_Z
        && grid.into_iter().all(|blocks| blocks > 0)
        && grid[1].max(grid[2]) <= MAX_GRID_YZ
        && shared_bytes <= device::MAX_SHARED_BYTES;
    if fits { Ok(()) } else { Err(INVALID_VALUE) }
}

fn launch(
    function: CUfunction,
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    stream: CUstream,
    null: NullStream,
) -> Outcome {
    context::current()?;
    let function = function::get(function)?;
    check(grid, block, shared_bytes)?;
    stream::get(stream, null)?.enqueue(Work::Kernel(function))
}

exports! {
    fn cuLaunchKernel | cuLaunchKernel_ptsz [null] (
        function: CUfunction,
        grid_x: u32, grid_y: u32, grid_z: u32,
        block_x: u32, block_y: u32, block_z: u32,
        shared_bytes: u32,
        stream: CUstream,
        _parameters: Opaque,
        _extra: Opaque,
    ) {
        let grid = [grid_x, grid_y, grid_z];
        launch(function, grid, [block_x, block_y, block_z], shared_bytes, stream, null)
    }
    fn cuLaunchKernelEx | cuLaunchKernelEx_ptsz [null] (
        config: In<CUlaunchConfig>,
        function: CUfunction,
        _parameters: Opaque,
        _extra: Opaque,
    ) {
        let config = config.get()?;
        launch(function, config.grid, config.block, config.shared_bytes, config.stream, null)
    }
    fn cuLaunchCooperativeKernel | cuLaunchCooperativeKernel_ptsz [null] (
        function: CUfunction,
        grid_x: u32, grid_y: u32, grid_z: u32,
        block_x: u32, block_y: u32, block_z: u32,
        shared_bytes: u32,
        stream: CUstream,
        _parameters: Opaque,
    ) {
        let grid = [grid_x, grid_y, grid_z];
        launch(function, grid, [block_x, block_y, block_z], shared_bytes, stream, null)
    }
}
