//! Profiles: functions of known shares and known stacks, and every sample accounted for.

mod cpu;
mod hotplug;
mod memory;
mod offcpu;
mod program;
mod recorder;
mod windows;
mod worker;
