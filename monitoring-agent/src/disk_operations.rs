//! The operations of requests: their numbers, which changed over time, in this kernel, and their
//! names in metrics. Knows neither devices nor counts.

use std::collections::BTreeMap;

use anyhow::Context as _;

use crate::{btf::BtfError, offsets::Offsets};

/// The kernel's type, by its name since 6.0 and before.
const TYPES: [&str; 2] = ["req_op", "req_opf"];

/// What every enumerator's name begins with.
const PREFIX: &str = "REQ_OP_";

/// Operations by the kernel's name without the prefix, and by ours. Commands that a program or a
/// driver makes up itself pass through the block layer without being understood.
const NAMES: [(&str, &str); 17] = [
    ("READ", "read"),
    ("WRITE", "write"),
    ("FLUSH", FLUSH),
    ("DISCARD", "discard"),
    ("SECURE_ERASE", "secure_erase"),
    ("WRITE_SAME", "write_same"),
    ("WRITE_ZEROES", "write_zeroes"),
    ("ZONE_APPEND", "zone_append"),
    ("ZONE_OPEN", "zone_open"),
    ("ZONE_CLOSE", "zone_close"),
    ("ZONE_FINISH", "zone_finish"),
    ("ZONE_RESET", "zone_reset"),
    ("ZONE_RESET_ALL", "zone_reset_all"),
    ("SCSI_IN", "driver"),
    ("SCSI_OUT", "driver"),
    ("DRV_IN", "driver"),
    ("DRV_OUT", "driver"),
];

const FLUSH: &str = "flush";

/// Operations that are younger than this version.
const UNKNOWN: &str = "unknown";

/// This kernel's operations.
#[derive(Clone)]
pub(crate) struct Operations(BTreeMap<u32, &'static str>);

impl Operations {
    /// Asks the kernel's type information. No operations if there is none.
    pub(crate) fn of_kernel(offsets: &mut Offsets) -> Result<Self, BtfError> {
        let mut numbers = BTreeMap::new();
        for (kernels, ours) in NAMES {
            for of in TYPES {
                let value = offsets.enum_value(of, &format!("{PREFIX}{kernels}"))?;
                if let Some(number) = value.and_then(|value| u32::try_from(value).ok()) {
                    numbers.insert(number, ours);
                }
            }
        }
        Ok(Self(numbers))
    }

    /// The operation's name in metrics. Several numbers may have one name.
    pub(crate) fn name(&self, number: u32) -> &'static str {
        self.0.get(&number).copied().unwrap_or(UNKNOWN)
    }

    /// The number of the operation that the kernel makes itself.
    pub(crate) fn flush(&self) -> Option<u32> {
        let mut numbers = self.0.iter();
        numbers
            .find(|(_, name)| **name == FLUSH)
            .map(|(number, _)| *number)
    }
}

/// The flags of a request that needs a flush before or after it.
pub(crate) fn flushing(offsets: &mut Offsets) -> anyhow::Result<u32> {
    let mut flags = 0;
    for name in ["__REQ_PREFLUSH", "__REQ_FUA"] {
        let bit = offsets.enum_value("req_flag_bits", name);
        let bit = bit.context("find the flags of requests in this kernel")?;
        let flag = bit.and_then(|bit| 1_u32.checked_shl(u32::try_from(bit).ok()?));
        flags |= flag.unwrap_or(0);
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernels_operations() {
        let operations = Operations::of_kernel(&mut Offsets::new()).unwrap();
        // These two have never changed.
        assert_eq!(operations.name(0), "read");
        assert_eq!(operations.name(1), "write");
        let flush = operations.flush().unwrap();
        assert_eq!(operations.name(flush), FLUSH);
        assert_eq!(operations.name(u32::MAX), UNKNOWN);
        let named = |name| {
            operations
                .0
                .values()
                .filter(|known| **known == name)
                .count()
        };
        assert_eq!(named("discard"), 1);
        assert!(named("driver") >= 2, "in and out");
        assert_eq!(flushing(&mut Offsets::new()).unwrap().count_ones(), 2);
    }
}
