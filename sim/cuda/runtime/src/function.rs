//! What kernels say of themselves.

use std::ffi::c_char;

use cuda_sim_control::{
    Out,
    abi::{CUfunction, CUkernel},
    exports,
};

use crate::{
    code::{Code, Outcome},
    driver::{self, check},
    registration,
    shape::FuncAttributes,
};

/// The driver's attributes in the order of the runtime's structure.
const ORDER: [u32; 13] = [0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 14];

fn attribute(which: u32, function: CUfunction) -> Result<i32, Code> {
    let mut value = 0;
    check((driver::plain()?.cuFuncGetAttribute)(
        &raw mut value,
        which,
        function,
    ))?;
    Ok(value)
}

fn attributes(host: usize) -> Result<FuncAttributes, Code> {
    let function = registration::function(host)?;
    let bytes = |which| Ok(usize::try_from(attribute(which, function)?).unwrap_or(0));
    let mut all = FuncAttributes {
        shared_bytes: bytes(1)?,
        constant_bytes: bytes(2)?,
        local_bytes: bytes(3)?,
        ..FuncAttributes::default()
    };
    for (number, which) in all.numbers.iter_mut().zip(ORDER) {
        *number = attribute(which, function)?;
    }
    Ok(all)
}

fn blocks(result: Out<i32>, host: usize, block_threads: i32, shared_bytes: usize) -> Outcome {
    let function = registration::function(host)?;
    let ask = driver::plain()?.cuOccupancyMaxActiveBlocksPerMultiprocessor;
    check(ask(result.pointer(), function, block_threads, shared_bytes))
}

exports! {
    fn cudaFuncGetAttributes(result: Out<FuncAttributes>, host_function: usize) {
        result.set(attributes(host_function)?)
    }
    fn cudaFuncSetAttribute(host_function: usize, which: u32, value: i32) {
        let function = registration::function(host_function)?;
        check((driver::plain()?.cuFuncSetAttribute)(function, which, value))
    }
    fn cudaFuncSetCacheConfig(host_function: usize, config: u32) {
        let function = registration::function(host_function)?;
        check((driver::plain()?.cuFuncSetCacheConfig)(function, config))
    }
    fn cudaFuncGetName(result: Out<*const c_char>, host_function: usize) {
        let function = registration::function(host_function)?;
        check((driver::plain()?.cuFuncGetName)(result.pointer(), function))
    }
    fn cudaGetFuncBySymbol(result: Out<CUfunction>, host_function: usize) {
        result.set(registration::function(host_function)?)
    }
    fn cudaGetKernel(result: Out<CUkernel>, host_function: usize) {
        registration::handle(result, host_function)
    }
    fn cudaOccupancyMaxActiveBlocksPerMultiprocessor(
        result: Out<i32>, host_function: usize, block_threads: i32, shared_bytes: usize,
    ) {
        blocks(result, host_function, block_threads, shared_bytes)
    }
    fn cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        result: Out<i32>, host_function: usize, block_threads: i32, shared_bytes: usize,
        _flags: u32,
    ) {
        blocks(result, host_function, block_threads, shared_bytes)
    }
}
