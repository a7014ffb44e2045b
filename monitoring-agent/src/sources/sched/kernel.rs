//! What differs from kernel to kernel: where it keeps what the programs read. Knows no metric.

use crate::{loader::needed_field, offsets::Offsets, source::StartError, task_switches};

/// Values of the kernel object's globals on this kernel.
pub(super) fn globals(offsets: &mut Offsets) -> Result<Vec<(&'static str, Vec<u32>)>, StartError> {
    let mut globals = task_switches::globals(offsets)?;
    let voluntary = needed_field(offsets, "task_struct", "nvcsw")?;
    globals.push(("VOLUNTARY_OFFSET", vec![voluntary]));
    Ok(globals)
}
