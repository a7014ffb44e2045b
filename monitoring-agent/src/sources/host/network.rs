//! Network devices' traffic, from /proc/net/dev, and link speed, from /sys/class/net.
//!
//! Knows no other file. All devices are exported, as by `node_exporter` 1.5's default.

use std::{
    collections::HashSet,
    fs,
    io::{self, ErrorKind},
};

use anyhow::Context as _;
use prometheus::proto::MetricFamily;

use super::files::Files;
use crate::families::Family;

/// Columns of /proc/net/dev, eight for each direction.
type Columns = [u64; 16];

/// The column, the family, its help.
const FAMILIES: [(usize, &str, &str); 8] = [
    (0, "node_network_receive_bytes_total", "Bytes received."),
    (1, "node_network_receive_packets_total", "Packets received."),
    (
        2,
        "node_network_receive_errs_total",
        "Packets received with an error.",
    ),
    (
        3,
        "node_network_receive_drop_total",
        "Packets received and not kept.",
    ),
    (8, "node_network_transmit_bytes_total", "Bytes sent."),
    (9, "node_network_transmit_packets_total", "Packets sent."),
    (
        10,
        "node_network_transmit_errs_total",
        "Packets that could not be sent.",
    ),
    (
        11,
        "node_network_transmit_drop_total",
        "Packets given up before they were sent.",
    ),
];

/// Speeds are read in Mbit/s.
const BYTES_PER_MEGABIT: f64 = 1_000_000.0 / 8.0;

pub(super) fn collect(files: &mut Files, out: &mut Vec<MetricFamily>) -> anyhow::Result<()> {
    traffic(files, out).and(speed(files, out))
}

fn traffic(files: &mut Files, out: &mut Vec<MetricFamily>) -> anyhow::Result<()> {
    let text = files.proc_text("net/dev")?;
    let (devices, result) = parse(&text);
    for (column, name, help) in FAMILIES {
        let mut family = Family::counter(name, help);
        for (device, columns) in &devices {
            family.push(&[("device", device)], columns[column] as f64);
        }
        out.push(family.build());
    }
    result
}

/// What can be read, and the first thing that cannot.
fn parse(text: &str) -> (Vec<(&str, Columns)>, anyhow::Result<()>) {
    let (mut devices, mut seen, mut result) = (Vec::new(), HashSet::new(), Ok(()));
    let mut lines = text.split('\n');
    // The headings are the only lines with a bar where there is no colon.
    if !lines.by_ref().take(2).all(|heading| heading.contains('|')) {
        return (devices, Err(anyhow::anyhow!("net/dev: no heading")));
    }
    for line in lines.filter(|line| !line.is_empty()) {
        match parse_device(line) {
            // A device that the kernel moved while it wrote the file, or one of two names that
            // differ in bytes that are not UTF-8: a series must not come twice.
            Some((name, _)) if !seen.insert(name) => {
                result = result.and(Err(anyhow::anyhow!("net/dev: {name:?} twice")));
            }
            Some(device) => devices.push(device),
            None => result = result.and(Err(anyhow::anyhow!("net/dev: {line:?}"))),
        }
    }
    (devices, result)
}

fn parse_device(line: &str) -> Option<(&str, Columns)> {
    // The kernel allows no colon and no space in a name.
    let (name, numbers) = line.split_once(':')?;
    let mut numbers = numbers.split_ascii_whitespace();
    let mut columns = Columns::default();
    for column in &mut columns {
        *column = numbers.next()?.parse().ok()?;
    }
    Some((name.trim_ascii_start(), columns))
}

/// `node_exporter` 1.5 exports a driver's -1 ("unknown") like any other number, and so do we.
fn speed(files: &mut Files, out: &mut Vec<MetricFamily>) -> anyhow::Result<()> {
    let class = files.sys_path("class/net");
    let entries = match fs::read_dir(&class) {
        Ok(entries) => entries,
        // A kernel without network, or a container without sysfs.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| class.display().to_string()),
    };
    let help = "Speed of the link in bytes per second; negative where the device does not know.";
    let mut family = Family::gauge("node_network_speed_bytes", help);
    let (mut seen, mut result) = (HashSet::new(), Ok(()));
    for entry in entries {
        let entry = entry.with_context(|| class.display().to_string())?;
        let device = entry.file_name().to_string_lossy().into_owned();
        match read_speed(files, &entry.path().join("speed")) {
            Ok(Some(speed)) if seen.insert(device.clone()) => {
                family.push(&[("device", &device)], speed as f64 * BYTES_PER_MEGABIT);
            }
            Ok(Some(_)) => {
                result = result.and(Err(anyhow::anyhow!("speed of {device:?} twice")));
            }
            Ok(None) => {}
            Err(error) => {
                result = result.and(Err(error).with_context(|| format!("speed of {device:?}")));
            }
        }
    }
    out.push(family.build());
    result
}

fn read_speed(files: &mut Files, path: &std::path::Path) -> anyhow::Result<Option<i64>> {
    let text = match files.read(path) {
        Ok(bytes) => String::from_utf8_lossy(bytes),
        Err(error) if has_no_speed(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let speed = text.trim().parse().with_context(|| format!("{text:?}"))?;
    Ok(Some(speed))
}

/// The kernel's answers for a device that is down or has no link (EINVAL, EOPNOTSUPP), one that is
/// just vanishing (ENOENT, ENODEV), a file that is no device (`bonding_masters`), and a confined
/// agent.
fn has_no_speed(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EINVAL
                | libc::EOPNOTSUPP
                | libc::ENOENT
                | libc::ENODEV
                | libc::ENOTDIR
                | libc::EACCES
                | libc::EPERM
        )
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADING: &str =
        "Inter-|   Receive                |  Transmit\n face |bytes    packets |bytes\n";

    fn check(text: &str, want: &[(&str, u64, u64)], whole: bool) {
        let (devices, result) = parse(text);
        let read: Vec<_> = devices
            .iter()
            .map(|(name, columns)| (*name, columns[0], columns[11]))
            .collect();
        assert_eq!(read, want, "{text:?}");
        assert_eq!(result.is_ok(), whole, "{text:?}: {result:?}");
    }

    #[test]
    fn lines() {
        let with_heading = |lines: &[&str]| HEADING.to_owned() + &lines.concat();
        let lo = "    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        let old = "eth0:18446744073709551615 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        check(
            &with_heading(&[lo, old]),
            &[("lo", 1, 12), ("eth0", u64::MAX, 12)],
            true,
        );
        check(&with_heading(&[lo, "eth0: 1 2 3"]), &[("lo", 1, 12)], false);
        check(
            &with_heading(&["eth0: x", "\n", lo]),
            &[("lo", 1, 12)],
            false,
        );
        check(&with_heading(&["eth0\n", lo]), &[("lo", 1, 12)], false);
        check(&with_heading(&[lo, lo]), &[("lo", 1, 12)], false);
        let quoted = lo.replace("lo", "\"\\\u{fffd}");
        check(&with_heading(&[&quoted]), &[("\"\\\u{fffd}", 1, 12)], true);
        check(&with_heading(&[]), &[], true);
        check(lo, &[], false);
        check("", &[], false);
    }

    #[test]
    fn devices_without_speed() {
        let check = |code, want| {
            assert_eq!(
                has_no_speed(&io::Error::from_raw_os_error(code)),
                want,
                "{code}"
            );
        };
        check(libc::EINVAL, true);
        check(libc::ENOTDIR, true);
        check(libc::EIO, false);
        assert!(!has_no_speed(&ErrorKind::InvalidData.into()));
    }

    proptest! {
        #[test]
        fn never_panics(lines in "([a-z:]{0,4}:( ?[0-9]{1,21}){0,17}\n|.*)*") {
            let text = HEADING.to_owned() + &lines;
            let (devices, _) = parse(&text);
            let names: HashSet<_> = devices.iter().map(|(name, _)| name).collect();
            prop_assert_eq!(names.len(), devices.len());
        }

        #[test]
        fn reads_what_the_kernel_writes(name in "[^:\\s\0]{1,15}", columns: Columns) {
            let numbers = columns.map(|column| format!("{column:>8}")).join(" ");
            let text = format!("{HEADING}{name:>6}: {numbers}\n");
            let (devices, result) = parse(&text);
            prop_assert!(result.is_ok());
            prop_assert_eq!(devices, vec![(name.as_str(), columns)]);
        }
    }
}
