//! What a device is: names, numbers and addresses.
//!
//! Knows nothing of what the device does.

use nvml_wrapper_sys::bindings::{
    NVML_DEVICE_NAME_V2_BUFFER_SIZE, NVML_DEVICE_SERIAL_BUFFER_SIZE,
    NVML_DEVICE_UUID_V2_BUFFER_SIZE, NVML_DEVICE_VBIOS_VERSION_BUFFER_SIZE, NvmlLib, nvmlPciInfo_t,
    nvmlReturn_t,
};

use super::{
    super::{GpuIdentity, plausible},
    Reader,
};

/// What the device says now, and of what it does not say, what it was `before`.
pub(super) fn read(reader: &mut Reader<'_>, before: &GpuIdentity) -> GpuIdentity {
    let serial = reader.text(
        "nvmlDeviceGetSerial",
        NVML_DEVICE_SERIAL_BUFFER_SIZE,
        |lib, handle, text, length| {
            let call = lib.nvmlDeviceGetSerial.as_ref().ok()?;
            // SAFETY: the handle is of this session, the buffer as long as is said.
            Some(unsafe { call(handle, text, length) })
        },
    );
    let vbios = reader.text(
        "nvmlDeviceGetVbiosVersion",
        NVML_DEVICE_VBIOS_VERSION_BUFFER_SIZE,
        |lib, handle, text, length| {
            let call = lib.nvmlDeviceGetVbiosVersion.as_ref().ok()?;
            // SAFETY: as above.
            Some(unsafe { call(handle, text, length) })
        },
    );
    let or = |new: String, before: &String| {
        if new.is_empty() { before.clone() } else { new }
    };
    GpuIdentity {
        // It is what the device is known by, and stays.
        uuid: if before.uuid.is_empty() {
            uuid(reader, "nvmlDeviceGetUUID")
        } else {
            before.uuid.clone()
        },
        name: or(name(reader, "nvmlDeviceGetName"), &before.name),
        serial: or(serial, &before.serial),
        vbios: or(vbios, &before.vbios),
        pci_bus_id: or(pci_bus_id(reader), &before.pci_bus_id),
        driver_version: before.driver_version.clone(),
        cuda_version: before.cuda_version.clone(),
    }
}

/// The UUID of a device or a MIG instance.
pub(super) fn uuid(reader: &mut Reader<'_>, call: &'static str) -> String {
    reader.text(
        call,
        NVML_DEVICE_UUID_V2_BUFFER_SIZE,
        |lib, handle, text, length| {
            let call = lib.nvmlDeviceGetUUID.as_ref().ok()?;
            // SAFETY: the handle is of this session, the buffer as long as is said.
            Some(unsafe { call(handle, text, length) })
        },
    )
}

/// The name of a device or a MIG instance.
pub(super) fn name(reader: &mut Reader<'_>, call: &'static str) -> String {
    reader.text(
        call,
        NVML_DEVICE_NAME_V2_BUFFER_SIZE,
        |lib, handle, text, length| {
            let call = lib.nvmlDeviceGetName.as_ref().ok()?;
            // SAFETY: the handle is of this session, the buffer as long as is said.
            Some(unsafe { call(handle, text, length) })
        },
    )
}

fn pci_bus_id(reader: &mut Reader<'_>) -> String {
    let empty = nvmlPciInfo_t {
        busIdLegacy: [0; 16],
        domain: 0,
        bus: 0,
        device: 0,
        pciDeviceId: 0,
        pciSubSystemId: 0,
        busId: [0; 32],
    };
    let read = |lib: &NvmlLib, handle, info: &mut nvmlPciInfo_t| -> Option<nvmlReturn_t> {
        let call = lib.nvmlDeviceGetPciInfo_v3.as_ref().ok()?;
        // SAFETY: the handle is of this session, and the room is of the call's own type.
        Some(unsafe { call(handle, info) })
    };
    let info = reader.raw("nvmlDeviceGetPciInfo_v3", empty, read);
    info.map(|info| plausible::text(&info.busId.map(c_char_to_u8)))
        .unwrap_or_default()
}

/// A C character is signed on some machines and unsigned on others.
#[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
fn c_char_to_u8(character: std::os::raw::c_char) -> u8 {
    character as u8
}
