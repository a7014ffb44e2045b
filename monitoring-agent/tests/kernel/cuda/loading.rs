//! The kernel object is loaded when a process uses CUDA, and leaves nothing behind when the source ends.

use std::{collections::BTreeMap, fs, panic::catch_unwind, path::Path, sync::PoisonError};

use aya::maps::loaded_maps;

use super::{Mapped, PROCESS, SOURCE, held, launched, work};
use crate::{
    node::{ME, Node, counter, losses, sample},
    poll::poll_until,
};

/// The source's maps that this process has, by their numbers in the kernel, but for those `before`:
/// what earlier sources had attached takes its time to be detached.
fn own_maps(before: &BTreeMap<u32, String>) -> BTreeMap<u32, String> {
    let infos = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let ids = infos.filter_map(|info| {
        let text = fs::read_to_string(info.path()).ok()?;
        let id = text.lines().find_map(|line| line.strip_prefix("map_id:"))?;
        id.trim().parse().ok()
    });
    let ids: Vec<u32> = ids.collect();
    let maps = in_kernel().into_iter();
    let of_source = |name: &str| ["ALLOCATIONS", "REGISTERED", "CALLS", "NAMES"].contains(&name);
    let new = |id: &u32| ids.contains(id) && !before.contains_key(id);
    maps.filter(|(id, name)| new(id) && of_source(name))
        .collect()
}

/// All maps, whoever's.
fn in_kernel() -> BTreeMap<u32, String> {
    let maps = loaded_maps().filter_map(Result::ok);
    maps.filter_map(|map| Some((map.id(), map.name_as_str()?.to_owned())))
        .collect()
}

/// Where NVIDIA's driver is, calls are expected, and nothing is waited for.
fn has_driver() -> bool {
    let mut traces = ["/proc/driver/nvidia", "/dev/nvidiactl"].iter();
    traces.any(|trace| Path::new(trace).exists())
}

fn programs(node: &mut Node) -> usize {
    let batch = node.collect(SOURCE);
    batch.programs.len()
}

/// Waits until this process is seen in a state.
fn seen(node: &mut Node, state: &str) {
    let labels = [("agent", ME), ("state", state)];
    poll_until("this process is seen", || {
        let batch = node.collect(SOURCE);
        sample(&batch, "cuda_probe_coverage", &labels).map(|_| ())
    });
}

#[test]
fn nothing_is_in_the_kernel_before_the_first_user_and_after_the_source() {
    let _alone = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    let before = in_kernel();
    let mut node = Node::start(&["process", SOURCE]);
    let expected = has_driver();
    assert_eq!(
        !own_maps(&before).is_empty(),
        expected,
        "{:?}",
        own_maps(&before)
    );
    // A library by its name, which has none of CUDA's functions: that it was looked into shows that
    // whoever uses CUDA would have been found.
    let empty = Mapped::new(Path::new("/bin/true"), "libcudart.so.99");
    seen(&mut node, "unreadable");
    assert_eq!(
        !own_maps(&before).is_empty(),
        expected,
        "{:?}",
        own_maps(&before)
    );
    let batch = node.collect(SOURCE);
    assert_eq!(!batch.programs.is_empty(), expected);
    assert_eq!(!batch.maps.is_empty(), expected);
    assert!(batch.off.is_none() && batch.stale.is_none());
    // Losses are there from the beginning.
    assert!(batch.lost.iter().any(|(reason, _)| *reason == "calls_full"));
    drop(empty);
    for round in 0..3 {
        let driver = Mapped::driver();
        seen(&mut node, "static");
        let maps = own_maps(&before);
        assert_eq!(maps.len(), 4, "{maps:?}");
        assert!(programs(&mut node) >= 3);
        let already = launched();
        work();
        let launches = launched() - already;
        assert!(launches > 0);
        let batch = node.collect(SOURCE);
        let labels = [
            ("agent", ME),
            ("api", "runtime"),
            ("call", "cudaLaunchKernel"),
        ];
        assert_eq!(counter(&batch, "cuda_calls_total", &labels), launches);
        assert!(held(&batch, "0").is_some());
        // It had its library before that was probed, if anybody was told of it by then.
        let mut lost = losses(&batch);
        lost.retain(|(reason, _)| *reason != "probed_late");
        assert!(lost.is_empty(), "{lost:?}");
        if round == 0 {
            // What was counted stays when nobody uses it any more.
            drop(driver);
            let batch = node.collect(SOURCE);
            assert_eq!(counter(&batch, "cuda_calls_total", &labels), launches);
            assert_eq!(own_maps(&before), maps);
        }
        node.stop(SOURCE);
        poll_until("none of its maps is left", || {
            let left = in_kernel();
            (!maps.keys().any(|id| left.contains_key(id))).then_some(())
        });
        node.restart(SOURCE, |_| {});
    }
}

#[test]
fn what_cannot_be_loaded_is_a_failure_as_soon_as_it_is_needed() {
    let _alone = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    let before = in_kernel();
    // A size that the kernel refuses.
    let start = || Node::with_limits(&["process", SOURCE], &[("ALLOCATIONS", u32::MAX)]);
    if has_driver() {
        assert!(catch_unwind(start).is_err());
        return;
    }
    let mut node = start();
    assert!(node.collect(SOURCE).programs.is_empty());
    let _driver = Mapped::driver();
    let error = poll_until("it fails", || node.try_collect(SOURCE).err());
    assert!(format!("{error:#}").contains("ALLOCATIONS"), "{error:#}");
    assert!(own_maps(&before).is_empty(), "{:?}", own_maps(&before));
}
