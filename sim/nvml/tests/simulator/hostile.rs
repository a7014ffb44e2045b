//! Values that no library should give, because programs must bear them.

use std::ffi::c_char;

use nvml_wrapper::{
    enum_wrappers::device::TemperatureSensor,
    enums::{device::SampleValue, gpm::GpmMetricId},
    error::NvmlError,
    gpm::gpm_metrics_get,
    structs::device::FieldId,
};

use crate::{Rig, one};

#[test]
fn numbers_at_the_end_of_their_range() {
    let rig = Rig::new(&one(
        "h200",
        "temperature = 4294967295\npower_usage_mw = -1\nenergy_mj = -1\n\
         memory_total = \"18446744073709551615\"\nmemory_used = 9223372036854775807",
    ));
    let gpu = rig.gpu();
    assert_eq!(gpu.temperature(TemperatureSensor::Gpu).unwrap(), u32::MAX);
    assert_eq!(gpu.power_usage().unwrap(), u32::MAX);
    assert_eq!(gpu.total_energy_consumption().unwrap(), u64::MAX);
    let memory = gpu.memory_info().unwrap();
    assert_eq!((memory.total, memory.used), (u64::MAX, i64::MAX as u64));
}

#[test]
fn numbers_that_are_none() {
    let rig = Rig::new(&one(
        "h200",
        "gpm_sm = nan\ngpm_dram = inf\nmemory_temperature = -inf",
    ));
    let gpu = rig.gpu();
    let [first, last] = [(); 2].map(|()| gpu.gpm_sample().unwrap());
    let metrics = [GpmMetricId::SmUtil, GpmMetricId::DramBwUtil];
    let values = gpm_metrics_get(&rig.nvml, &first, &last, &metrics).unwrap();
    assert!(values[0].as_ref().unwrap().value.is_nan());
    assert!(values[1].as_ref().unwrap().value.is_infinite());
    let mut fields = gpu.field_values_for(&[FieldId(82)]).unwrap();
    match fields.remove(0).unwrap().value {
        Ok(SampleValue::F64(value)) => assert!(value == f64::NEG_INFINITY),
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_of_any_bytes() {
    let name = |value: &str| {
        Rig::new(&one("h200", &format!("name = {value}")))
            .gpu()
            .name()
    };
    assert_eq!(name(r#""a \"b\" \u0007\n""#).unwrap(), "a \"b\" \u{7}\n");
    assert_eq!(name("[65, 10, 66]").unwrap(), "A\nB");
    assert!(matches!(
        name("[65, 255, 66]"),
        Err(NvmlError::Utf8Error(_))
    ));
    let long = name(&format!("\"{}\"", "n".repeat(96)));
    assert!(matches!(long, Err(NvmlError::InsufficientSize(_))));
}

#[test]
fn names_without_an_end() {
    let bytes = format!("name = [{}]", ["78"; 300].join(","));
    let rig = Rig::new(&one("h200", &bytes));
    let mut name = [b'!'.cast_signed() as c_char; 40];
    // SAFETY: the device is one of this library's, and there is room for 32 bytes and more.
    let code = unsafe {
        let device = rig.gpu().handle();
        rig.nvml
            .lib()
            .nvmlDeviceGetName(device, name.as_mut_ptr(), 32)
    };
    assert_eq!(code, 0);
    assert!(name[..32].iter().all(|byte| *byte == 78));
    assert!(name[32..].iter().all(|byte| *byte == 33));
}

#[test]
fn callers_that_are_wrong_are_refused() {
    let rig = Rig::new(&one("h200", ""));
    let (lib, null) = (rig.nvml.lib(), std::ptr::null_mut());
    let mut number = 0;
    // SAFETY: the library looks at its arguments before it uses them.
    unsafe {
        let device = rig.gpu().handle();
        assert_eq!(lib.nvmlDeviceGetPowerUsage(device, null), 2);
        assert_eq!(lib.nvmlDeviceGetPowerUsage(null.cast(), &raw mut number), 2);
        assert_eq!(lib.nvmlDeviceGetPowerUsage(0x10 as _, &raw mut number), 2);
        assert_eq!(lib.nvmlDeviceGetTemperature(device, 9, &raw mut number), 2);
        assert_eq!(
            lib.nvmlDeviceGetFieldValues(device, 1, std::ptr::null_mut()),
            2
        );
        assert_eq!(lib.nvmlEventSetFree(0x10 as _), 2);
        assert_eq!(lib.nvmlGpmSampleFree(0x10 as _), 2);
    }
}
