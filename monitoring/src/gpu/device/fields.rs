//! Field values: many numbers by one call.
//!
//! By the bindings, because nvml-wrapper can give no scope with a field, and drops the type of
//! values by which one knows how wide a counter is. Knows nothing of what the values mean.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use nvml_wrapper::{FieldIdScheme, sys_exports::field_id as id};
use nvml_wrapper_sys::bindings::{
    NvmlLib, nvmlDevice_t, nvmlFieldValue_t, nvmlReturn_t, nvmlValue_t,
    nvmlValueType_enum_NVML_VALUE_TYPE_DOUBLE as DOUBLE,
    nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_INT as SIGNED_INT,
    nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_LONG_LONG as SIGNED_LONG_LONG,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT as UNSIGNED_INT,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG as UNSIGNED_LONG,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG as UNSIGNED_LONG_LONG,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_SHORT as UNSIGNED_SHORT,
};

use super::{super::plausible, Reader};

/// A number of a device.
#[derive(Debug)]
pub(super) struct Field {
    name: &'static str,
    id: u32,
    scope: u32,
}

/// Fields that have other numbers in newer drivers, by their older numbers.
const MOVED: RangeInclusive<u32> = 251..=255;

/// The scope of a counter for all links together.
const ALL_LINKS: u32 = u32::MAX;

macro_rules! fields {
    ($($field:ident = $name:ident, $scope:expr;)*) => {
        $(pub(super) const $field: Field =
            Field { name: stringify!($name), id: id::$name, scope: $scope };)*
        const FIELDS: &[Field] = &[$($field),*];
    };
}

fields! {
    MEMORY_TEMPERATURE = NVML_FI_DEV_MEMORY_TEMP, 0;
    PCIE_TRANSMITTED = NVML_FI_DEV_PCIE_COUNT_TX_BYTES, 0;
    PCIE_RECEIVED = NVML_FI_DEV_PCIE_COUNT_RX_BYTES, 0;
    REMAPPED_CORRECTABLE = NVML_FI_DEV_REMAPPED_COR, 0;
    REMAPPED_UNCORRECTABLE = NVML_FI_DEV_REMAPPED_UNC, 0;
    REMAPPED_PENDING = NVML_FI_DEV_REMAPPED_PENDING, 0;
    REMAPPED_FAILURE = NVML_FI_DEV_REMAPPED_FAILURE, 0;
    RETIRED_SINGLE_BIT = NVML_FI_DEV_RETIRED_SBE, 0;
    RETIRED_DOUBLE_BIT = NVML_FI_DEV_RETIRED_DBE, 0;
    NVLINK_TRANSMITTED = NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, ALL_LINKS;
    NVLINK_RECEIVED = NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX, ALL_LINKS;
    NVLINK_CRC_FLIT = NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL, 0;
    NVLINK_CRC_DATA = NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL, 0;
    NVLINK_REPLAY = NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL, 0;
    NVLINK_RECOVERY = NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL, 0;
    THROTTLED_POWER = NVML_FI_DEV_PERF_POLICY_POWER, 0;
    THROTTLED_THERMAL = NVML_FI_DEV_PERF_POLICY_THERMAL, 0;
    THROTTLED_SYNC_BOOST = NVML_FI_DEV_PERF_POLICY_SYNC_BOOST, 0;
    THROTTLED_BOARD_LIMIT = NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT, 0;
    THROTTLED_LOW_UTILIZATION = NVML_FI_DEV_PERF_POLICY_LOW_UTILIZATION, 0;
    THROTTLED_RELIABILITY = NVML_FI_DEV_PERF_POLICY_RELIABILITY, 0;
    THROTTLED_SW_THERMAL = NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN, 0;
    THROTTLED_HW_THERMAL = NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN, 0;
    THROTTLED_POWER_BRAKE = NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN, 0;
}

impl Field {
    /// Whether another source has to be asked. A field that fails once is no reason: another
    /// source may count differently.
    pub(super) fn is_unsupported(&self, reader: &Reader<'_>) -> bool {
        reader.is_unsupported(self.name)
    }
}

/// The values of one poll.
#[derive(Debug, Default)]
pub(super) struct Values(Vec<(&'static str, Value, Moment)>);

/// When a value was read: so long before or after that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moment {
    pub(super) at: Instant,
    pub(super) give_or_take: Duration,
}

/// A counter's value, and whether it has more than 32 bits to count in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) count: u64,
    pub(super) wide: bool,
}

impl Values {
    /// A counter, and when it was read.
    pub(super) fn counter(&self, field: &Field) -> Option<(Moment, Value)> {
        let mut values = self.0.iter();
        let found = values.find(|(name, ..)| *name == field.name);
        found.map(|(_, value, moment)| (*moment, *value))
    }

    pub(super) fn count(&self, field: &Field) -> Option<u64> {
        self.counter(field).map(|(_, value)| value.count)
    }

    /// Reads all fields that the device may support; if the driver's version is not known, without
    /// those whose numbers depend on it, because another field would be read in their place.
    pub(super) fn read(reader: &mut Reader<'_>, driver_version: &str) -> Self {
        let wanted = FIELDS
            .iter()
            .filter(|field| !reader.is_unsupported(field.name));
        let scheme = scheme(driver_version);
        let wanted = wanted.filter_map(|field| Some((field, empty(field, scheme)?)));
        let (wanted, mut raw): (Vec<_>, Vec<_>) = wanted.unzip();
        let mut values = Self(Vec::with_capacity(raw.len()));
        let begun = Instant::now();
        let together = read_together(reader, &mut raw);
        let all = Moment::since(begun);
        for (field, value) in wanted.into_iter().zip(&mut raw) {
            // A driver may refuse them together, and yet have each.
            let begun = Instant::now();
            let answered = together || reader.raw_with(field.name, value, call_one);
            if answered && reader.settle(field.name, value.nvmlReturn) {
                let moment = if together { all } else { Moment::since(begun) };
                let value = decode(value);
                values
                    .0
                    .extend(value.map(|value| (field.name, value, moment)));
            }
        }
        values
    }
}

impl Moment {
    /// Some time from then to now: a call may take any time, and read at any moment of it.
    fn since(begun: Instant) -> Self {
        let half = begun.elapsed() / 2;
        Self {
            at: begun + half,
            give_or_take: half,
        }
    }
}

fn read_together(reader: &mut Reader<'_>, raw: &mut Vec<nvmlFieldValue_t>) -> bool {
    if raw.is_empty() {
        return false;
    }
    let call = |lib: &NvmlLib, handle, values: &mut Vec<nvmlFieldValue_t>| {
        let call = lib.nvmlDeviceGetFieldValues.as_ref().ok()?;
        let count = i32::try_from(values.len()).expect("there are a few fields");
        // SAFETY: the handle is of this session, and there are as many values as is said.
        Some(unsafe { call(handle, count, values.as_mut_ptr()) })
    };
    reader.raw_with("nvmlDeviceGetFieldValues", raw, call)
}

fn call_one(
    lib: &NvmlLib,
    handle: nvmlDevice_t,
    value: &mut nvmlFieldValue_t,
) -> Option<nvmlReturn_t> {
    let call = lib.nvmlDeviceGetFieldValues.as_ref().ok()?;
    // SAFETY: the handle is of this session, and there is one value, as is said.
    Some(unsafe { call(handle, 1, value) })
}

/// Nothing if the field's number is not known.
fn empty(field: &Field, scheme: Option<FieldIdScheme>) -> Option<nvmlFieldValue_t> {
    Some(nvmlFieldValue_t {
        fieldId: in_scheme(field.id, scheme)?,
        scopeId: field.scope,
        timestamp: 0,
        latencyUsec: 0,
        valueType: UNSIGNED_LONG_LONG,
        nvmlReturn: 0,
        value: nvmlValue_t { ullVal: 0 },
    })
}

/// A field's number for this driver: with 580.82 those of the slowdowns have moved, and what they
/// were has got another meaning.
fn in_scheme(id: u32, scheme: Option<FieldIdScheme>) -> Option<u32> {
    match (id, scheme) {
        (id, Some(FieldIdScheme::V13Update1)) if MOVED.contains(&id) => Some(id + 18),
        (id, None) if MOVED.contains(&id) => None,
        (other, _) => Some(other),
    }
}

/// Found here, because nvml-wrapper takes a driver for an old one if it once does not tell its
/// version.
fn scheme(driver_version: &str) -> Option<FieldIdScheme> {
    let mut parts = driver_version.split('.').map(str::parse::<u32>);
    let version = (parts.next()?.ok()?, parts.next().and_then(Result::ok));
    Some(if version >= (580, Some(82)) {
        FieldIdScheme::V13Update1
    } else {
        FieldIdScheme::V12
    })
}

/// The number that there is, of whatever type.
#[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation)]
fn decode(value: &nvmlFieldValue_t) -> Option<Value> {
    let raw = value.value;
    // SAFETY: any bits are a value of each of the union's members, and it begins zeroed.
    let (count, wide) = unsafe {
        match value.valueType {
            UNSIGNED_INT => (plausible::count_u32(raw.uiVal)?.into(), false),
            UNSIGNED_SHORT => (raw.usVal.into(), false),
            SIGNED_INT => (u64::try_from(raw.siVal).ok()?, false),
            UNSIGNED_LONG | UNSIGNED_LONG_LONG => (plausible::count_u64(raw.ullVal)?, true),
            SIGNED_LONG_LONG => (u64::try_from(raw.sllVal).ok()?, true),
            DOUBLE => (plausible::measured(raw.dVal, 2_f64.powi(53))? as u64, true),
            _ => return None,
        }
    };
    Some(Value { count, wide })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slowdowns_have_moved() {
        let number = |field: &Field, driver| in_scheme(field.id, scheme(driver));
        for (driver, sw_thermal, power_brake) in [
            ("570.124.06", Some(251), Some(253)),
            ("580", Some(251), Some(253)),
            ("580.65.06", Some(251), Some(253)),
            ("580.82.07", Some(269), Some(271)),
            ("590.1", Some(269), Some(271)),
            ("", None, None),
            ("unknown", None, None),
        ] {
            assert_eq!(number(&THROTTLED_SW_THERMAL, driver), sw_thermal);
            assert_eq!(number(&THROTTLED_POWER_BRAKE, driver), power_brake);
            assert_eq!(number(&MEMORY_TEMPERATURE, driver), Some(82));
        }
    }

    #[test]
    fn values_of_all_types() {
        let check = |value_type, value, want: Option<(u64, bool)>| {
            let raw = nvmlFieldValue_t {
                valueType: value_type,
                value,
                ..empty(&NVLINK_REPLAY, None).unwrap()
            };
            let want = want.map(|(count, wide)| Value { count, wide });
            assert_eq!(decode(&raw), want, "type {value_type}");
        };
        check(UNSIGNED_INT, nvmlValue_t { uiVal: 7 }, Some((7, false)));
        check(UNSIGNED_INT, nvmlValue_t { uiVal: u32::MAX }, None);
        check(UNSIGNED_SHORT, nvmlValue_t { usVal: 8 }, Some((8, false)));
        check(SIGNED_INT, nvmlValue_t { siVal: -1 }, None);
        check(SIGNED_INT, nvmlValue_t { siVal: 9 }, Some((9, false)));
        check(
            UNSIGNED_LONG,
            nvmlValue_t { ullVal: 1 << 40 },
            Some((1 << 40, true)),
        );
        check(UNSIGNED_LONG_LONG, nvmlValue_t { ullVal: u64::MAX }, None);
        check(SIGNED_LONG_LONG, nvmlValue_t { sllVal: -5 }, None);
        check(DOUBLE, nvmlValue_t { dVal: f64::NAN }, None);
        check(DOUBLE, nvmlValue_t { dVal: 12.0 }, Some((12, true)));
        check(99, nvmlValue_t { ullVal: 1 }, None);
    }
}
