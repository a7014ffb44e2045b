//! Reasons for clocks lower than asked for: which hold now, and for how long they have held.
//!
//! Knows nothing of the clocks themselves.

use nvml_wrapper::{
    bitmasks::device::ThrottleReasons as Bit, enum_wrappers::device::PerformancePolicy as Policy,
};

use super::{
    super::{ThrottleReason, plausible},
    Reader,
    fields::{self, Field, Values},
};
use Source::{Call, Field as Counter};

/// A reason, its bit among those that hold now, and where its time comes from.
struct Reason {
    name: &'static str,
    bit: Option<Bit>,
    times: &'static [Source],
}

/// Where a time can be had, in nanoseconds.
enum Source {
    Field(&'static Field),
    Call(&'static str, Policy),
}

/// The first source that a device has is the one: the others count the same.
const REASONS: [Reason; 12] = [
    Reason {
        name: "sw_power_cap",
        bit: Some(Bit::SW_POWER_CAP),
        times: &[
            Counter(&fields::THROTTLED_POWER),
            Call("nvmlDeviceGetViolationStatus(POWER)", Policy::Power),
        ],
    },
    Reason {
        name: "hw_slowdown",
        bit: Some(Bit::HW_SLOWDOWN),
        times: &[],
    },
    Reason {
        name: "sw_thermal_slowdown",
        bit: Some(Bit::SW_THERMAL_SLOWDOWN),
        times: &[
            Counter(&fields::THROTTLED_SW_THERMAL),
            Counter(&fields::THROTTLED_THERMAL),
            Call("nvmlDeviceGetViolationStatus(THERMAL)", Policy::Thermal),
        ],
    },
    Reason {
        name: "hw_thermal_slowdown",
        bit: Some(Bit::HW_THERMAL_SLOWDOWN),
        times: &[Counter(&fields::THROTTLED_HW_THERMAL)],
    },
    Reason {
        name: "hw_power_brake_slowdown",
        bit: Some(Bit::HW_POWER_BRAKE_SLOWDOWN),
        times: &[Counter(&fields::THROTTLED_POWER_BRAKE)],
    },
    Reason {
        name: "sync_boost",
        bit: Some(Bit::SYNC_BOOST),
        times: &[
            Counter(&fields::THROTTLED_SYNC_BOOST),
            Call(
                "nvmlDeviceGetViolationStatus(SYNC_BOOST)",
                Policy::SyncBoost,
            ),
        ],
    },
    Reason {
        name: "applications_clocks_setting",
        bit: Some(Bit::APPLICATIONS_CLOCKS_SETTING),
        times: &[],
    },
    Reason {
        name: "gpu_idle",
        bit: Some(Bit::GPU_IDLE),
        times: &[],
    },
    Reason {
        name: "display_clock_setting",
        bit: Some(Bit::DISPLAY_CLOCK_SETTING),
        times: &[],
    },
    Reason {
        name: "board_limit",
        bit: None,
        times: &[
            Counter(&fields::THROTTLED_BOARD_LIMIT),
            Call(
                "nvmlDeviceGetViolationStatus(BOARD_LIMIT)",
                Policy::BoardLimit,
            ),
        ],
    },
    Reason {
        name: "low_utilization",
        bit: None,
        times: &[
            Counter(&fields::THROTTLED_LOW_UTILIZATION),
            Call(
                "nvmlDeviceGetViolationStatus(LOW_UTILIZATION)",
                Policy::LowUtilization,
            ),
        ],
    },
    Reason {
        name: "reliability",
        bit: None,
        times: &[
            Counter(&fields::THROTTLED_RELIABILITY),
            Call(
                "nvmlDeviceGetViolationStatus(RELIABILITY)",
                Policy::Reliability,
            ),
        ],
    },
];

/// The reasons that the device can tell of, as bits.
pub(super) fn read_supported(reader: &mut Reader<'_>) -> Option<u64> {
    let supported = reader.get(
        "nvmlDeviceGetSupportedClocksThrottleReasons",
        |_, device| device.supported_throttle_reasons(),
    );
    supported.map(|reasons| reasons.bits())
}

pub(super) fn read(
    reader: &mut Reader<'_>,
    supported: Option<u64>,
    fields: &Values,
) -> Vec<ThrottleReason> {
    let now = reader.get("nvmlDeviceGetCurrentClocksThrottleReasons", |_, device| {
        device.current_throttle_reasons()
    });
    let mut reasons = Vec::with_capacity(REASONS.len());
    for Reason { name, bit, times } in &REASONS {
        let told = bit.filter(|bit| supported.is_none_or(|all| all & bit.bits() != 0));
        let active = told.zip(now).map(|(bit, now)| now.contains(bit));
        let source = times.iter().find(|source| source.is_supported(reader));
        let seconds = source.and_then(|source| source.read(reader, fields));
        if active.is_some() || seconds.is_some() {
            reasons.push(ThrottleReason {
                reason: name,
                active,
                seconds,
            });
        }
    }
    reasons
}

impl Source {
    fn is_supported(&self, reader: &Reader<'_>) -> bool {
        match self {
            Counter(field) => !field.is_unsupported(reader),
            Call(call, _) => !reader.is_unsupported(call),
        }
    }

    fn read(&self, reader: &mut Reader<'_>, fields: &Values) -> Option<f64> {
        let nanoseconds = match self {
            Counter(field) => fields.count(field)?,
            Call(call, policy) => {
                let time = reader.get(call, |_, device| device.violation_status(*policy))?;
                plausible::count_u64(time.violation_time)?
            }
        };
        Some(nanoseconds as f64 / 1e9)
    }
}
