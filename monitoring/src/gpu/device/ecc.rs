//! Errors of memory, and what was taken out of use because of them.
//!
//! Knows nothing of how much memory there is.

use nvml_wrapper::enum_wrappers::device::{
    EccCounter, MemoryError, MemoryLocation, RetirementCause,
};

use super::{
    super::{EccErrors, Named, plausible},
    Reader,
    fields::{self, Field, Values},
};

/// The counters of one kind and scope: what NVML calls the sum and each location's.
struct Counters {
    kind: &'static str,
    error: MemoryError,
    scope: &'static str,
    counter: EccCounter,
    total: &'static str,
    locations: [&'static str; LOCATIONS.len()],
}

const LOCATIONS: [(&str, MemoryLocation); 8] = [
    ("l1_cache", MemoryLocation::L1Cache),
    ("l2_cache", MemoryLocation::L2Cache),
    ("device_memory", MemoryLocation::Device),
    ("register_file", MemoryLocation::RegisterFile),
    ("texture_memory", MemoryLocation::Texture),
    ("shared_memory", MemoryLocation::Shared),
    ("cbu", MemoryLocation::Cbu),
    ("sram", MemoryLocation::SRAM),
];

macro_rules! counters {
    ($kind:literal $error:ident $nvml_kind:literal, $scope:literal $counter:ident $nvml_scope:literal) => {
        Counters {
            kind: $kind,
            error: MemoryError::$error,
            scope: $scope,
            counter: EccCounter::$counter,
            total: concat!("nvmlDeviceGetTotalEccErrors(", $nvml_kind, ", ", $nvml_scope, ")"),
            locations: counters!(@ $nvml_kind $nvml_scope:
                "L1_CACHE" "L2_CACHE" "DEVICE_MEMORY" "REGISTER_FILE" "TEXTURE_MEMORY"
                "TEXTURE_SHM" "CBU" "SRAM"),
        }
    };
    (@ $kind:literal $scope:literal: $($location:literal)*) => {
        counters!(@@ $kind $scope $($location)*)
    };
    (@@ $kind:literal $scope:literal $a:literal $b:literal $c:literal $d:literal $e:literal $f:literal $g:literal $h:literal) => {
        [
            counters!(# $kind $scope $a), counters!(# $kind $scope $b),
            counters!(# $kind $scope $c), counters!(# $kind $scope $d),
            counters!(# $kind $scope $e), counters!(# $kind $scope $f),
            counters!(# $kind $scope $g), counters!(# $kind $scope $h),
        ]
    };
    (# $kind:literal $scope:literal $location:literal) => {
        concat!("nvmlDeviceGetMemoryErrorCounter(", $kind, ", ", $scope, ", ", $location, ")")
    };
}

const COUNTERS: [Counters; 4] = [
    counters!("corrected" Corrected "CORRECTED", "volatile" Volatile "VOLATILE"),
    counters!("corrected" Corrected "CORRECTED", "aggregate" Aggregate "AGGREGATE"),
    counters!("uncorrected" Uncorrected "UNCORRECTED", "volatile" Volatile "VOLATILE"),
    counters!("uncorrected" Uncorrected "UNCORRECTED", "aggregate" Aggregate "AGGREGATE"),
];

pub(super) fn read_errors(reader: &mut Reader<'_>) -> Vec<EccErrors> {
    let mut errors = Vec::with_capacity(COUNTERS.len() * (1 + LOCATIONS.len()));
    for Counters {
        kind,
        error,
        scope,
        counter,
        total,
        locations,
    } in COUNTERS
    {
        let mut push = |location, count: Option<u64>| {
            let count = count.and_then(plausible::count_u64);
            errors.extend(count.map(|count| EccErrors {
                kind,
                scope,
                location,
                count,
            }));
        };
        let all = reader.get(total, |_, device| device.total_ecc_errors(error, counter));
        push("all", all);
        for (call, (name, location)) in locations.into_iter().zip(LOCATIONS) {
            let count = reader.get(call, |_, device| {
                device.memory_error_counter(error, counter, location)
            });
            push(name, count);
        }
    }
    errors
}

pub(super) fn remapped_rows(fields: &Values) -> Vec<Named<u64>> {
    let rows = [
        ("correctable", &fields::REMAPPED_CORRECTABLE),
        ("uncorrectable", &fields::REMAPPED_UNCORRECTABLE),
        ("pending", &fields::REMAPPED_PENDING),
        ("failure", &fields::REMAPPED_FAILURE),
    ];
    let named = |(name, field)| fields.count(field).map(|value| Named { name, value });
    rows.into_iter().filter_map(named).collect()
}

pub(super) fn read_retired_pages(reader: &mut Reader<'_>, fields: &Values) -> Vec<Named<u64>> {
    let causes = [
        (
            "single_bit",
            &fields::RETIRED_SINGLE_BIT,
            RetirementCause::MultipleSingleBitEccErrors,
            "nvmlDeviceGetRetiredPages_v2(MULTIPLE_SINGLE_BIT_ECC_ERRORS)",
        ),
        (
            "double_bit",
            &fields::RETIRED_DOUBLE_BIT,
            RetirementCause::DoubleBitEccError,
            "nvmlDeviceGetRetiredPages_v2(DOUBLE_BIT_ECC_ERROR)",
        ),
    ];
    let named = |(name, field, cause, call): (_, &Field, RetirementCause, _)| {
        let count = if field.is_unsupported(reader) {
            let pages = reader.get(call, |_, device| device.retired_pages(cause))?;
            Some(pages.len() as u64)
        } else {
            fields.count(field)
        };
        count.map(|value| Named { name, value })
    };
    causes.into_iter().filter_map(named).collect()
}
