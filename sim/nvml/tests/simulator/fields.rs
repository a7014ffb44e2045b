//! Values by number, with the numbers of older and newer drivers.

use nvml_wrapper::{
    enums::device::SampleValue, error::NvmlError, structs::device::FieldId,
    sys_exports::field_id::*,
};
use nvml_wrapper_sys::bindings;

use crate::{Rig, one};

fn field(rig: &Rig, id: u32) -> Result<SampleValue, NvmlError> {
    let mut fields = rig.gpu().field_values_for(&[FieldId(id)]).unwrap();
    fields.remove(0).unwrap().value
}

#[track_caller]
fn check(rig: &Rig, id: u32, want: u64) {
    let value = match field(rig, id) {
        Ok(SampleValue::U32(value)) => value.into(),
        Ok(SampleValue::U64(value)) => value,
        other => panic!("field {id}: {other:?}"),
    };
    assert_eq!(value, want, "field {id}");
}

const VALUES: &str = "
memory_temperature = 51
energy_mj = 18446744073
remapped_rows_uncorrectable = 4
pcie_tx_bytes = 7000000000
nvlink_tx_kib = 1805
nvlink_crc_data_errors = { start = 2, per_second = 0 }
throttled_power_ns = 74
throttled_sw_thermal_ns = 251
throttled_hw_thermal_ns = 252
throttled_hw_power_brake_ns = 253
";

#[test]
fn fields_are_of_their_types() {
    let rig = Rig::new(&one("h200", VALUES));
    assert!(matches!(field(&rig, 82), Ok(SampleValue::U32(51))));
    check(&rig, NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, 18_446_744_073);
    check(&rig, NVML_FI_DEV_REMAPPED_UNC, 4);
    check(&rig, NVML_FI_DEV_PCIE_COUNT_TX_BYTES, 7_000_000_000);
    // Two errors of each of 18 links.
    check(&rig, NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL, 36);
    check(&rig, NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_L7, 2);
    assert!(matches!(field(&rig, 4000), Err(NvmlError::NotSupported)));
}

#[test]
fn fields_a_model_lacks_are_not_supported_each_by_itself() {
    let rig = Rig::new(&one("v100", ""));
    let ids = [82, 142, 83].map(FieldId);
    let fields = rig.gpu().field_values_for(&ids).unwrap();
    let supported = fields.into_iter().map(|field| field.unwrap().value.is_ok());
    assert_eq!(supported.collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn newer_drivers_have_other_numbers() {
    for version in ["570.124.06", "580.65.06", "580.82.07", "590.1"] {
        let script = format!("driver_version = \"{version}\"\n{}", one("h200", VALUES));
        // The wrapper translates the numbers for the newer drivers, so each comes out as itself.
        for id in [74, 251, 252, 253] {
            check(&Rig::new(&script), id, id.into());
        }
    }
}

#[test]
fn traffic_is_told_for_all_links_and_for_each() {
    let rig = Rig::new(&one("h200", VALUES));
    let scoped = |scope: u32| {
        // SAFETY: a structure of numbers and a union of numbers.
        let mut value: bindings::nvmlFieldValue_t = unsafe { std::mem::zeroed() };
        (value.fieldId, value.scopeId) = (NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, scope);
        // SAFETY: the device is one of this library's, and there is room for one value.
        let code = unsafe {
            let device = rig.gpu().handle();
            rig.nvml
                .lib()
                .nvmlDeviceGetFieldValues(device, 1, &raw mut value)
        };
        assert_eq!((code, value.nvmlReturn, value.valueType), (0, 0, 3));
        // SAFETY: its type says so.
        unsafe { value.value.ullVal }
    };
    assert_eq!(scoped(u32::MAX), 1805);
    assert_eq!((0..18).map(scoped).sum::<u64>(), 1805);
    assert_eq!((scoped(0), scoped(17)), (101, 100));
}

#[test]
fn errors_of_each_memory_have_fields() {
    let rig = Rig::new(&one(
        "v100",
        "ecc_corrected_volatile_l1_cache = 7\necc_uncorrected_volatile_cbu = 17\n\
         ecc_corrected_aggregate_device_memory = 22\necc_uncorrected_aggregate_cbu = 28\n\
         retired_pages_single_bit = 5\nretired_pages_double_bit = [0x1000, 0x2000]",
    ));
    check(&rig, NVML_FI_DEV_RETIRED_SBE, 5);
    check(&rig, NVML_FI_DEV_RETIRED_DBE, 2);
    for id in [
        NVML_FI_DEV_ECC_SBE_VOL_L1,
        NVML_FI_DEV_ECC_DBE_VOL_CBU,
        NVML_FI_DEV_ECC_SBE_AGG_DEV,
        NVML_FI_DEV_ECC_DBE_AGG_CBU,
    ] {
        check(&rig, id, id.into());
    }
}
