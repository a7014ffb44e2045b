//! `cargo xtask setup`: makes this machine able to build the agent and to run its tests. Says what
//! it finds and what it does; does nothing where nothing is missing.

mod cudart;
mod go;
mod nvcc;
mod rotel;
mod tracefs;
mod wheels;

use std::path::Path;

use anyhow::{Result, bail};

use crate::{command::find, compiler, packages, qemu, toolchain};

/// A program that tests use.
struct Tool {
    /// Its name on `PATH`.
    program: &'static str,
    /// The Debian package that brings it.
    package: &'static str,
    /// The systemd unit that the package brings along.
    service: Option<&'static str>,
}

/// What the tests need beside Rust: independent counterparts that their numbers are compared
/// with, and what knows the repository's files. Programs of one
/// package follow each other.
const TOOLS: [Tool; 26] = [
    Tool {
        program: "strip",
        package: "binutils",
        service: None,
    },
    Tool {
        program: "bpftool",
        package: "bpftool",
        service: None,
    },
    Tool {
        program: "bpftrace",
        package: "bpftrace",
        service: None,
    },
    Tool {
        program: "busybox",
        package: "busybox-static",
        service: None,
    },
    Tool {
        program: "chromium",
        package: "chromium",
        service: None,
    },
    Tool {
        program: "curl",
        package: "curl",
        service: None,
    },
    Tool {
        program: "fio",
        package: "fio",
        service: None,
    },
    Tool {
        program: "g++",
        package: "g++",
        service: None,
    },
    Tool {
        program: "git",
        package: "git",
        service: None,
    },
    Tool {
        program: "ip",
        package: "iproute2",
        service: None,
    },
    Tool {
        program: "nstat",
        package: "iproute2",
        service: None,
    },
    Tool {
        program: "ss",
        package: "iproute2",
        service: None,
    },
    Tool {
        program: "tc",
        package: "iproute2",
        service: None,
    },
    Tool {
        program: "runqlat",
        package: "libbpf-tools",
        service: None,
    },
    Tool {
        program: "nft",
        package: "nftables",
        service: None,
    },
    Tool {
        program: "losetup",
        package: "mount",
        service: None,
    },
    Tool {
        program: "perf",
        package: "linux-perf",
        service: None,
    },
    Tool {
        program: "node",
        package: "nodejs",
        service: None,
    },
    Tool {
        program: "prometheus",
        package: "prometheus",
        service: Some("prometheus.service"),
    },
    Tool {
        program: "promtool",
        package: "prometheus",
        service: Some("prometheus.service"),
    },
    Tool {
        program: "amtool",
        package: "prometheus-alertmanager",
        service: Some("prometheus-alertmanager.service"),
    },
    Tool {
        program: "prometheus-alertmanager",
        package: "prometheus-alertmanager",
        service: Some("prometheus-alertmanager.service"),
    },
    Tool {
        program: "prometheus-node-exporter",
        package: "prometheus-node-exporter",
        service: Some("prometheus-node-exporter.service"),
    },
    Tool {
        program: "stress-ng",
        package: "stress-ng",
        service: None,
    },
    Tool {
        program: "systemd-analyze",
        package: "systemd",
        service: None,
    },
    Tool {
        program: "tmux",
        package: "tmux",
        service: None,
    },
];

/// All that building and testing need. Where something cannot be had, the rest is set up all the
/// same, and the error names all that is left to do.
pub(crate) fn everything(root: &Path) -> Result<()> {
    let parts = [
        toolchain::ensure(root),
        compiler::components(root),
        tools(),
        qemu::ensure(root),
        cudart::ensure(root),
        nvcc::ensure(root),
        go::ensure(root),
        rotel::ensure(root),
        tracefs::ensure(),
    ];
    let problems: Vec<String> = parts
        .into_iter()
        .filter_map(|part| Some(format!("{:#}", part.err()?)))
        .collect();
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(())
}

fn tools() -> Result<()> {
    let missing: Vec<&Tool> = TOOLS
        .iter()
        .filter(|tool| find(tool.program).is_none())
        .collect();
    let names: Vec<&str> = missing.iter().map(|tool| tool.program).collect();
    if missing.is_empty() {
        println!("setup: the tests' tools are all here");
        return Ok(());
    }
    println!("setup: the tests need {}", names.join(", "));
    let mut wanted: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    wanted.dedup();
    let mut services: Vec<&str> = missing.iter().filter_map(|tool| tool.service).collect();
    services.dedup();
    packages::install(&wanted, &services)?;
    let still: Vec<&str> = names
        .into_iter()
        .filter(|name| find(name).is_none())
        .collect();
    if !still.is_empty() {
        bail!(
            "the tests need {}, which apt-get install {} did not bring",
            still.join(", "),
            wanted.join(" ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::TOOLS;

    #[test]
    fn programs_of_one_package_follow_each_other() {
        let mut packages: Vec<&str> = TOOLS.iter().map(|tool| tool.package).collect();
        packages.dedup();
        let runs = packages.len();
        packages.sort_unstable();
        packages.dedup();
        assert_eq!(packages.len(), runs, "{packages:?}");
    }
}
