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

/// The counters of one kind and scope.
struct Counters {
    kind: &'static str,
    error: MemoryError,
    scope: &'static str,
    counter: EccCounter,
    total: &'static str,
    device_memory: Location,
    /// All memory on the chip.
    sram: Location,
    /// What that consists of, with what NVML has no location for.
    parts: [Location; 6],
}

/// Where errors are counted: our name, NVML's, and what NVML calls the counter.
type Location = (&'static str, MemoryLocation, &'static str);

macro_rules! counters {
    ($kind:literal $error:ident $nvml_kind:literal, $scope:literal $counter:ident $nvml_scope:literal) => {
        Counters {
            kind: $kind,
            error: MemoryError::$error,
            scope: $scope,
            counter: EccCounter::$counter,
            total: concat!(
                "nvmlDeviceGetTotalEccErrors(",
                $nvml_kind,
                ", ",
                $nvml_scope,
                ")"
            ),
            device_memory: (
                "device_memory",
                MemoryLocation::Device,
                concat!(
                    "nvmlDeviceGetMemoryErrorCounter(",
                    $nvml_kind,
                    ", ",
                    $nvml_scope,
                    ", DEVICE_MEMORY)"
                ),
            ),
            sram: (
                "sram",
                MemoryLocation::SRAM,
                concat!(
                    "nvmlDeviceGetMemoryErrorCounter(",
                    $nvml_kind,
                    ", ",
                    $nvml_scope,
                    ", SRAM)"
                ),
            ),
            parts: [
                (
                    "l1_cache",
                    MemoryLocation::L1Cache,
                    concat!(
                        "nvmlDeviceGetMemoryErrorCounter(",
                        $nvml_kind,
                        ", ",
                        $nvml_scope,
                        ", L1_CACHE)"
                    ),
                ),
                (
                    "l2_cache",
                    MemoryLocation::L2Cache,
                    concat!(
                        "nvmlDeviceGetMemoryErrorCounter(",
                        $nvml_kind,
                        ", ",
                        $nvml_scope,
                        ", L2_CACHE)"
                    ),
                ),
                (
                    "register_file",
                    MemoryLocation::RegisterFile,
                    concat!(
                        "nvmlDeviceGetMemoryErrorCounter(",
                        $nvml_kind,
                        ", ",
                        $nvml_scope,
                        ", REGISTER_FILE)"
                    ),
                ),
                (
                    "texture_memory",
                    MemoryLocation::Texture,
                    concat!(
                        "nvmlDeviceGetMemoryErrorCounter(",
                        $nvml_kind,
                        ", ",
                        $nvml_scope,
                        ", TEXTURE_MEMORY)"
                    ),
                ),
                (
                    "shared_memory",
                    MemoryLocation::Shared,
                    concat!(
                        "nvmlDeviceGetMemoryErrorCounter(",
                        $nvml_kind,
                        ", ",
                        $nvml_scope,
                        ", TEXTURE_SHM)"
                    ),
                ),
                (
                    "cbu",
                    MemoryLocation::Cbu,
                    concat!(
                        "nvmlDeviceGetMemoryErrorCounter(",
                        $nvml_kind,
                        ", ",
                        $nvml_scope,
                        ", CBU)"
                    ),
                ),
            ],
        }
    };
}

const COUNTERS: [Counters; 4] = [
    counters!("corrected" Corrected "CORRECTED", "volatile" Volatile "VOLATILE"),
    counters!("corrected" Corrected "CORRECTED", "aggregate" Aggregate "AGGREGATE"),
    counters!("uncorrected" Uncorrected "UNCORRECTED", "volatile" Volatile "VOLATILE"),
    counters!("uncorrected" Uncorrected "UNCORRECTED", "aggregate" Aggregate "AGGREGATE"),
];

pub(super) fn read_errors(reader: &mut Reader<'_>) -> Vec<EccErrors> {
    COUNTERS
        .iter()
        .flat_map(|counters| counters.read(reader))
        .collect()
}

impl Counters {
    /// What the device tells, each error once: a sum is asked for only where its parts are not
    /// supported, or parts where their sum is not. A call that fails once is no reason for that,
    /// because the errors would then change their location.
    fn read(&self, reader: &mut Reader<'_>) -> Vec<EccErrors> {
        let mut errors = Vec::new();
        self.read_one(reader, &self.device_memory, &mut errors);
        self.read_one(reader, &self.sram, &mut errors);
        // The sum has more than the parts, which leave out much of the chip.
        if reader.is_unsupported(self.sram.2) {
            for part in &self.parts {
                self.read_one(reader, part, &mut errors);
            }
        }
        let mut locations = [&self.device_memory, &self.sram]
            .into_iter()
            .chain(&self.parts);
        if locations.all(|(.., call)| reader.is_unsupported(call)) {
            let all = reader.get(self.total, |_, device| {
                device.total_ecc_errors(self.error, self.counter)
            });
            errors.extend(self.errors("all", all));
        }
        errors
    }

    fn read_one(
        &self,
        reader: &mut Reader<'_>,
        (name, location, call): &Location,
        errors: &mut Vec<EccErrors>,
    ) {
        let count = reader.get(call, |_, device| {
            device.memory_error_counter(self.error, self.counter, *location)
        });
        errors.extend(self.errors(name, count));
    }

    fn errors(&self, location: &'static str, count: Option<u64>) -> Option<EccErrors> {
        let count = count.and_then(plausible::count_u64)?;
        Some(EccErrors {
            kind: self.kind,
            scope: self.scope,
            location,
            count,
        })
    }
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
