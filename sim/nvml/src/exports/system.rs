//! The library itself: initialization, versions, and the way to its devices.

use std::{
    ffi::{CStr, c_char, c_int, c_uint},
    fs,
};

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlReturn_t};

use crate::{
    abi::{Answer, Code, Out},
    dispatch,
    handle::Handle,
    library,
    unit::Unit,
    values::Value,
};

/// For the texts of callers, which should end some time.
const LONGEST_TEXT: usize = 256;

#[unsafe(no_mangle)]
#[allow(non_snake_case)]
extern "C" fn nvmlErrorString(code: nvmlReturn_t) -> *const c_char {
    Code::description(code).as_ptr()
}

library_calls! {
    anytime fn nvmlInit() { initialize() }

    anytime fn nvmlInit_v2() { initialize() }

    anytime fn nvmlInitWithFlags(_flags: c_uint) { initialize() }

    anytime fn nvmlShutdown() { library::shut_down() }

    anytime fn nvmlSystemGetCudaDriverVersion(version: Out<c_int>) { cuda_version(version) }

    anytime fn nvmlSystemGetCudaDriverVersion_v2(version: Out<c_int>) { cuda_version(version) }

    library fn nvmlSystemGetDriverVersion(text: Out<c_char>, room: c_uint) {
        version(text, room, &library::script()?.driver_version)
    }

    library fn nvmlSystemGetNVMLVersion(text: Out<c_char>, room: c_uint) {
        version(text, room, &library::script()?.nvml_version)
    }

    library fn nvmlSystemGetProcessName(pid: c_uint, text: Out<c_char>, room: c_uint) {
        text.check()?;
        process_name(pid, text, room)
    }

    library fn nvmlDeviceGetCount(count: Out<c_uint>) { device_count(count) }

    library fn nvmlDeviceGetCount_v2(count: Out<c_uint>) { device_count(count) }

    indirect fn nvmlDeviceGetHandleByIndex(index: c_uint, device: Out<nvmlDevice_t>) {
        by_index("nvmlDeviceGetHandleByIndex", index, device)
    }

    indirect fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: Out<nvmlDevice_t>) {
        by_index("nvmlDeviceGetHandleByIndex_v2", index, device)
    }

    indirect fn nvmlDeviceGetHandleByUUID(uuid: Out<c_char>, device: Out<nvmlDevice_t>) {
        by_text("nvmlDeviceGetHandleByUUID", uuid, device, "uuid")
    }

    indirect fn nvmlDeviceGetHandleByPciBusId_v2(address: Out<c_char>, device: Out<nvmlDevice_t>) {
        by_text("nvmlDeviceGetHandleByPciBusId_v2", address, device, "pci_bus_id")
    }

    indirect fn nvmlDeviceGetHandleBySerial(serial: Out<c_char>, device: Out<nvmlDevice_t>) {
        by_text("nvmlDeviceGetHandleBySerial", serial, device, "serial")
    }
}

fn initialize() -> Answer {
    dispatch::driver_loaded()?;
    library::initialize()
}

fn cuda_version(version: Out<c_int>) -> Answer {
    dispatch::driver_loaded()?;
    version.put(library::script()?.cuda_version)
}

fn version(text: Out<c_char>, room: c_uint, version: &Value) -> Answer {
    match version {
        Value::Text(version) => text.put_text(room, version),
        other => text.put_bytes(room, &other.bytes().unwrap_or_default()),
    }
}

/// A process's name as the script has it, or else that of the real one.
fn process_name(pid: c_uint, text: Out<c_char>, room: c_uint) -> Answer {
    let script = library::script()?;
    let mut processes = script.gpus.iter().flat_map(|gpu| &gpu.processes);
    let known = processes.find(|process| process.pid == pid && process.name.is_some());
    if let Some(name) = known.and_then(|process| process.name.as_ref()) {
        return version(text, room, name);
    }
    let program = fs::read_link(format!("/proc/{pid}/exe"));
    let program = program.map_err(|_| Code::NOT_FOUND)?;
    text.put_text(room, program.as_os_str().as_encoded_bytes())
}

fn device_count(count: Out<c_uint>) -> Answer {
    count.put(c_uint::try_from(library::present().len()).map_err(|_| Code::UNKNOWN)?)
}

fn by_index(call: &'static str, index: c_uint, device: Out<nvmlDevice_t>) -> Answer {
    device.check()?;
    let gpu = library::present().get(index as usize).copied();
    let handle = Handle {
        gpu: gpu.ok_or(Code::INVALID_ARGUMENT)?,
        mig: None,
    };
    dispatch::enter(call, handle)?;
    device.put(handle.pointer())
}

/// A device by a text that is its own. One that is lost says nothing of itself.
fn by_text(call: &'static str, text: Out<c_char>, device: Out<nvmlDevice_t>, key: &str) -> Answer {
    device.check()?;
    let text = read(text)?;
    let script = library::script()?;
    for gpu in library::present() {
        let instances = script.gpus.get(gpu).map_or(0, |gpu| gpu.mig.len());
        let instances = (0..instances).map(Some);
        for mig in [None].into_iter().chain(instances) {
            let handle = Handle { gpu, mig };
            let unit = Unit::find(handle);
            if unit
                .and_then(|unit| unit.text(key))
                .is_ok_and(|own| own == text)
            {
                dispatch::enter(call, handle)?;
                return device.put(handle.pointer());
            }
        }
    }
    Err(Code::NOT_FOUND)
}

/// A caller's text.
fn read(text: Out<c_char>) -> Answer<Vec<u8>> {
    text.check()?;
    let mut bytes = Vec::new();
    while bytes.len() < LONGEST_TEXT {
        bytes.push(text.nth(bytes.len()).get()?.cast_unsigned());
        if let Ok(text) = CStr::from_bytes_with_nul(&bytes) {
            return Ok(text.to_bytes().to_vec());
        }
    }
    Err(Code::INVALID_ARGUMENT)
}
