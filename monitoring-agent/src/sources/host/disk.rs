//! Block devices' traffic, from /proc/diskstats. Knows no other file.

use std::collections::HashSet;

use procfs::DiskStat;
use prometheus::proto::MetricFamily;

use super::files::Files;
use crate::families::Family;

/// The unit of the kernel's sector counts, whatever the device's own sectors are.
const SECTOR_BYTES: f64 = 512.0;

/// Multiplied by, not divided by its reciprocal, for the same rounding as `node_exporter`'s.
const SECONDS_PER_MILLISECOND: f64 = 0.001;

/// A family, its help, and its value.
type Column = (&'static str, &'static str, fn(&DiskStat) -> f64);

const COLUMNS: [Column; 5] = [
    ("node_disk_read_bytes_total", "Bytes read.", |disk| {
        disk.sectors_read as f64 * SECTOR_BYTES
    }),
    ("node_disk_written_bytes_total", "Bytes written.", |disk| {
        disk.sectors_written as f64 * SECTOR_BYTES
    }),
    (
        "node_disk_reads_completed_total",
        "Reads completed.",
        |disk| disk.reads as f64,
    ),
    (
        "node_disk_writes_completed_total",
        "Writes completed.",
        |disk| disk.writes as f64,
    ),
    (
        "node_disk_io_time_seconds_total",
        "Time in which the device had something to do.",
        |disk| disk.time_in_progress as f64 * SECONDS_PER_MILLISECOND,
    ),
];

pub(super) fn collect(files: &mut Files, out: &mut Vec<MetricFamily>) -> anyhow::Result<()> {
    let text = files.proc_text("diskstats")?;
    let (disks, result) = parse(&text);
    for (name, help, value) in COLUMNS {
        let mut family = Family::counter(name, help);
        for disk in &disks {
            family.push(&[("device", &disk.name)], value(disk));
        }
        out.push(family.build());
    }
    result
}

/// What can be read, and the first thing that cannot.
fn parse(text: &str) -> (Vec<DiskStat>, anyhow::Result<()>) {
    let (mut disks, mut seen, mut result) = (Vec::new(), HashSet::new(), Ok(()));
    for line in text.split('\n') {
        let Some(name) = line.split_ascii_whitespace().nth(2) else {
            if !line.is_empty() {
                result = result.and(Err(anyhow::anyhow!("diskstats: {line:?}")));
            }
            continue;
        };
        if is_excluded(name) {
            continue;
        }
        match DiskStat::from_line(line) {
            // A device that the kernel moved while it wrote the file, or one of two names that
            // differ in bytes that are not UTF-8: a series must not come twice.
            Ok(_) if !seen.insert(name) => {
                result = result.and(Err(anyhow::anyhow!("diskstats: {name:?} twice")));
            }
            Ok(disk) => disks.push(disk),
            Err(_) => result = result.and(Err(anyhow::anyhow!("diskstats: {line:?}"))),
        }
    }
    (disks, result)
}

/// Partitions and memory disks, as by `node_exporter` 1.5's default:
/// `^(ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$`.
fn is_excluded(name: &str) -> bool {
    let stem = name.trim_end_matches(|digit: char| digit.is_ascii_digit());
    if stem.len() == name.len() {
        return false;
    }
    if matches!(stem, "ram" | "loop" | "fd") {
        return true;
    }
    let letter = ["hd", "sd", "vd", "xvd"]
        .into_iter()
        .find_map(|kind| stem.strip_prefix(kind));
    if let Some([b'a'..=b'z']) = letter.map(str::as_bytes) {
        return true;
    }
    let controller = stem
        .strip_prefix("nvme")
        .and_then(|stem| stem.strip_suffix('p'));
    controller
        .and_then(|controller| controller.split_once('n'))
        .is_some_and(|(controller, namespace)| is_number(controller) && is_number(namespace))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exclusion() {
        let check = |name, want| assert_eq!(is_excluded(name), want, "{name}");
        for name in [
            "ram0",
            "loop12",
            "fd0",
            "sda1",
            "hdb2",
            "vdz10",
            "xvda1",
            "nvme0n1p1",
        ] {
            check(name, true);
        }
        for name in ["nvme10n2p13", "sdb01"] {
            check(name, true);
        }
        for name in [
            "sda", "sdaa", "sdaa1", "vda", "xvda", "sd1", "sdA1", "nvme0n1", "nvme0n1p",
        ] {
            check(name, false);
        }
        for name in [
            "nvmen1p1",
            "nvme0np1",
            "nvme0c0n1p1",
            "zram0",
            "dm-0",
            "md127",
            "sr0",
            "",
        ] {
            check(name, false);
        }
        for name in [
            "loop",
            "loopback1",
            "xloop1",
            "mmcblk0p1",
            "1",
            "sd\u{fffd}1",
            "cciss/c0d0",
        ] {
            check(name, false);
        }
    }

    #[test]
    fn lines() {
        let check = |text: &str, want: &[(&str, u64)], whole: bool| {
            let (disks, result) = parse(text);
            let read: Vec<_> = disks
                .iter()
                .map(|disk| (disk.name.as_str(), disk.sectors_read))
                .collect();
            assert_eq!(read, want, "{text:?}");
            assert_eq!(result.is_ok(), whole, "{text:?}: {result:?}");
        };
        let vda = " 254 0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n";
        let old = "   8 0 sda 1 2 30 4 5 6 7 8 9 10 11\n";
        let partition = "   8 1 sda1 1 2 3 4 5 6 7 8 9 10 11\n";
        check(vda, &[("vda", 3)], true);
        check(
            &[vda, old, partition].concat(),
            &[("vda", 3), ("sda", 30)],
            true,
        );
        check(&[vda, "8 0 sda 1 2"].concat(), &[("vda", 3)], false);
        check(
            &["8 0 sda 1 2 x 4 5 6 7 8 9 10 11\n", vda].concat(),
            &[("vda", 3)],
            false,
        );
        check(&[vda, vda].concat(), &[("vda", 3)], false);
        check(&["8 0\n", vda].concat(), &[("vda", 3)], false);
        check("7 0 loop0 torn", &[], true);
        check(
            "8 0 \"\u{fffd} 1 2 3 4 5 6 7 8 9 10 11",
            &[("\"\u{fffd}", 3)],
            true,
        );
        check("", &[], true);
    }

    proptest! {
        #[test]
        fn never_panics(text in "([0-9]{1,3} [0-9] [a-z]{1,4}[0-9]?( [0-9]{1,21}){0,20}\n)*|.*") {
            let (disks, _) = parse(&text);
            let names: HashSet<_> = disks.iter().map(|disk| &disk.name).collect();
            prop_assert_eq!(names.len(), disks.len());
        }
    }
}
