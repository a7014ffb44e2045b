//! The tests on this machine's kernel, as root.
//!
//! The kernel suite runs one test at a time, because its tests load programs into, and count the
//! events of, one and the same kernel.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    again::with_second_try,
    report::{Outcome, Totals},
};
use crate::{
    bounded::tee,
    command::{command, read},
    rights,
};

/// The test target that needs a kernel of its own.
pub(super) const KERNEL: &str = "kernel";

/// Longest time for one of the suites below, with its build; they take a few minutes.
const LIMIT: Duration = Duration::from_mins(15);

/// The same for the ordinary tests, which take twenty.
const ORDINARY_LIMIT: Duration = Duration::from_mins(35);

/// Has libtest run the tests of these names, and no others.
const EXACT: &str = "--exact";

/// Unit tests, and integration tests other than the kernel suite.
pub(super) fn ordinary(root: &Path, filter: &[String]) -> Result<Outcome> {
    with_second_try(
        || all_ordinary(root, filter),
        |failures| all_ordinary(root, &exactly(failures)),
    )
}

fn all_ordinary(root: &Path, filter: &[String]) -> Result<Outcome> {
    let mut test = cargo_test(root, &["--lib", "--bins"])?;
    for name in integration_tests(root)? {
        if name != KERNEL {
            test.args(["--test", &name]);
        }
    }
    results(ORDINARY_LIMIT, test.arg("--").args(filter))
}

/// The examples in the documentation.
pub(super) fn documentation(root: &Path, filter: &[String]) -> Result<Outcome> {
    let mut test = command(root, "cargo", &["test", "--no-fail-fast", "--doc"]);
    results(LIMIT, test.arg("--").args(filter))
}

/// The kernel suite.
pub(super) fn kernel(root: &Path, filter: &[String]) -> Result<Outcome> {
    with_second_try(
        || all_of_kernel(root, filter),
        |failures| all_of_kernel(root, &exactly(failures)),
    )
}

/// The words by which the tests of these names are run.
pub(super) fn exactly(names: &[String]) -> Vec<String> {
    let exact = std::iter::once(EXACT.to_owned());
    exact.chain(names.iter().cloned()).collect()
}

fn all_of_kernel(root: &Path, filter: &[String]) -> Result<Outcome> {
    let mut test = cargo_test(root, &["--package", "monitoring-agent", "--test", KERNEL])?;
    results(LIMIT, test.args(["--", "--test-threads=1"]).args(filter))
}

/// What needs a GPU and its driver.
pub(super) fn gpu(root: &Path) -> Result<Outcome> {
    let features = "monitoring/gpu_required,monitoring-agent/gpu_required";
    let mut test = cargo_test(root, &["--features", features])?;
    test.args(["--package", "monitoring", "--package", "monitoring-agent"]);
    // What a test did not run for want of nvcc or of PyTorch is to be read.
    test.args(["--test", "gpu_required", "--test", "gpu_required_cuda"]);
    results(LIMIT, test.args(["--", "--nocapture"]))
}

fn results(limit: Duration, test: &mut Command) -> Result<Outcome> {
    Ok(Totals::of_run(&tee(limit, test)?))
}

/// `cargo test`, with tests that run as root whoever builds them.
fn cargo_test(root: &Path, arguments: &[&str]) -> Result<Command> {
    let mut test = command(root, "cargo", &["test", "--no-fail-fast"]);
    test.args(arguments);
    if !rights::is_root()? {
        rights::as_root("true").context("the tests need root")?;
        let verbose = read(&mut command(root, "rustc", &["-vV"]))?;
        let mut lines = verbose.lines();
        let host = lines.find_map(|line| line.strip_prefix("host: "));
        let host = host.context("rustc does not name its host")?;
        let host = host.to_uppercase().replace('-', "_");
        test.env(format!("CARGO_TARGET_{host}_RUNNER"), "sudo -n -E");
    }
    Ok(test)
}

/// The integration tests of the workspace's default members, by name, without those that need a
/// feature that is off by default: what that stands for, such as a GPU, is not on every machine.
fn integration_tests(root: &Path) -> Result<Vec<String>> {
    let arguments = ["metadata", "--no-deps", "--format-version=1"];
    let metadata = read(&mut command(root, "cargo", &arguments))?;
    names(&serde_json::from_str(&metadata).context("read cargo metadata")?)
}

fn names(metadata: &Value) -> Result<Vec<String>> {
    let list = |value: &Value| {
        value
            .as_array()
            .cloned()
            .context("cargo metadata lacks a list")
    };
    let members = list(&metadata["workspace_default_members"])?;
    let mut names = Vec::new();
    for package in list(&metadata["packages"])? {
        if !members.contains(&package["id"]) {
            continue;
        }
        let on = list(&package["features"]["default"]).unwrap_or_default();
        for target in list(&package["targets"])? {
            let needed = list(&target["required-features"]).unwrap_or_default();
            let can_be_run = needed.iter().all(|feature| on.contains(feature));
            if list(&target["kind"])?.contains(&"test".into()) && can_be_run {
                names.push(
                    target["name"]
                        .as_str()
                        .context("a target has a name")?
                        .to_owned(),
                );
            }
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_the_integration_tests_of_default_members() {
        let target = |kind: &str, name: &str| json!({ "kind": [kind], "name": name });
        let mut needy = target("test", "needy");
        needy["required-features"] = json!(["usual", "a_gpu"]);
        let mut usual = target("test", "usual");
        usual["required-features"] = json!(["usual"]);
        let metadata = json!({
            "workspace_default_members": ["a", "b"],
            "packages": [
                {
                    "id": "a",
                    "features": { "default": ["other", "usual"], "other": [], "usual": [] },
                    "targets": [target("lib", "a"), target("test", "second"), needy, usual],
                },
                { "id": "b", "targets": [target("test", "first"), target("test", "second")] },
                { "id": "elsewhere", "targets": [target("test", "third")] },
            ],
        });
        assert_eq!(names(&metadata).unwrap(), ["first", "second", "usual"]);
        assert!(names(&json!({})).is_err());
    }
}
