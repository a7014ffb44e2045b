//! What does not change of a device.

use std::ffi::{c_char, c_int, c_uint};

use nvml_wrapper_sys::bindings::nvmlPciInfo_t;

use crate::{
    abi::{self, Answer, Code, Out},
    library,
    unit::Unit,
};

device_calls! {
    fn nvmlDeviceGetName(text: Out<c_char>, room: c_uint) |unit| {
        unit.put_text(text, room, "name")
    }

    fn nvmlDeviceGetUUID(text: Out<c_char>, room: c_uint) |unit| {
        unit.put_text(text, room, "uuid")
    }

    fn nvmlDeviceGetSerial(text: Out<c_char>, room: c_uint) |unit| {
        unit.put_text(text, room, "serial")
    }

    fn nvmlDeviceGetVbiosVersion(text: Out<c_char>, room: c_uint) |unit| {
        unit.put_text(text, room, "vbios_version")
    }

    fn nvmlDeviceGetBoardPartNumber(text: Out<c_char>, room: c_uint) |unit| {
        unit.put_text(text, room, "board_part_number")
    }

    fn nvmlDeviceGetPciInfo_v3(info: Out<nvmlPciInfo_t>) |unit| {
        info.check()?;
        info.put(pci_info(unit)?)
    }

    fn nvmlDeviceGetIndex(index: Out<c_uint>) |unit| {
        index.check()?;
        let place = match unit.handle.mig {
            Some(mig) => Some(mig),
            None => library::present().iter().position(|gpu| *gpu == unit.handle.gpu),
        };
        let place = place.and_then(|place| c_uint::try_from(place).ok());
        index.put(place.ok_or(Code::GPU_IS_LOST)?)
    }

    fn nvmlDeviceGetMinorNumber(number: Out<c_uint>) |unit| {
        unit.put_u32(number, "minor_number")
    }

    fn nvmlDeviceGetBrand(brand: Out<c_uint>) |unit| {
        unit.put_u32(brand, "brand")
    }

    fn nvmlDeviceGetArchitecture(architecture: Out<c_uint>) |unit| {
        unit.put_u32(architecture, "architecture")
    }

    fn nvmlDeviceGetCudaComputeCapability(major: Out<c_int>, minor: Out<c_int>) |unit| {
        minor.check()?;
        major.put(unit.u32("cuda_major")?.cast_signed())?;
        minor.put(unit.u32("cuda_minor")?.cast_signed())
    }
}

fn pci_info(unit: &Unit) -> Answer<nvmlPciInfo_t> {
    let address = unit.text("pci_bus_id")?;
    let parts: Vec<u32> = address
        .split(|byte| matches!(byte, b':' | b'.'))
        .map(|part| std::str::from_utf8(part).unwrap_or_default())
        .map(|part| u32::from_str_radix(part, 16).unwrap_or(0))
        .collect();
    let part = |at: usize| parts.get(at).copied().unwrap_or(0);
    // The older text has room for four digits of the domain only.
    let legacy = format!("{:04X}:{:02X}:{:02X}.0", part(0) & 0xffff, part(1), part(2));
    Ok(nvmlPciInfo_t {
        busIdLegacy: abi::array(legacy.as_bytes()),
        domain: part(0),
        bus: part(1),
        device: part(2),
        pciDeviceId: unit.u32("pci_device_id")?,
        pciSubSystemId: unit.u32("pci_subsystem_id")?,
        busId: abi::array(&address),
    })
}
