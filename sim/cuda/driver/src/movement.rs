//! What streams do: kernels, copies, fills and calls of the host. Copies and fills of all shapes are
//! rows of bytes.

use std::{
    ptr,
    sync::{Arc, OnceLock},
};

use cuda_sim_control::setting;

use crate::{
    allocations,
    code::{Code, INVALID_VALUE, Outcome},
    function::Function,
    host_calls::HostCall,
    stream::Stream,
};

/// One thing that a stream does.
#[derive(Clone)]
pub(crate) enum Work {
    Kernel(Arc<Function>),
    Copy(Copy),
    Fill(Fill),
    Host(HostCall),
}

/// Where rows of bytes lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) address: u64,
    /// From one row to the next.
    pub(crate) pitch_bytes: usize,
    /// From one slice to the next.
    pub(crate) slice_bytes: usize,
    /// Whether the driver has to know the memory. Host memory may be any.
    pub(crate) known: bool,
}

/// How many bytes, rows and slices.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) width_bytes: usize,
    pub(crate) height: usize,
    pub(crate) depth: usize,
}

/// Rows of bytes from here to there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copy {
    pub(crate) to: Rows,
    pub(crate) from: Rows,
    pub(crate) extent: Extent,
}

/// Rows of one value, over and over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fill {
    pub(crate) to: Rows,
    pub(crate) value: u32,
    /// 1, 2 or 4.
    pub(crate) value_bytes: usize,
    pub(crate) extent: Extent,
}

impl Work {
    /// Has its effect. Fails, with no effect, where memory is not what it has to be.
    pub(crate) fn perform(&self, stream: &Arc<Stream>) -> Outcome {
        match self {
            Self::Kernel(_) => {}
            Self::Copy(copy) => copy.perform()?,
            Self::Fill(fill) => fill.perform()?,
            Self::Host(call) => call.issue(stream),
        }
        Ok(())
    }

    /// How long a device would have worked on it.
    pub(crate) fn duration_ns(&self) -> u64 {
        match self {
            Self::Kernel(function) => function.duration_ns(),
            Self::Copy(copy) => copy_duration_ns(copy.extent.bytes()),
            Self::Fill(fill) => copy_duration_ns(fill.extent.bytes()),
            Self::Host(_) => 0,
        }
    }
}

/// By `CUDA_SIM_COPY_BYTES_PER_SECOND`; without it, no time at all.
fn copy_duration_ns(size_bytes: usize) -> u64 {
    static RATE: OnceLock<u64> = OnceLock::new();
    let rate = *RATE.get_or_init(|| {
        let rate = setting("CUDA_SIM_COPY_BYTES_PER_SECOND").parse();
        rate.unwrap_or(0)
    });
    let ns = (size_bytes as u128 * 1_000_000_000).checked_div(u128::from(rate));
    u64::try_from(ns.unwrap_or(0)).unwrap_or(u64::MAX)
}

impl Extent {
    /// One row.
    pub(crate) fn line(width_bytes: usize) -> Self {
        Self {
            width_bytes,
            height: 1,
            depth: 1,
        }
    }

    fn bytes(&self) -> usize {
        let rows = self.height.saturating_mul(self.depth);
        self.width_bytes.saturating_mul(rows)
    }
}

impl Rows {
    /// One row at an address.
    pub(crate) fn line(address: u64, known: bool) -> Self {
        Self {
            address,
            pitch_bytes: 0,
            slice_bytes: 0,
            known,
        }
    }

    /// From the first byte to behind the last. Fails where rows overlap or the addresses end.
    fn span_bytes(&self, extent: &Extent) -> Result<usize, Code> {
        let (width, height) = (extent.width_bytes, extent.height);
        if height > 1 && self.pitch_bytes < width {
            return Err(INVALID_VALUE);
        }
        let rows = (height - 1).checked_mul(self.pitch_bytes);
        let slices = (extent.depth - 1).checked_mul(self.slice_bytes);
        let span = rows.and_then(|rows| rows.checked_add(slices?)?.checked_add(width));
        span.ok_or(INVALID_VALUE)
    }

    fn check(&self, extent: &Extent) -> Outcome {
        let span_bytes = self.span_bytes(extent)?;
        if self.known {
            allocations::check(self.address, span_bytes)
        } else if self.address == 0 {
            Err(INVALID_VALUE)
        } else {
            Ok(())
        }
    }

    fn row(&self, slice: usize, row: usize) -> *mut u8 {
        let offset = slice * self.slice_bytes + row * self.pitch_bytes;
        let address = usize::try_from(self.address).expect("the host has 64 bits");
        ptr::with_exposed_provenance_mut(address + offset)
    }
}

impl Copy {
    fn perform(&self) -> Outcome {
        if self.extent.bytes() == 0 {
            return Ok(());
        }
        self.to.check(&self.extent)?;
        self.from.check(&self.extent)?;
        for slice in 0..self.extent.depth {
            for row in 0..self.extent.height {
                let (from, to) = (self.from.row(slice, row), self.to.row(slice, row));
                // SAFETY: device memory was just found to be there, and for the host's the caller
                // of the exported function vouches.
                unsafe { ptr::copy(from, to, self.extent.width_bytes) }
            }
        }
        Ok(())
    }
}

impl Fill {
    fn perform(&self) -> Outcome {
        if self.extent.bytes() == 0 {
            return Ok(());
        }
        self.to.check(&self.extent)?;
        let value = self.value.to_ne_bytes();
        let value = &value[..self.value_bytes];
        for slice in 0..self.extent.depth {
            for row in 0..self.extent.height {
                let to = self.to.row(slice, row);
                for offset in (0..self.extent.width_bytes).step_by(self.value_bytes) {
                    // SAFETY: the memory was just found to be there; rows are whole values.
                    unsafe { ptr::copy(value.as_ptr(), to.add(offset), self.value_bytes) }
                }
            }
        }
        Ok(())
    }
}
