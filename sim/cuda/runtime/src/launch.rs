//! Launching kernels.

use std::arch::naked_asm;

use cuda_sim_control::{
    In, NullStream,
    abi::{CUlaunchConfig, CUstream, Opaque},
    exports,
};

use crate::{
    code::{Code, INVALID_CONFIGURATION, INVALID_VALUE, Outcome},
    driver::{self, check},
    registration,
    shape::{Dim3, LaunchConfig},
};

/// What the driver calls an invalid value is, in a launch, an invalid configuration.
fn launched(code: u32) -> Outcome {
    check(code).map_err(|code| {
        if code == INVALID_VALUE {
            INVALID_CONFIGURATION
        } else {
            code
        }
    })
}

fn shared(shared_bytes: usize) -> Result<u32, Code> {
    u32::try_from(shared_bytes).map_err(|_| INVALID_CONFIGURATION)
}

fn extended(
    config: In<LaunchConfig>,
    host: usize,
    parameters: Opaque,
    null: NullStream,
) -> Outcome {
    let config = config.get()?;
    let function = registration::function(host)?;
    let words = |size: Dim3| [size.x, size.y, size.z];
    let config = CUlaunchConfig {
        grid: words(config.grid),
        block: words(config.block),
        shared_bytes: shared(config.shared_bytes)?,
        stream: config.stream,
        attributes: config.attributes,
        attribute_count: config.attribute_count,
    };
    let driver = driver::driver(null)?;
    launched((driver.cuLaunchKernelEx)(
        (&raw const config).cast(),
        function,
        parameters,
        0,
    ))
}

exports! {
    fn cudaLaunchKernel | cudaLaunchKernel_ptsz [null] (
        host_function: usize,
        grid: Dim3,
        block: Dim3,
        parameters: Opaque,
        shared_bytes: usize,
        stream: CUstream,
    ) {
        let function = registration::function(host_function)?;
        let launch = driver::driver(null)?.cuLaunchKernel;
        launched(launch(
            function, grid.x, grid.y, grid.z, block.x, block.y, block.z,
            shared(shared_bytes)?, stream, parameters, 0,
        ))
    }
    fn cudaLaunchCooperativeKernel | cudaLaunchCooperativeKernel_ptsz [null] (
        host_function: usize,
        grid: Dim3,
        block: Dim3,
        parameters: Opaque,
        shared_bytes: usize,
        stream: CUstream,
    ) {
        let function = registration::function(host_function)?;
        let launch = driver::driver(null)?.cuLaunchCooperativeKernel;
        launched(launch(
            function, grid.x, grid.y, grid.z, block.x, block.y, block.z,
            shared(shared_bytes)?, stream, parameters,
        ))
    }
    fn cudaLaunchKernelExC | cudaLaunchKernelExC_ptsz [null] (
        config: In<LaunchConfig>,
        host_function: usize,
        parameters: Opaque,
    ) {
        extended(config, host_function, parameters, null)
    }
    fn cudaLaunchHostFunc | cudaLaunchHostFunc_ptsz [null] (
        stream: CUstream,
        function: Opaque,
        data: Opaque,
    ) {
        check((driver::driver(null)?.cuLaunchHostFunc)(stream, function, data))
    }
}

/// Goes on as another exported function, with the arguments as they are. It has no count of its
/// own: a call of it is a call of the other.
macro_rules! jumps {
    ($($name:ident => $other:ident)*) => {$(
        #[allow(non_snake_case, reason = "the name is CUDA's")]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        extern "C" fn $name() {
            #[cfg(target_arch = "x86_64")]
            naked_asm!("jmp {other}", other = sym $other);
            #[cfg(target_arch = "aarch64")]
            naked_asm!("b {other}", other = sym $other);
        }
    )*};
}

jumps! {
    __cudaLaunchKernel => cudaLaunchKernel
    __cudaLaunchKernel_ptsz => cudaLaunchKernel_ptsz
}
