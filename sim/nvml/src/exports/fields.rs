//! Values by number: many in one call, each with a result and a type of its own.

use std::ffi::c_int;

use nvml_wrapper_sys::bindings::{nvmlFieldValue_t, nvmlValue_t};

use super::nvlink;
use crate::{
    abi::{Answer, Code, Out, SUCCESS},
    clock,
    unit::Unit,
    values::Value,
};

/// From this driver on, some fields have other numbers.
const RENUMBERED_SINCE: (u32, u32) = (580, 82);

/// The scope that means all links.
const ALL_LINKS: u32 = u32::MAX;

/// NVML's numbers of the types of values.
const DOUBLE: u32 = 0;
const UNSIGNED_INT: u32 = 1;
const UNSIGNED_LONG_LONG: u32 = 3;

device_calls! {
    fn nvmlDeviceGetFieldValues(count: c_int, values: Out<nvmlFieldValue_t>) |unit| {
        values.check()?;
        let count = usize::try_from(count).ok().filter(|count| *count > 0);
        for index in 0..count.ok_or(Code::INVALID_ARGUMENT)? {
            let place = values.nth(index);
            let mut field = place.get()?;
            answer(unit, &mut field);
            place.put(field)?;
        }
        Ok(())
    }
}

fn answer(unit: &Unit, field: &mut nvmlFieldValue_t) {
    field.timestamp = i64::try_from(clock::wall_us()).unwrap_or(i64::MAX);
    field.latencyUsec = 1;
    match read(unit, field.fieldId, field.scopeId) {
        Ok((valueType, value)) => {
            field.nvmlReturn = SUCCESS;
            field.valueType = valueType;
            field.value = value;
        }
        Err(code) => field.nvmlReturn = code.0,
    }
}

/// Fields 7 to 28.
const ECC: [&str; 22] = [
    "ecc_corrected_volatile_l1_cache",
    "ecc_uncorrected_volatile_l1_cache",
    "ecc_corrected_volatile_l2_cache",
    "ecc_uncorrected_volatile_l2_cache",
    "ecc_corrected_volatile_device_memory",
    "ecc_uncorrected_volatile_device_memory",
    "ecc_corrected_volatile_register_file",
    "ecc_uncorrected_volatile_register_file",
    "ecc_corrected_volatile_texture_memory",
    "ecc_uncorrected_volatile_texture_memory",
    "ecc_uncorrected_volatile_cbu",
    "ecc_corrected_aggregate_l1_cache",
    "ecc_uncorrected_aggregate_l1_cache",
    "ecc_corrected_aggregate_l2_cache",
    "ecc_uncorrected_aggregate_l2_cache",
    "ecc_corrected_aggregate_device_memory",
    "ecc_uncorrected_aggregate_device_memory",
    "ecc_corrected_aggregate_register_file",
    "ecc_uncorrected_aggregate_register_file",
    "ecc_corrected_aggregate_texture_memory",
    "ecc_uncorrected_aggregate_texture_memory",
    "ecc_uncorrected_aggregate_cbu",
];

/// What a field is.
enum Field {
    /// A value of the device, of 32 bits.
    Short(&'static str),
    /// A value of the device, of 64 bits.
    Long(&'static str),
    /// How many there are of something that the script may have a list of.
    Count(&'static str),
    /// What is summed for the device, and divided among its links.
    Traffic(&'static str),
    /// What is counted for each link, all together.
    Links(&'static str),
    /// What is counted for one link.
    Link(&'static str, u32),
    /// What is counted for each link; the scope says for which.
    Scoped(&'static str),
}

fn read(unit: &Unit, id: u32, scope: u32) -> Answer<(u32, nvmlValue_t)> {
    let field = find(canonical(unit, id)).ok_or(Code::NOT_SUPPORTED)?;
    let long = |value: u64| (UNSIGNED_LONG_LONG, nvmlValue_t { ullVal: value });
    Ok(match field {
        Field::Short(key) | Field::Long(key) if let Value::Float(number) = unit.value(key)? => {
            (DOUBLE, nvmlValue_t { dVal: *number })
        }
        Field::Short(key) => (
            UNSIGNED_INT,
            nvmlValue_t {
                uiVal: unit.number(key)?.u32(),
            },
        ),
        Field::Count(key) if let Value::List(list) = unit.value(key)? => long(list.len() as u64),
        Field::Long(key) | Field::Count(key) => long(unit.number(key)?.u64()),
        Field::Traffic(key) if scope == ALL_LINKS => long(nvlink::total(unit, key)?),
        Field::Traffic(key) => long(nvlink::share(unit, key, scope)?),
        Field::Links(key) => long(nvlink::sum(unit, key)?),
        Field::Link(key, link) => long(nvlink::of_link(unit, key, link)?),
        Field::Scoped(key) if scope == ALL_LINKS => long(nvlink::sum(unit, key)?),
        Field::Scoped(key) => long(nvlink::of_link(unit, key, scope)?),
    })
}

/// The number that a field had before the renumbering.
fn canonical(unit: &Unit, id: u32) -> u32 {
    if !is_renumbered(&unit.script.driver_version) {
        return id;
    }
    match id {
        251..=268 => id + 5,
        269..=273 => id - 18,
        other => other,
    }
}

fn is_renumbered(driver_version: &Value) -> bool {
    let Value::Text(text) = driver_version else {
        return false;
    };
    let text = String::from_utf8_lossy(text);
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    (part(), part()) >= RENUMBERED_SINCE
}

/// Fields by the numbers that drivers before 580.82 have for them.
fn find(id: u32) -> Option<Field> {
    Some(match id {
        1 => Field::Short("ecc_mode"),
        2 => Field::Short("ecc_mode_pending"),
        3 => Field::Long("ecc_corrected_volatile"),
        4 => Field::Long("ecc_uncorrected_volatile"),
        5 => Field::Long("ecc_corrected_aggregate"),
        6 => Field::Long("ecc_uncorrected_aggregate"),
        7..=28 => Field::Long(ECC[id as usize - 7]),
        29 => Field::Count("retired_pages_single_bit"),
        30 => Field::Count("retired_pages_double_bit"),
        31 => Field::Long("retired_pages_pending"),
        32..=37 | 39..=44 | 46..=51 | 53..=58 | 96..=119 => link_error(id),
        38 => Field::Links("nvlink_crc_flit_errors"),
        45 => Field::Links("nvlink_crc_data_errors"),
        52 => Field::Links("nvlink_replay_errors"),
        59 => Field::Links("nvlink_recovery_errors"),
        74 => Field::Long("throttled_power_ns"),
        75 => Field::Long("throttled_thermal_ns"),
        76 => Field::Long("throttled_sync_boost_ns"),
        77 => Field::Long("throttled_board_limit_ns"),
        78 => Field::Long("throttled_low_utilization_ns"),
        79 => Field::Long("throttled_reliability_ns"),
        80 => Field::Long("throttled_app_clocks_ns"),
        81 => Field::Long("throttled_base_clocks_ns"),
        82 => Field::Short("memory_temperature"),
        83 => Field::Long("energy_mj"),
        90 => Field::Short("nvlink_speed_mbps"),
        91 => Field::Short("nvlink_links"),
        94 => Field::Long("pcie_replays"),
        138 | 140 => Field::Traffic("nvlink_tx_kib"),
        139 | 141 => Field::Traffic("nvlink_rx_kib"),
        142 => Field::Short("remapped_rows_correctable"),
        143 => Field::Short("remapped_rows_uncorrectable"),
        144 => Field::Short("remapped_rows_pending"),
        145 => Field::Short("remapped_rows_failure"),
        161 => Field::Scoped("nvlink_replay_errors"),
        162 => Field::Scoped("nvlink_recovery_errors"),
        163 => Field::Scoped("nvlink_crc_flit_errors"),
        164 => Field::Scoped("nvlink_speed_mbps"),
        165 => Field::Scoped("nvlink_active"),
        166 => Field::Scoped("nvlink_version"),
        185 | 186 => Field::Short("power_usage_mw"),
        187 => Field::Short("power_min_limit_mw"),
        188 => Field::Short("power_max_limit_mw"),
        189 => Field::Short("power_default_limit_mw"),
        190 => Field::Short("enforced_power_limit_mw"),
        192 => Field::Short("power_limit_mw"),
        197 => Field::Long("pcie_tx_bytes"),
        198 => Field::Long("pcie_rx_bytes"),
        251 => Field::Long("throttled_sw_thermal_ns"),
        252 => Field::Long("throttled_hw_thermal_ns"),
        253 => Field::Long("throttled_hw_power_brake_ns"),
        _ => return None,
    })
}

/// An error of one link: four blocks of six numbers each for the first six, and again for the
/// next six.
fn link_error(id: u32) -> Field {
    let keys = [
        "nvlink_crc_flit_errors",
        "nvlink_crc_data_errors",
        "nvlink_replay_errors",
        "nvlink_recovery_errors",
    ];
    // Behind each of the first blocks stands a number for the sum.
    let (block, link) = match id {
        ..96 => ((id - 32) / 7, (id - 32) % 7),
        _ => ((id - 96) / 6, 6 + (id - 96) % 6),
    };
    Field::Link(keys[block as usize], link)
}
