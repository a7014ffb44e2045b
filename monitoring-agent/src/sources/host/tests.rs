//! The whole source on files that the test writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use tempfile::TempDir;

use super::*;

/// A machine with one of everything.
const FILES: [(&str, &str); 15] = [
    (
        "proc/stat",
        "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 100 2 3 4 5 6 7 8 0 0\nbtime 1700000000\n",
    ),
    ("proc/loadavg", "0.07 1.25 16.00 2/345 6789\n"),
    (
        "proc/meminfo",
        "MemTotal: 8 kB\nMemFree: 1 kB\nMemAvailable: 2 kB\nBuffers: 3 kB\nCached: 4 kB\n\
         SwapTotal: 5 kB\nSwapFree: 6 kB\n",
    ),
    (
        "proc/diskstats",
        " 254 0 vda 1 2 3 4 5 6 7 8 9 10 11\n 254 1 vda1 1 2 3 4 5 6 7 8 9 10 11\n",
    ),
    (
        "proc/net/dev",
        "Inter-| Receive | Transmit\n face |bytes|bytes\n\
         lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
    ),
    ("proc/sys/fs/file-nr", "528\t0\t1000\n"),
    (
        "proc/pressure/cpu",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\n",
    ),
    (
        "proc/pressure/io",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\nfull total=0\n",
    ),
    (
        "proc/pressure/memory",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    ),
    (
        "proc/1/mounts",
        "/dev/vda / ext4 rw 0 0\nproc /proc proc rw 0 0\n/dev/vda / ext4 rw 0 0\n",
    ),
    ("sys/class/net/eth0/speed", "25000\n"),
    ("sys/class/net/eth1/speed", "-1\n"),
    ("sys/class/net/lo/flags", "0x9\n"),
    ("sys/class/net/bonding_masters", "\n"),
    ("proc/self/mounts", "/dev/vdb / xfs rw 0 0\n"),
];

fn machine() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in FILES {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root
}

fn host(root: &Path) -> Host {
    Host::with_roots(&root.join("proc"), &root.join("sys"), "gpu-01", "gpu")
}

/// Samples as `name{label="value"}`, and the reasons of loss that are not 0.
fn collect(host: &mut Host) -> (BTreeMap<String, f64>, BTreeMap<&'static str, u64>) {
    let batch = host.collect().unwrap();
    let mut samples = BTreeMap::new();
    for family in &batch.families {
        for metric in family.get_metric() {
            let labels: Vec<_> = metric
                .get_label()
                .iter()
                .map(|pair| format!("{}={:?}", pair.name(), pair.value()))
                .collect();
            let series = format!("{}{{{}}}", family.name(), labels.join(","));
            let value = metric.get_counter().get_value() + metric.get_gauge().get_value();
            assert!(
                samples.insert(series.clone(), value).is_none(),
                "{series} twice"
            );
        }
    }
    assert_eq!(batch.lost.len(), PARTS.len() + 1);
    (
        samples,
        batch
            .lost
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect(),
    )
}

#[test]
fn every_part_is_exported() {
    let root = machine();
    let (samples, lost) = collect(&mut host(root.path()));
    assert_eq!(lost, BTreeMap::new());
    let check = |series: &str, want: f64| {
        let value = samples.get(series);
        assert!(
            value.is_some_and(|value| (value - want).abs() < 1e-9),
            "{series}: {value:?}"
        );
    };
    check(
        "node_cpu_seconds_total{cpu=\"0\",mode=\"user\"}",
        100.0 / procfs::ticks_per_second() as f64,
    );
    check("node_boot_time_seconds{}", 1.7e9);
    check("node_load1{}", 0.07);
    check("node_load15{}", 16.0);
    check("node_memory_total_bytes{}", 8192.0);
    check("node_memory_swap_free_bytes{}", 6144.0);
    check("node_disk_read_bytes_total{device=\"vda\"}", 3.0 * 512.0);
    check("node_disk_written_bytes_total{device=\"vda\"}", 7.0 * 512.0);
    check("node_disk_reads_completed_total{device=\"vda\"}", 1.0);
    check("node_disk_writes_completed_total{device=\"vda\"}", 5.0);
    check("node_disk_io_time_seconds_total{device=\"vda\"}", 0.01);
    check("node_network_receive_drop_total{device=\"lo\"}", 4.0);
    check("node_network_transmit_bytes_total{device=\"lo\"}", 9.0);
    check("node_network_transmit_errs_total{device=\"lo\"}", 11.0);
    check("node_network_speed_bytes{device=\"eth0\"}", 3.125e9);
    check("node_network_speed_bytes{device=\"eth1\"}", -125_000.0);
    check("node_filefd_allocated{}", 528.0);
    check("node_filefd_maximum{}", 1000.0);
    check("node_pressure_cpu_waiting_seconds_total{}", 1.5);
    check("node_pressure_memory_waiting_seconds_total{}", 0.0);
    check("node_info{node=\"gpu-01\",type=\"gpu\"}", 1.0);
    let root = "node_filesystem_size_bytes{device=\"/dev/vda\",fstype=\"ext4\",mountpoint=\"/\"}";
    assert!(samples[root] > 0.0);
    assert!(
        samples
            .keys()
            .any(|series| series.starts_with("node_uname_info{"))
    );
    // CPU modes, what is checked or a neighbour of it; nothing else.
    assert_eq!(samples.len(), 8 + 1 + 3 + 7 + 5 + 8 + 2 + 2 + 3 + 2 + 2);
}

/// A file, what it holds instead, what then is missing, and what is counted as lost.
type Failure = (
    &'static str,
    Option<&'static [u8]>,
    &'static str,
    Option<&'static str>,
);

#[rustfmt::skip]
const FAILURES: [Failure; 13] = [
    ("proc/stat", None, "node_", Some("unreadable_cpu")),
    ("proc/stat", Some(b"cpu0 1 2\n"), "node_", Some("unreadable_cpu")),
    ("proc/loadavg", Some(b"\xff\n"), "node_load", Some("unreadable_load")),
    ("proc/loadavg", Some(b"0.07 1.25 16.00 2/345 67"), "node_load", Some("unreadable_load")),
    ("proc/meminfo", Some(b"MemTotal: 8 kB\nMemF\n"), "node_memory_", Some("unreadable_memory")),
    ("proc/diskstats", None, "node_disk_", Some("unreadable_disk")),
    ("proc/net/dev", None, "node_network_", Some("unreadable_network")),
    ("sys/class/net/eth0/speed", Some(b"fast\n"), "node_network_speed", Some("unreadable_network")),
    ("proc/sys/fs/file-nr", Some(b""), "node_filefd_", Some("unreadable_filefd")),
    ("proc/pressure/io", Some(b"some\n"), "node_pressure_io", Some("unreadable_pressure")),
    ("proc/1/mounts", Some(b"/dev\n"), "node_filesystem_", Some("unreadable_filesystem")),
    // What a machine does not have is no failure.
    ("proc/pressure/cpu", None, "node_pressure_cpu", None),
    ("sys/class/net/eth0/speed", None, "node_network_speed", None),
];

#[test]
fn a_part_that_fails_loses_itself_only() {
    let (whole, _) = collect(&mut host(machine().path()));
    for (file, content, prefix, reason) in FAILURES {
        let root = machine();
        match content {
            Some(content) => fs::write(root.path().join(file), content).unwrap(),
            None => fs::remove_file(root.path().join(file)).unwrap(),
        }
        let mut host = host(root.path());
        for collections in 1..3 {
            let (samples, lost) = collect(&mut host);
            let missing = whole.keys().filter(|series| !samples.contains_key(*series));
            let missing: BTreeSet<_> = missing.collect();
            assert!(!missing.is_empty(), "{file}");
            let of_part = missing.iter().all(|series| series.starts_with(prefix));
            assert!(of_part, "{file}: {missing:?}");
            let want = reason.map(|reason| (reason, collections));
            assert_eq!(lost.into_iter().next(), want, "{file}");
        }
    }
}

#[test]
fn hostile_names_come_through() {
    let root = machine();
    let write = |name: &str, content: &[u8]| fs::write(root.path().join(name), content).unwrap();
    write("proc/diskstats", b" 8 0 a\"\xff 1 2 3 4 5 6 7 8 9 10 11\n");
    write(
        "proc/net/dev",
        b"|\n|\n e\\\xff{: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
    );
    write(
        "proc/1/mounts",
        b"a\"\xff /\\012..\\040 tmpfs rw 0 0\nb\\040 / tmpfs rw 0 0\n",
    );
    let (samples, lost) = collect(&mut host(root.path()));
    assert_eq!(lost, BTreeMap::new());
    for series in [
        "node_disk_read_bytes_total{device=\"a\\\"\u{fffd}\"}",
        "node_network_receive_bytes_total{device=\"e\\\\\u{fffd}{\"}",
        "node_filesystem_size_bytes{device=\"b\\\\040\",fstype=\"tmpfs\",mountpoint=\"/\"}",
    ] {
        assert!(
            samples.contains_key(series),
            "{series} is not in {samples:#?}"
        );
    }
}

#[test]
fn the_agents_own_mount_table_serves_where_the_first_process_is_hidden() {
    let root = machine();
    fs::remove_file(root.path().join("proc/1/mounts")).unwrap();
    let (samples, lost) = collect(&mut host(root.path()));
    assert_eq!(lost, BTreeMap::new());
    let series = "node_filesystem_size_bytes{device=\"/dev/vdb\",fstype=\"xfs\",mountpoint=\"/\"}";
    assert!(samples.contains_key(series));
}

#[test]
fn mounts_are_looked_for_under_the_root_of_the_first_process() {
    let root = machine();
    let inner = root.path().join("proc/1/root");
    fs::create_dir_all(inner.join("only-there")).unwrap();
    fs::write(
        root.path().join("proc/1/mounts"),
        "x /only-there tmpfs rw 0 0\n",
    )
    .unwrap();
    let (samples, _) = collect(&mut host(root.path()));
    assert!(
        samples
            .keys()
            .any(|series| series.contains("mountpoint=\"/only-there\""))
    );
}

#[test]
fn a_machine_without_network_class_has_no_speeds() {
    let root = machine();
    fs::remove_dir_all(root.path().join("sys/class")).unwrap();
    let (samples, lost) = collect(&mut host(root.path()));
    assert_eq!(lost, BTreeMap::new());
    assert!(
        !samples
            .keys()
            .any(|series| series.starts_with("node_network_speed"))
    );
}

#[test]
fn nothing_at_all_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let error = host(root.path()).collect().unwrap_err();
    assert!(format!("{error:#}").contains("stat"), "{error:#}");
}
