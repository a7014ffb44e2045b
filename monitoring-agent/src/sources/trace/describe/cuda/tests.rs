//! What spans of windows and calls say.

use monitoring_common::trace::ThreadContext;
use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::*;
use crate::{disk_operations::Operations, offsets::Offsets};

fn header(kind: usize, code: i32) -> Header {
    Header {
        start_ns: 1_000,
        end_ns: 5_001_000,
        call_start_ns: 0,
        window_start_ns: 1_000,
        process_start_ns: 3,
        pid: 7,
        tid: 8,
        agent: 1,
        kind: kind.try_into().unwrap(),
        flags: if code == 0 { 0 } else { FAILED },
        code,
        context: ThreadContext::NONE,
        comm: [0; 16],
    }
}

fn names() -> Names {
    Names {
        agents: ["other", "trainer"].map(str::to_owned).into(),
        operations: Operations::of_kernel(&mut Offsets::new()).unwrap(),
        kernels: Arc::default(),
        gpus: Arc::default(),
    }
}

/// An attribute as text.
fn value(described: &Described, key: &str) -> Option<String> {
    let mut attributes = described.attributes.iter();
    let attribute = attributes.find(|attribute| attribute.key == key)?;
    let value = attribute.value.clone().unwrap().value.unwrap();
    Some(match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => panic!("{other:?}"),
    })
}

fn number_of(call: &str) -> u16 {
    let mut numbers = 0..u16::MAX;
    let is_it = |number: &u16| kernel_names::call(*number).is_some_and(|(name, _)| name == call);
    numbers.find(is_it).unwrap()
}

#[test]
fn a_launch_says_what_it_launches_and_that_this_is_not_the_execution() {
    let detail = CudaDetail {
        object: 0x1000,
        stream: 0x20,
        grid: [7, 2, 1],
        block: [32, 4, 9],
        shared_bytes: 512,
        call: number_of("cuLaunchKernel"),
        flags: STREAM | SHAPE | SHARED,
        ..CudaDetail::NONE
    };
    let described = describe(&header(kind::CUDA_LAUNCH, 0), &detail, &names());
    assert_eq!(described.name, UNKNOWN_KERNEL);
    let check = |key: &str, want: Option<&str>| {
        let key = format!("stratoswarm.cuda.{key}");
        assert_eq!(value(&described, &key).as_deref(), want, "{key}");
    };
    check("call", Some("cuLaunchKernel"));
    check("api", Some("driver"));
    check("time", Some("enqueue"));
    check("stream", Some("0x20"));
    check("grid.x", Some("7"));
    check("grid.z", Some("1"));
    check("block.y", Some("4"));
    // It was not read, and 9 is somebody else's.
    check("block.z", None);
    check("shared_memory_bytes", Some("512"));
    check("untimed", None);
    let series = described.exemplar.unwrap();
    assert_eq!(series.metric, "cuda_call_duration_seconds");
    let untimed = CudaDetail {
        flags: UNTIMED,
        ..detail
    };
    let described = describe(&header(kind::CUDA_LAUNCH, 0), &untimed, &names());
    assert_eq!(described.exemplar, None);
    assert_eq!(
        value(&described, "stratoswarm.cuda.untimed").as_deref(),
        Some("true")
    );
}

#[test]
fn a_window_says_how_long_it_was_waited_for() {
    let detail = CudaDetail {
        waited_from_ns: 1_001_000,
        launches: 70,
        left_out: 6,
        call: number_of("cudaStreamSynchronize"),
        flags: STREAM,
        ..CudaDetail::NONE
    };
    let described = describe(&header(kind::CUDA_WINDOW, 719), &detail, &names());
    assert_eq!(described.name, "cuda window");
    assert_eq!(described.error.as_deref(), Some("cudaErrorLaunchFailure"));
    let check = |key: &str, want: &str| {
        let key = format!("stratoswarm.cuda.{key}");
        assert_eq!(value(&described, &key).as_deref(), Some(want), "{key}");
    };
    check("wait.duration", "0.004");
    check("launches", "70");
    check("left_out", "6");
    check("launches_complete", "true");
    assert!(described.events.is_empty());
}

#[test]
fn copies_and_memory_say_their_bytes() {
    let detail = CudaDetail {
        bytes: 4_096,
        direction: 2,
        object: 0x7000,
        call: number_of("cudaMemcpy"),
        flags: BYTES | DIRECTION,
        ..CudaDetail::NONE
    };
    let described = describe(&header(kind::CUDA_COPY, 0), &detail, &names());
    assert_eq!(described.name, "cudaMemcpy");
    let get = |key: &str| value(&described, &format!("stratoswarm.cuda.{key}"));
    assert_eq!(get("copy.bytes").as_deref(), Some("4096"));
    assert_eq!(get("copy.direction").as_deref(), Some("d2h"));
    assert_eq!(get("memory.pointer"), None);
    let failed = CudaDetail {
        call: number_of("cuMemAlloc"),
        flags: 0,
        object: 0,
        ..detail
    };
    let described = describe(&header(kind::CUDA_MEMORY, 2), &failed, &names());
    assert_eq!(described.error.as_deref(), Some("CUDA_ERROR_OUT_OF_MEMORY"));
    assert_eq!(value(&described, "stratoswarm.cuda.memory.bytes"), None);
}
