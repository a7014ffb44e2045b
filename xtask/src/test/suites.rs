//! The tests on this machine's kernel, as root.
//!
//! The kernel suite runs one test at a time, because its tests load programs into, and count the
//! events of, one and the same kernel.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::report::{Outcome, Totals};
use crate::{
    bounded::tee,
    command::{command, read},
    rights,
};

/// The test target that needs a kernel of its own.
pub(super) const KERNEL: &str = "kernel";

/// Longest time for one of the suites below, with its build; they take a few minutes. If all three
/// hang, that is one hour, after which CI machines usually still wait for the last line.
const LIMIT: Duration = Duration::from_mins(20);

/// Unit tests, and integration tests other than the kernel suite.
pub(super) fn ordinary(root: &Path, filter: &[String]) -> Result<Outcome> {
    let mut test = cargo_test(root, &["--lib", "--bins"])?;
    for name in integration_tests(root)? {
        if name != KERNEL {
            test.args(["--test", &name]);
        }
    }
    results(test.arg("--").args(filter))
}

/// The examples in the documentation.
pub(super) fn documentation(root: &Path, filter: &[String]) -> Result<Outcome> {
    let mut test = command(root, "cargo", &["test", "--no-fail-fast", "--doc"]);
    results(test.arg("--").args(filter))
}

/// The kernel suite.
pub(super) fn kernel(root: &Path, filter: &[String]) -> Result<Outcome> {
    let mut test = cargo_test(root, &["--package", "monitoring-agent", "--test", KERNEL])?;
    results(test.args(["--", "--test-threads=1"]).args(filter))
}

/// What needs a GPU and its driver.
pub(super) fn gpu(root: &Path) -> Result<Outcome> {
    let features = "monitoring/gpu_required,monitoring-agent/gpu_required";
    let mut test = cargo_test(root, &["--features", features])?;
    test.args(["--package", "monitoring", "--package", "monitoring-agent"]);
    // What a test did not run for want of nvcc or of PyTorch is to be read.
    test.args(["--test", "gpu_required", "--test", "gpu_required_cuda"]);
    results(test.args(["--", "--nocapture"]))
}

fn results(test: &mut Command) -> Result<Outcome> {
    Ok(Totals::of_run(&tee(LIMIT, test)?))
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
/// feature: what the feature stands for, such as a GPU, is not on every machine.
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
        for target in list(&package["targets"])? {
            let needs_feature = target["required-features"].is_array();
            if list(&target["kind"])?.contains(&"test".into()) && !needs_feature {
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
        needy["required-features"] = json!(["a_gpu"]);
        let metadata = json!({
            "workspace_default_members": ["a", "b"],
            "packages": [
                { "id": "a", "targets": [target("lib", "a"), target("test", "second"), needy] },
                { "id": "b", "targets": [target("test", "first"), target("test", "second")] },
                { "id": "elsewhere", "targets": [target("test", "third")] },
            ],
        });
        assert_eq!(names(&metadata).unwrap(), ["first", "second"]);
        assert!(names(&json!({})).is_err());
    }
}
