//! probe
use monitoring_agent::loader::{self, Attach, Family};
use monitoring_agent::{loader::SharedMaps, offsets::Offsets};
use std::path::Path;

#[test]
fn loads() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _guard = runtime.enter();
    let family = Family {
        name: "cuda",
        object: aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cuda")),
        globals: Vec::new(),
        map_sizes: Vec::new(),
        programs: &[
            Attach::Function("cuda_enter"),
            Attach::Function("cuda_return"),
        ],
        debug: false,
    };
    let mut shared = SharedMaps::new();
    let loaded = loader::load(&family, &mut shared, &mut Offsets::new());
    match loaded {
        Ok(l) => println!("{:?}", l.programs),
        Err(e) => panic!("{e}"),
    }
    let _ = Path::new("/");
}
