//! `cargo xtask test`: every check, then every test, here and on other kernels. A part that fails
//! does not keep the next from running; the last line counts the tests of all parts.

mod again;
mod guest;
mod image;
mod modules;
mod report;
mod suites;

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::{
    api,
    command::{command, read, run},
    compiler, setup, tidy, toolchain,
};
use guest::Guest;
use report::Report;

/// The release series of Debian's kernels that the kernel suite also runs on, beside the kernel of
/// this machine: the oldest that is supported, and the long-term one in between.
const OTHER_KERNELS: [&str; 2] = ["6.1", "6.12"];

/// What NVIDIA's driver makes when it is loaded.
const DRIVER: &str = "/dev/nvidiactl";

/// Bytes that all builds, images and guests together take in a fresh copy of the repository, with
/// something to spare.
const ROOM: u64 = 8 << 30;

/// All checks, all tests, all kernels.
pub(crate) fn everything(root: &Path) -> Report {
    let mut report = Report::default();
    report.check("room on the disk", || expect_room(root));
    report.check("setup", || setup::everything(root));
    report.check("format", || {
        run(&mut command(root, "cargo", &["fmt", "--all", "--check"]))
    });
    report.check("clippy", || {
        // With all features: what only some machines can run is compiled on all.
        let arguments = [
            "clippy",
            "--all-targets",
            "--all-features",
            "--keep-going",
            "--",
        ];
        run(command(root, "cargo", &arguments).args(compiler::lint_level(root)?))
    });
    report.check("clippy of the kernel programs", || {
        clippy_of_kernel_programs(root)
    });
    report.check("tidy", || tidy::check(root));
    match api::can_be_told(root) {
        Ok(false) => report.skip("public interface", "this compiler is not Rust 1.95"),
        _ => report.check("public interface", || api::check(root)),
    }
    here(root, &[], &mut report);
    if Path::new(DRIVER).exists() {
        report.tests("GPU suite", || suites::gpu(root));
    } else {
        report.skip("GPU suite", "there is no NVIDIA GPU with its driver");
    }
    elsewhere(root, &[], &mut report);
    report
}

/// Only the tests whose name contains one of these words, on this machine's kernel.
pub(crate) fn matching(root: &Path, filter: &[String]) -> Report {
    let mut report = Report::default();
    report.check("setup", || toolchain::ensure(root));
    here(root, filter, &mut report);
    expect_matches(filter, &mut report);
    report
}

/// Only the kernel suite on the other kernels.
pub(crate) fn other_kernels(root: &Path, filter: &[String]) -> Report {
    let mut report = Report::default();
    report.check("setup", || setup::everything(root));
    elsewhere(root, filter, &mut report);
    expect_matches(filter, &mut report);
    report
}

/// A full disk shows in many ways, most of them far from what it is.
fn expect_room(root: &Path) -> Result<()> {
    if root.join("target/guest").exists() {
        // Everything was built before, and is only replaced.
        return Ok(());
    }
    let free = read(&mut command(
        root,
        "df",
        &["--output=avail", "--block-size=1", "."],
    ))?;
    let free = free.lines().last().unwrap_or_default().trim();
    let free: u64 = free.parse().with_context(|| format!("df said {free:?}"))?;
    if free < ROOM {
        bail!(
            "{} MiB are free here, and the tests take up to {} MiB: make room first",
            free >> 20,
            ROOM >> 20
        );
    }
    Ok(())
}

/// A misspelt word must not look like success.
fn expect_matches(filter: &[String], report: &mut Report) {
    if !filter.is_empty() && report.is_empty() {
        report.check("filter", || {
            bail!("no test's name contains {}", filter.join(" or "))
        });
    }
}

fn here(root: &Path, filter: &[String], report: &mut Report) {
    report.tests("tests", || suites::ordinary(root, filter));
    report.tests("documentation tests", || {
        suites::documentation(root, filter)
    });
    report.tests("kernel suite", || suites::kernel(root, filter));
}

fn elsewhere(root: &Path, filter: &[String], report: &mut Report) {
    if !cfg!(target_arch = "x86_64") {
        report.skip(
            "kernel suite on other kernels",
            "their images are for x86-64 only",
        );
        return;
    }
    for series in OTHER_KERNELS {
        report.tests(&format!("kernel suite on {series}"), || {
            let image = image::of_series(root, series)
                .with_context(|| format!("a kernel of the series {series}"))?;
            let run = |filter: &[String]| {
                let guest = Guest::build(root, filter).context("the guest's files")?;
                guest.boot(&image)
            };
            let again = |failures: &[String]| run(&suites::exactly(failures));
            let outcome = again::with_second_try(|| run(filter), again)?;
            if filter.is_empty() && outcome.problem.is_none() && outcome.totals.passed == 0 {
                bail!("the kernel suite ran no test");
            }
            Ok(outcome)
        });
    }
}

/// Clippy has no `core` for the BPF target, so the kernel programs are looked at as if they were
/// for this machine. The two crates that use unstable features are named to the stable compiler.
fn clippy_of_kernel_programs(root: &Path) -> Result<()> {
    let arguments = [
        "clippy",
        "--package",
        "monitoring-ebpf",
        "--lib",
        "--bins",
        "--keep-going",
    ];
    let mut clippy = command(root, "cargo", &arguments);
    clippy.env("RUSTC_BOOTSTRAP", "aya_ebpf,aya_log_ebpf,monitoring_ebpf");
    // Programs without the standard library cannot unwind.
    clippy.env("CARGO_PROFILE_DEV_PANIC", "abort");
    // The variables above would have everything else rebuilt, were the folder the usual one.
    clippy.args(["--target-dir", "target/kernel-programs", "--"]);
    run(clippy.args(compiler::lint_level(root)?))
}

#[cfg(test)]
mod tests {
    use std::process::ExitCode;

    use super::*;

    #[test]
    fn words_that_match_nothing_are_a_failure() {
        let check = |filter: &[&str], want: ExitCode| {
            let filter: Vec<String> = filter.iter().copied().map(str::to_owned).collect();
            let mut report = Report::default();
            report.check("setup", || Ok(()));
            expect_matches(&filter, &mut report);
            assert_eq!(report.finish(), want, "{filter:?}");
        };
        check(&[], ExitCode::SUCCESS);
        check(&["misspelt"], ExitCode::FAILURE);
    }
}
