//! All calls that the library exports, a file for each thing that they read.

mod clocks;
mod ecc;
mod events;
mod fields;
mod gpm;
mod identity;
mod memory;
mod mig;
mod nvlink;
mod pages;
mod pcie;
mod power;
mod processes;
mod samples;
mod system;
mod thermal;
mod throttle;
mod utilization;

/// The names of all exported calls.
pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    let files = [
        clocks::NAMES,
        ecc::NAMES,
        events::NAMES,
        events::DEVICE_NAMES,
        fields::NAMES,
        gpm::NAMES,
        gpm::DEVICE_NAMES,
        identity::NAMES,
        memory::NAMES,
        mig::NAMES,
        nvlink::NAMES,
        pages::NAMES,
        pcie::NAMES,
        power::NAMES,
        processes::NAMES,
        samples::NAMES,
        system::NAMES,
        thermal::NAMES,
        throttle::NAMES,
        utilization::NAMES,
    ];
    files.into_iter().flatten().copied()
}
