//! The link to the host.

use std::{ffi::c_uint, thread, time::Duration};

use crate::abi::{Code, Out};

/// NVML counts for so long before it answers with a rate.
const COUNTING: Duration = Duration::from_millis(20);

device_calls! {
    fn nvmlDeviceGetPcieThroughput(counter: c_uint, kb_per_second: Out<c_uint>) |unit| {
        kb_per_second.check()?;
        let key = match counter {
            0 => "pcie_tx_kb_per_second",
            1 => "pcie_rx_kb_per_second",
            _ => return Err(Code::INVALID_ARGUMENT),
        };
        let rate = unit.u32(key)?;
        thread::sleep(COUNTING);
        kb_per_second.put(rate)
    }

    fn nvmlDeviceGetPcieReplayCounter(replays: Out<c_uint>) |unit| {
        unit.put_u32(replays, "pcie_replays")
    }

    fn nvmlDeviceGetCurrPcieLinkGeneration(generation: Out<c_uint>) |unit| {
        unit.put_u32(generation, "pcie_generation")
    }

    fn nvmlDeviceGetCurrPcieLinkWidth(lanes: Out<c_uint>) |unit| {
        unit.put_u32(lanes, "pcie_width")
    }

    fn nvmlDeviceGetMaxPcieLinkGeneration(generation: Out<c_uint>) |unit| {
        unit.put_u32(generation, "pcie_generation_max")
    }

    fn nvmlDeviceGetMaxPcieLinkWidth(lanes: Out<c_uint>) |unit| {
        unit.put_u32(lanes, "pcie_width_max")
    }
}
