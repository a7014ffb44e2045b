//! What cannot be had on every machine, and why: queries that ask for it may be without data. One that
//! has data all the same fails the test, so that nothing stays in this list.

use std::{fs, path::Path};

/// A metric, or a part of a query; why there is no data of it; and whether that is so here.
type Absent = (&'static str, &'static str, fn() -> bool);

pub(super) const ABSENT: [Absent; 4] = [
    (
        "monitoring_agent_series_limited_total",
        "no metric has more series than its limit, and without such a one there is none to tell of",
        || true,
    ),
    (
        "node_pressure_",
        "the kernel keeps no account of pressure",
        || !Path::new("/proc/pressure").exists(),
    ),
    (
        "node_network_speed_bytes",
        "no interface tells its speed",
        || !interfaces_have("speed"),
    ),
    (
        "node_disk_",
        "there is no disk, only what stands in for one",
        || {
            let disks = fs::read_to_string("/proc/diskstats").unwrap();
            let real = |line: &str| !["loop", "ram", "fd"].iter().any(|kind| line.contains(kind));
            !disks.lines().any(real)
        },
    ),
];

/// Whether some network interface has a number of this name above 0.
fn interfaces_have(name: &str) -> bool {
    let interfaces = fs::read_dir("/sys/class/net").unwrap();
    interfaces.into_iter().any(|interface| {
        let text = fs::read_to_string(interface.unwrap().path().join(name));
        text.is_ok_and(|text| text.trim().parse::<i64>().is_ok_and(|number| number > 0))
    })
}
