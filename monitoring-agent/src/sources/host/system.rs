//! What is one number or name for the whole system: load, open files, the kernel's name.

use std::ffi::{CStr, c_char};

use anyhow::Context as _;
use prometheus::proto::MetricFamily;

use super::files::Files;
use crate::families::Family;

/// The family, its help; in the order of /proc/loadavg.
const LOADS: [(&str, &str); 3] = [
    (
        "node_load1",
        "Runnable and uninterruptible tasks, averaged over a minute.",
    ),
    (
        "node_load5",
        "Runnable and uninterruptible tasks, averaged over 5 minutes.",
    ),
    (
        "node_load15",
        "Runnable and uninterruptible tasks, averaged over 15 minutes.",
    ),
];

pub(super) fn load(files: &mut Files, out: &mut Vec<MetricFamily>) -> anyhow::Result<()> {
    let text = files.proc_text("loadavg")?;
    let loads = parse_load(&text).with_context(|| format!("loadavg: {text:?}"))?;
    for ((name, help), load) in LOADS.into_iter().zip(loads) {
        out.push(Family::gauge(name, help).with(&[], load).build());
    }
    Ok(())
}

fn parse_load(text: &str) -> Option<[f64; 3]> {
    let mut fields = text.split_ascii_whitespace();
    let mut next = || {
        fields
            .next()?
            .parse()
            .ok()
            .filter(|load: &f64| load.is_finite())
    };
    Some([next()?, next()?, next()?])
}

pub(super) fn filefd(files: &mut Files, out: &mut Vec<MetricFamily>) -> anyhow::Result<()> {
    let text = files.proc_text("sys/fs/file-nr")?;
    let (allocated, maximum) = parse_filefd(&text).with_context(|| format!("file-nr: {text:?}"))?;
    let help = "Open files of the whole system.";
    out.push(
        Family::gauge("node_filefd_allocated", help)
            .with(&[], allocated as f64)
            .build(),
    );
    let help = "Files that the whole system may have open.";
    out.push(
        Family::gauge("node_filefd_maximum", help)
            .with(&[], maximum as f64)
            .build(),
    );
    Ok(())
}

/// Allocated, unused (always 0 since 2.6), maximum.
fn parse_filefd(text: &str) -> Option<(u64, u64)> {
    let mut fields = text.split_ascii_whitespace();
    Some((fields.next()?.parse().ok()?, fields.nth(1)?.parse().ok()?))
}

/// Asked at each collection: the host name may change, and the call costs less than a microsecond.
pub(super) fn uname(out: &mut Vec<MetricFamily>) -> anyhow::Result<()> {
    // SAFETY: utsname is an aggregate of character arrays, for which zeros are a valid value.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a utsname of our own, which the call fills.
    let status = unsafe { libc::uname(&raw mut name) };
    if status != 0 {
        return Err(std::io::Error::last_os_error()).context("uname");
    }
    let labels = [
        ("sysname", text(&name.sysname)),
        ("release", text(&name.release)),
        ("version", text(&name.version)),
        ("machine", text(&name.machine)),
        ("nodename", text(&name.nodename)),
        ("domainname", text(&name.domainname)),
    ];
    let labels = labels
        .each_ref()
        .map(|(label, value)| (*label, value.as_str()));
    let help = "The kernel, as it names itself. Always 1.";
    out.push(
        Family::gauge("node_uname_info", help)
            .with(&labels, 1.0)
            .build(),
    );
    Ok(())
}

fn text(field: &[c_char]) -> String {
    let bytes: Vec<u8> = field.iter().map(|byte| byte.to_ne_bytes()[0]).collect();
    CStr::from_bytes_until_nul(&bytes)
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn loads() {
        let check = |text, want| assert_eq!(parse_load(text), want, "{text:?}");
        check("0.07 1.25 16.00 2/345 6789\n", Some([0.07, 1.25, 16.0]));
        check("0.07 1.25 16.00", Some([0.07, 1.25, 16.0]));
        check("0.07 1.25", None);
        check("0.07 1.25 x", None);
        check("nan 1.25 3.0", None);
        check("", None);
    }

    #[test]
    fn filefds() {
        let check = |text, want| assert_eq!(parse_filefd(text), want, "{text:?}");
        check("528\t0\t2466170\n", Some((528, 2_466_170)));
        check(
            "528\t0\t9223372036854775807\n",
            Some((528, 9_223_372_036_854_775_807)),
        );
        check("528\t0\n", None);
        check("x\t0\t1\n", None);
        check("", None);
    }

    #[test]
    fn names() {
        let check = |bytes: &[u8], want| {
            let field: Vec<_> = bytes
                .iter()
                .map(|byte| c_char::from_ne_bytes([*byte]))
                .collect();
            assert_eq!(text(&field), want);
        };
        check(b"Linux\0rest", "Linux");
        check(b"(none)\0", "(none)");
        check(b"a\xffb\0", "a\u{fffd}b");
        check(b"\0", "");
        check(b"unended", "");
    }

    proptest! {
        #[test]
        fn never_panics(text in "([0-9.]* ?)*|.*") {
            let _ = (parse_load(&text), parse_filefd(&text));
        }
    }
}
