//! Pressure stall information, from /proc/pressure. Knows no other file.
//!
//! Since v4.20, and only where the kernel has it switched on (`CONFIG_PSI`, `psi=1`).

use std::io;

use anyhow::Context as _;
use prometheus::proto::MetricFamily;

use super::files::Files;
use crate::families::Family;

/// The file, the family, its help.
const RESOURCES: [(&str, &str, &str); 3] = [
    (
        "pressure/cpu",
        "node_pressure_cpu_waiting_seconds_total",
        "Time in which at least one task waited for a CPU.",
    ),
    (
        "pressure/io",
        "node_pressure_io_waiting_seconds_total",
        "Time in which at least one task waited for input or output.",
    ),
    (
        "pressure/memory",
        "node_pressure_memory_waiting_seconds_total",
        "Time in which at least one task waited for memory.",
    ),
];

pub(super) fn collect(files: &mut Files, out: &mut Vec<MetricFamily>) -> anyhow::Result<()> {
    let mut result = Ok(());
    for (file, name, help) in RESOURCES {
        match read(files, file) {
            Ok(Some(seconds)) => out.push(Family::counter(name, help).with(&[], seconds).build()),
            Ok(None) => {}
            Err(error) => result = result.and(Err(error)),
        }
    }
    result
}

/// The seconds of waiting, or none where the kernel does not measure them.
fn read(files: &mut Files, file: &str) -> anyhow::Result<Option<f64>> {
    let path = files.proc_path(file);
    match files.read(&path) {
        Ok(bytes) => {
            let microseconds = parse(&String::from_utf8_lossy(bytes));
            let microseconds = microseconds.with_context(|| path.display().to_string())?;
            // Two divisions, for the same rounding as node_exporter's.
            Ok(Some(microseconds as f64 / 1000.0 / 1000.0))
        }
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Without `CONFIG_PSI` there is no file; with `psi=0` there is one that cannot be read.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::EOPNOTSUPP)
}

fn parse(text: &str) -> anyhow::Result<u64> {
    let some = text.split('\n').find_map(|line| line.strip_prefix("some "));
    let total = some
        .context("no line \"some\"")?
        .rsplit_once("total=")
        .context("no total")?
        .1;
    total.parse().with_context(|| format!("total {total:?}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines() {
        let check = |text: &str, want: Option<u64>| assert_eq!(parse(text).ok(), want, "{text:?}");
        let some = "some avg10=0.00 avg60=1.20 avg300=0.00 total=25520930\n";
        let full = "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        check(some, Some(25_520_930));
        check(&[some, full].concat(), Some(25_520_930));
        check(full, None);
        check("some", None);
        check("some avg10=0.00", None);
        check("some total=", None);
        check("some total=-1", None);
        check("some total=18446744073709551616", None);
        check("", None);
    }

    #[test]
    fn absence() {
        let check = |code, want| {
            assert_eq!(
                is_absent(&io::Error::from_raw_os_error(code)),
                want,
                "{code}"
            );
        };
        check(libc::ENOENT, true);
        check(libc::EOPNOTSUPP, true);
        check(libc::EIO, false);
        check(libc::EACCES, false);
    }

    proptest! {
        #[test]
        fn never_panics(text in "(some|full)?( [a-z0-9]*=[0-9.]*)*\n?|.*") {
            let _ = parse(&text);
        }
    }
}
