//! Variables of device code, by the host's variables that stand for them.

use cuda_sim_control::{NullStream, Out, abi::CUstream, exports};

use crate::{
    code::{Code, INVALID_VALUE, Outcome},
    copy::{self, Kind},
    registration,
};

/// Host or device memory, by its address.
type Address = u64;

/// Part of a variable: `size_bytes` from an offset on.
fn part(host: usize, offset: usize, size_bytes: usize) -> Result<Address, Code> {
    let (address, whole) = registration::variable(host)?;
    let end = offset.checked_add(size_bytes).ok_or(INVALID_VALUE)?;
    if end > whole {
        return Err(INVALID_VALUE);
    }
    Ok(address + offset as u64)
}

fn line(
    (to, from): (Address, Address),
    size_bytes: usize,
    kind: u32,
    stream: Option<CUstream>,
    null: NullStream,
) -> Outcome {
    copy::line(to, from, size_bytes, Kind::new(kind)?, stream, null)
}

exports! {
    fn cudaGetSymbolAddress(result: Out<Address>, host_variable: usize) {
        result.set(registration::variable(host_variable)?.0)
    }
    fn cudaGetSymbolSize(result: Out<usize>, host_variable: usize) {
        result.set(registration::variable(host_variable)?.1)
    }
    fn cudaMemcpyToSymbol | cudaMemcpyToSymbol_ptds [null] (
        host_variable: usize, from: Address, bytes: usize, offset: usize, kind: u32,
    ) {
        let to = part(host_variable, offset, bytes)?;
        line((to, from), bytes, kind, None, null)
    }
    fn cudaMemcpyToSymbolAsync | cudaMemcpyToSymbolAsync_ptsz [null] (
        host_variable: usize, from: Address, bytes: usize, offset: usize, kind: u32,
        stream: CUstream,
    ) {
        let to = part(host_variable, offset, bytes)?;
        line((to, from), bytes, kind, Some(stream), null)
    }
    fn cudaMemcpyFromSymbol | cudaMemcpyFromSymbol_ptds [null] (
        to: Address, host_variable: usize, bytes: usize, offset: usize, kind: u32,
    ) {
        let from = part(host_variable, offset, bytes)?;
        line((to, from), bytes, kind, None, null)
    }
    fn cudaMemcpyFromSymbolAsync | cudaMemcpyFromSymbolAsync_ptsz [null] (
        to: Address, host_variable: usize, bytes: usize, offset: usize, kind: u32,
        stream: CUstream,
    ) {
        let from = part(host_variable, offset, bytes)?;
        line((to, from), bytes, kind, Some(stream), null)
    }
}
