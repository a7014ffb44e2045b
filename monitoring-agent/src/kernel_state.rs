//! What the kernel says of our own programs and maps, from `/proc/self/fdinfo`.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd as _},
};

use aya::{Ebpf, maps::PerCpuArray};

use crate::{
    loader::Loaded,
    source::{MapState, ProgramState},
};

/// Programs of a family, and how often the kernel refused to run one because it was running
/// already on that CPU: events nobody counted.
pub fn programs(loaded: &Loaded) -> (Vec<ProgramState>, u64) {
    let mut recursions = 0;
    let states = loaded.programs.iter().map(|(name, attached)| {
        let program = loaded.ebpf.program(name);
        let info = program
            .and_then(|program| program.fd().ok())
            .map_or_else(String::new, |fd| fdinfo(fd.as_fd()));
        recursions += value(&info, "recursion_misses").unwrap_or(0);
        ProgramState {
            name: (*name).to_owned(),
            attached: attached.is_ok(),
            runs: value(&info, "run_cnt").unwrap_or(0),
            run_ns: value(&info, "run_time_ns").unwrap_or(0),
        }
    });
    (states.collect(), recursions)
}

/// A map's state; `entries` as counted by the caller.
pub fn map(name: &str, fd: impl AsFd, entries: Option<u64>) -> MapState {
    let bytes = value(&fdinfo(fd.as_fd()), "memlock").unwrap_or(0);
    MapState {
        name: name.to_owned(),
        entries,
        bytes,
    }
}

/// A family's loss counters, summed over CPUs, by the names that the family gives its slots.
pub fn lost(ebpf: &Ebpf, reasons: &[&'static str]) -> anyhow::Result<Vec<(&'static str, u64)>> {
    let Some(map) = ebpf.map("LOST") else {
        return Ok(Vec::new());
    };
    let counters: PerCpuArray<_, u64> = PerCpuArray::try_from(map)?;
    let sum = |slot| anyhow::Ok(counters.get(&slot, 0)?.iter().sum::<u64>());
    (0..)
        .zip(reasons)
        .map(|(slot, reason)| Ok((*reason, sum(slot)?)))
        .collect()
}

fn fdinfo(fd: impl AsFd) -> String {
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    // Without it the numbers are absent; the programs count all the same.
    fs::read_to_string(path).unwrap_or_default()
}

fn value(fdinfo: &str, key: &str) -> Option<u64> {
    let mut lines = fdinfo.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| *name == key)?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn fdinfo_of_a_program() {
        let info = "pos:\t0\nflags:\t02000002\nprog_type:\t17\nmemlock:\t4096\n\
                    prog_id:\t12\nrun_time_ns:\t250\nrun_cnt:\t3\nrecursion_misses:\t1\n";
        assert_eq!(value(info, "memlock"), Some(4096));
        assert_eq!(value(info, "run_cnt"), Some(3));
        assert_eq!(value(info, "recursion_misses"), Some(1));
        assert_eq!(value(info, "misses"), None);
        assert_eq!(value("", "memlock"), None);
        assert_eq!(value("memlock: many\n", "memlock"), None);
    }
}
