//! Where nothing is traced, nothing of it is in the kernel.

use aya::programs::{ProgramInfo, loaded_programs};
use monitoring_agent::config::Config;
use monitoring_common::trace::SPANS;

use super::ring::traced;
use crate::{block::disk::Disk, node::Node};

const FAMILIES: [&str; 3] = ["process", "block", "syscalls"];

/// The programs that tell of events, and may tell of spans.
const PROGRAMS: [&str; 2] = ["sys_exit", "block_rq_compl"];

/// Bytes of the newest program of this name, after the verifier's work.
fn bytes(name: &str) -> u32 {
    let programs = loaded_programs().filter_map(Result::ok);
    let of_name = programs.filter(|info| info.name_as_str().is_some_and(|it| it.starts_with(name)));
    let newest = of_name.max_by_key(ProgramInfo::id).unwrap();
    newest.size_translated().unwrap()
}

fn sizes(change: impl FnOnce(&mut Config)) -> ([u32; 2], Node) {
    let node = Node::with(&FAMILIES, change);
    (PROGRAMS.map(bytes), node)
}

#[test]
fn what_is_not_traced_has_no_code_and_no_ring() {
    // Where there has been no disk there may be no such tracepoint.
    let _disk = Disk::new();
    let (on, node) = sizes(|config| traced(config, |_| ()));
    assert!(node.has_map(SPANS));
    drop(node);
    let (off, node) = sizes(|_| ());
    assert!(!node.has_map(SPANS));
    drop(node);
    // No endpoint is the same as no tracing.
    let (disabled, node) = sizes(|config| {
        traced(config, |config| config.tracing_enabled = false);
    });
    assert_eq!(off, disabled);
    assert!(!node.has_map(SPANS));
    drop(node);
    for ((name, on), off) in PROGRAMS.iter().zip(on).zip(off) {
        // What chooses and tells is some hundred instructions of eight bytes.
        assert!(off + 1_600 < on, "{name}: {off} and {on} bytes");
    }
}
