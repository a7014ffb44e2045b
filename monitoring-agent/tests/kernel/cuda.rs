//! probe
use std::path::Path;
use std::fs::File;
use std::os::fd::AsRawFd;
use monitoring_agent::loader::{self, Attach, Family};
use monitoring_agent::per_cpu::PerCpuReader;
use monitoring_agent::sources::cuda::{attach_points::attach_points, all_names};
use monitoring_agent::{loader::SharedMaps, offsets::Offsets};
use monitoring_common::cuda::{CallKey, Calls, ErrorKey, LaunchKey};

#[test]
fn loads() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    let family = Family {
        name: "cuda",
        object: aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cuda")),
        globals: Vec::new(),
        map_sizes: Vec::new(),
        programs: &[Attach::Function("cuda_enter"), Attach::Function("cuda_return")],
        debug: false,
    };
    let mut shared = SharedMaps::new();
    let mut loaded = loader::load(&family, &mut shared, &mut Offsets::new()).unwrap();
    let lib = std::env::var("CUDART").unwrap();
    let file = File::open(&lib).unwrap();
    let t = std::time::Instant::now();
    let points = attach_points(&file, Path::new(&lib)).unwrap();
    println!("{} points in {:?}", points.len(), t.elapsed());
    let t = std::time::Instant::now();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut links = Vec::new();
    for p in &points {
        links.push(loaded.attach_to_function("cuda_enter", Path::new(&path), p.offset, p.hook.0).unwrap());
        links.push(loaded.attach_to_function("cuda_return", Path::new(&path), p.offset, p.hook.0).unwrap());
    }
    println!("attached in {:?}", t.elapsed());
    let calls = loaded.take_map("CALLS").unwrap();
    let errors = loaded.take_map("ERRORS").unwrap();
    let launched = loaded.take_map("LAUNCHED").unwrap();
    let out = std::process::Command::new(std::env::var("PROG").unwrap()).output().unwrap();
    println!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let names = all_names();
    PerCpuReader::<CallKey, Calls>::new().unwrap().for_each(calls.fd(), |k, v| {
        let n: u64 = v.iter().map(|c| c.timed.count() + c.untimed).sum();
        let s: u64 = v.iter().map(|c| c.timed.sum_ns).sum();
        println!("{} {} mean {} ns", names[usize::from(k.call)], n, s / n.max(1));
    }).unwrap();
    PerCpuReader::<ErrorKey, u64>::new().unwrap().for_each(errors.fd(), |k, v| println!("{} code {} {}", names[usize::from(k.call.call)], k.code, v.iter().sum::<u64>())).unwrap();
    PerCpuReader::<LaunchKey, u64>::new().unwrap().for_each(launched.fd(), |k, v| println!("{k:?} {}", v.iter().sum::<u64>())).unwrap();
}
