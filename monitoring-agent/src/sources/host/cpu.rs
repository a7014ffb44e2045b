//! CPU time and boot time, from /proc/stat. Knows no other file.

use std::collections::BTreeMap;

use anyhow::Context as _;
use prometheus::proto::MetricFamily;

use super::files::Files;
use crate::families::Family;

/// The columns of a CPU's line that are exported. `guest` and `guest_nice`, which follow, are
/// contained in `user` and `nice`.
const MODES: [&str; 8] = [
    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
];
const IDLE: usize = 3;

/// A CPU whose idle time falls by so much was unplugged and came back, and counts from the start.
/// Smaller steps back come from the kernel's estimate of idle and I/O wait time, and are not
/// passed on: a counter that falls reads as a restart.
const RESTART_SECONDS: u64 = 3;

type Ticks = [u64; MODES.len()];

/// The CPUs' times so far.
#[derive(Debug)]
pub(super) struct Cpu {
    ticks_per_second: u64,
    /// By CPU number; only of those that are online.
    totals: BTreeMap<u32, Ticks>,
}

impl Cpu {
    pub(super) fn new(ticks_per_second: u64) -> Self {
        Self {
            ticks_per_second,
            totals: BTreeMap::new(),
        }
    }

    pub(super) fn collect(
        &mut self,
        files: &mut Files,
        out: &mut Vec<MetricFamily>,
    ) -> anyhow::Result<()> {
        let text = files.proc_text("stat")?;
        let (stat, result) = parse(&text);
        self.advance(stat.cpus);

        let mut seconds = Family::counter(
            "node_cpu_seconds_total",
            "Time each CPU spent in each mode.",
        );
        let ticks_per_second = self.ticks_per_second as f64;
        for (number, ticks) in &self.totals {
            let cpu = number.to_string();
            for (mode, ticks) in MODES.into_iter().zip(ticks) {
                seconds.push(
                    &[("cpu", &cpu), ("mode", mode)],
                    *ticks as f64 / ticks_per_second,
                );
            }
        }
        out.push(seconds.build());
        if let Some(boot_time) = stat.boot_time {
            let help = "When the node was started, in seconds since 1970.";
            let family = Family::gauge("node_boot_time_seconds", help).with(&[], boot_time as f64);
            out.push(family.build());
        }
        result
    }

    /// Replaces the totals by what is read now, without letting any of them fall.
    fn advance(&mut self, mut now: BTreeMap<u32, Ticks>) {
        let restart = RESTART_SECONDS * self.ticks_per_second;
        for (number, ticks) in &mut now {
            let Some(before) = self.totals.get(number) else {
                continue;
            };
            if before[IDLE].saturating_sub(ticks[IDLE]) >= restart {
                continue;
            }
            for (tick, before) in ticks.iter_mut().zip(before) {
                *tick = (*tick).max(*before);
            }
        }
        self.totals = now;
    }
}

#[derive(Debug, Default, PartialEq)]
struct Stat {
    cpus: BTreeMap<u32, Ticks>,
    boot_time: Option<u64>,
}

/// What can be read, and the first thing that cannot.
fn parse(text: &str) -> (Stat, anyhow::Result<()>) {
    let (mut stat, mut result) = (Stat::default(), Ok(()));
    for line in text.split('\n') {
        if let Some(seconds) = line.strip_prefix("btime ") {
            match seconds.trim().parse() {
                Ok(seconds) => stat.boot_time = Some(seconds),
                Err(_) => result = result.and(Err(anyhow::anyhow!("stat: {line:?}"))),
            }
        } else if line.starts_with("cpu") && !line.starts_with("cpu ") {
            match parse_cpu(line) {
                Some((number, ticks)) => drop(stat.cpus.insert(number, ticks)),
                None => result = result.and(Err(anyhow::anyhow!("stat: {line:?}"))),
            }
        }
    }
    if stat.cpus.is_empty() {
        result = result.and(Err(anyhow::anyhow!("stat: no CPU")));
    }
    let result = result.and(stat.boot_time.context("stat: no boot time").map(drop));
    (stat, result)
}

fn parse_cpu(line: &str) -> Option<(u32, Ticks)> {
    let mut fields = line.strip_prefix("cpu")?.split_ascii_whitespace();
    let number = fields.next()?.parse().ok()?;
    let mut ticks = Ticks::default();
    for tick in &mut ticks {
        *tick = fields.next()?.parse().ok()?;
    }
    Some((number, ticks))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOOT: &str = "\nbtime 7";

    fn check(text: &str, want: &[(u32, Ticks)], whole: bool) {
        let (stat, result) = parse(text);
        assert_eq!(stat.cpus.into_iter().collect::<Vec<_>>(), want, "{text:?}");
        assert_eq!(result.is_ok(), whole, "{text:?}: {result:?}");
    }

    #[test]
    fn lines() {
        let ticks = [1, 2, 3, 4, 5, 6, 7, 8];
        let check_booted =
            |text: &str, want: &[(u32, Ticks)], whole| check(&format!("{text}{BOOT}"), want, whole);
        check_booted(
            "cpu 9 9 9 9 9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 9 10",
            &[(0, ticks)],
            true,
        );
        // CPU 1 is offline: the numbers are the kernel's, not the lines'.
        check_booted(
            "cpu0 1 2 3 4 5 6 7 8\ncpu2 1 2 3 4 5 6 7 8",
            &[(0, ticks), (2, ticks)],
            true,
        );
        check_booted(
            "intr 5 0 0\ncpu0 1 2 3 4 5 6 7 8\nctxt 1",
            &[(0, ticks)],
            true,
        );
        check_booted("cpu0 1 2 3 4 5 6 7 8\ncpu1 1 2 3", &[(0, ticks)], false);
        check_booted(
            "cpu0 1 2 3 4 5 6 7 x\ncpu1 1 2 3 4 5 6 7 8",
            &[(1, ticks)],
            false,
        );
        check_booted("cpu0 1 2 3 4 5 6 7 -8", &[], false);
        check_booted("cpu99999999999 1 2 3 4 5 6 7 8", &[], false);
        check_booted("cpux 1 2 3 4 5 6 7 8", &[], false);
        check_booted("cpu0 99999999999999999999 2 3 4 5 6 7 8", &[], false);
        check("", &[], false);
        check("cpu0 1 2 3 4 5 6 7 8", &[(0, ticks)], false);
        check("cpu0 1 2 3 4 5 6 7 8\nbtime x", &[(0, ticks)], false);
    }

    #[test]
    fn totals_do_not_fall() {
        let mut cpu = Cpu::new(100);
        let mut check = |now: Ticks, want: Ticks| {
            cpu.advance(BTreeMap::from([(0, now)]));
            assert_eq!(cpu.totals[&0], want);
        };
        check([10, 0, 0, 1000, 50, 0, 0, 0], [10, 0, 0, 1000, 50, 0, 0, 0]);
        check([11, 0, 0, 999, 49, 0, 0, 0], [11, 0, 0, 1000, 50, 0, 0, 0]);
        check([11, 0, 0, 1001, 51, 0, 0, 0], [11, 0, 0, 1001, 51, 0, 0, 0]);
        // Just short of a restart, and one.
        check([1, 0, 0, 702, 1, 0, 0, 0], [11, 0, 0, 1001, 51, 0, 0, 0]);
        check([1, 0, 0, 701, 1, 0, 0, 0], [1, 0, 0, 701, 1, 0, 0, 0]);
    }

    #[test]
    fn an_offline_cpu_is_forgotten() {
        let mut cpu = Cpu::new(100);
        cpu.advance(BTreeMap::from([(0, [5; 8]), (1, [5; 8])]));
        cpu.advance(BTreeMap::from([(0, [6; 8])]));
        assert_eq!(cpu.totals, BTreeMap::from([(0, [6; 8])]));
    }

    proptest! {
        #[test]
        fn never_panics(text in "((cpu|cpu1|btime|intr)?[ 0-9a-z\n]{0,20})*|.*") {
            let _ = parse(&text);
        }

        #[test]
        fn reads_what_the_kernel_writes(cpus: BTreeMap<u32, Ticks>, boot_time: u64) {
            prop_assume!(!cpus.is_empty());
            let mut text = "cpu  1 2 3 4 5 6 7 8 9 10\n".to_owned();
            for (number, ticks) in &cpus {
                let ticks = ticks.map(|tick| tick.to_string()).join(" ");
                text.extend(["cpu", &number.to_string(), " ", &ticks, " 0 0\n"]);
            }
            text.extend(["intr 1 2 3\nbtime ", &boot_time.to_string(), "\nprocesses 3\n"]);
            let (stat, result) = parse(&text);
            prop_assert!(result.is_ok());
            prop_assert_eq!(stat, Stat { cpus, boot_time: Some(boot_time) });
        }
    }
}
