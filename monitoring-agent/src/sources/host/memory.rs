//! Memory and swap, from /proc/meminfo. Knows no other file.

use prometheus::proto::MetricFamily;

use super::files::Files;
use crate::families::Family;

/// The kernel's field, the family, its help.
const FIELDS: [(&str, &str, &str); 7] = [
    (
        "MemTotal",
        "node_memory_total_bytes",
        "Memory that the kernel manages.",
    ),
    (
        "MemFree",
        "node_memory_free_bytes",
        "Memory that is used for nothing.",
    ),
    (
        AVAILABLE,
        "node_memory_available_bytes",
        "Memory that new work can get without swapping.",
    ),
    (
        "Buffers",
        "node_memory_buffers_bytes",
        "Cache of raw block devices.",
    ),
    (
        "Cached",
        "node_memory_cached_bytes",
        "Cache of files, shared memory included.",
    ),
    ("SwapTotal", "node_memory_swap_total_bytes", "Swap space."),
    (
        "SwapFree",
        "node_memory_swap_free_bytes",
        "Swap space that is not used.",
    ),
];

/// The one field that a kernel may lack (before 3.14).
const AVAILABLE: &str = "MemAvailable";

type Bytes = [Option<u64>; FIELDS.len()];

pub(super) fn collect(files: &mut Files, out: &mut Vec<MetricFamily>) -> anyhow::Result<()> {
    let text = files.proc_text("meminfo")?;
    let (values, result) = parse(&text);
    for ((_, name, help), value) in FIELDS.into_iter().zip(values) {
        if let Some(value) = value {
            out.push(Family::gauge(name, help).with(&[], value as f64).build());
        }
    }
    result
}

/// What can be read, and the first thing that cannot.
fn parse(text: &str) -> (Bytes, anyhow::Result<()>) {
    let (mut values, mut result) = (Bytes::default(), Ok(()));
    for line in text.split('\n') {
        let Some((field, value)) = line.split_once(':') else {
            continue;
        };
        let Some(index) = FIELDS.iter().position(|(name, ..)| *name == field) else {
            continue;
        };
        match parse_bytes(value) {
            Some(bytes) => values[index] = Some(bytes),
            None => result = result.and(Err(anyhow::anyhow!("meminfo: {line:?}"))),
        }
        // The wanted fields are among the first sixteen of more than fifty.
        if values.iter().all(Option::is_some) {
            break;
        }
    }
    for ((field, ..), value) in FIELDS.into_iter().zip(values) {
        if value.is_none() && field != AVAILABLE {
            result = result.and(Err(anyhow::anyhow!("meminfo: no {field}")));
        }
    }
    (values, result)
}

fn parse_bytes(text: &str) -> Option<u64> {
    let kibibytes: u64 = text.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: &str = "MemTotal:       24684084 kB\nMemFree:        1 kB\nMemAvailable:   2 kB\n\
        Buffers:           3 kB\nCached:            4 kB\nSwapCached:            9 kB\n\
        SwapTotal:             5 kB\nSwapFree:              0 kB\nHugePages_Total:       7\n";

    #[test]
    fn fields() {
        let check = |text: &str, want: [i64; 7], whole: bool| {
            let (values, result) = parse(text);
            // -1 stands for "none".
            assert_eq!(
                values.map(|value| value.map_or(-1, u64::cast_signed)),
                want,
                "{text:?}"
            );
            assert_eq!(result.is_ok(), whole, "{text:?}: {result:?}");
        };
        let total = 25_276_502_016;
        let all = [total, 1024, 2048, 3072, 4096, 5120, 0];
        check(WHOLE, all, true);
        let old = WHOLE.replace("MemAvailable", "MemOther");
        check(&old, [total, 1024, -1, 3072, 4096, 5120, 0], true);
        check(&WHOLE[..58], [total, 1024, -1, -1, -1, -1, -1], false);
        let negative = WHOLE.replace(" 3 kB", " -3 kB");
        check(&negative, [total, 1024, 2048, -1, 4096, 5120, 0], false);
        let unit = WHOLE.replace(" 3 kB", " 3 MB");
        check(&unit, [total, 1024, 2048, -1, 4096, 5120, 0], false);
        check("", [-1; 7], false);
        check("MemTotal: \u{fffd} kB", [-1; 7], false);
    }

    proptest! {
        #[test]
        fn never_panics(text in "((MemTotal|Cached):[ 0-9]*( kB)?\n)*|.*") {
            let _ = parse(&text);
        }
    }
}
