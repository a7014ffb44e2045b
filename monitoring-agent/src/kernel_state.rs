//! What the kernel says of our own programs and maps, from `/proc/self/fdinfo`.

use std::{
    fs::File,
    io::Read as _,
    os::fd::{AsFd, AsRawFd as _},
};

use aya::maps::MapData;

use crate::{
    loader::Loaded,
    per_cpu::PerCpuElements,
    source::{MapState, ProgramState},
};

/// Programs of a family, and how often the kernel refused to run one because it was running
/// already on that CPU: events nobody counted.
pub fn programs(loaded: &Loaded) -> (Vec<ProgramState>, u64) {
    programs_but(loaded, &[])
}

/// The same, without what the kernel refused programs that others make good for.
pub fn programs_but(loaded: &Loaded, made_good: &[&str]) -> (Vec<ProgramState>, u64) {
    let mut recursions = 0;
    let states = loaded.programs.iter().map(|(name, attached)| {
        let program = loaded.ebpf.program(name);
        let info = program
            .and_then(|program| program.fd().ok())
            .map_or_else(String::new, |fd| fdinfo(fd.as_fd()));
        if !made_good.contains(name) {
            recursions += value(&info, "recursion_misses").unwrap_or(0);
        }
        state(name, attached.is_ok(), &info)
    });
    (states.collect(), recursions)
}

/// A program that is attached by itself, by its descriptor.
pub fn program(name: &str, fd: impl AsFd) -> ProgramState {
    state(name, true, &fdinfo(fd.as_fd()))
}

fn state(name: &str, attached: bool, info: &str) -> ProgramState {
    ProgramState {
        name: name.to_owned(),
        attached,
        runs: value(info, "run_cnt").unwrap_or(0),
        run_ns: value(info, "run_time_ns").unwrap_or(0),
    }
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

/// A family's loss counters, by the names that the family gives their slots.
#[derive(Debug)]
pub struct Losses {
    map: MapData,
    reasons: &'static [&'static str],
    reader: PerCpuElements<u64>,
}

impl Losses {
    /// The counters of a loaded family.
    pub fn new(loaded: &mut Loaded, reasons: &'static [&'static str]) -> anyhow::Result<Self> {
        Ok(Self {
            map: loaded.take_map("LOST")?,
            reasons,
            reader: PerCpuElements::new()?,
        })
    }

    /// The current totals.
    pub fn read(&mut self) -> anyhow::Result<Vec<(&'static str, u64)>> {
        let mut sum = |slot| anyhow::Ok(self.reader.read(&self.map, slot)?.iter().sum());
        let slots = (0..).zip(self.reasons);
        slots
            .map(|(slot, reason)| Ok((*reason, sum(slot)?)))
            .collect()
    }
}

/// Most bytes of an fdinfo file that are looked at; programs' are about 300 long.
const FDINFO_BYTES: usize = 1024;

fn fdinfo(fd: impl AsFd) -> String {
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let mut text = [0; FDINFO_BYTES];
    // Without it the numbers are absent; the programs count all the same. One read is enough for
    // a file of procfs that fits.
    let read = File::open(path).and_then(|mut file| file.read(&mut text));
    String::from_utf8_lossy(&text[..read.unwrap_or(0)]).into_owned()
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
