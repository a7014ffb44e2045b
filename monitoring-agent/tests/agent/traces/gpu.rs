//! A program of the stand-ins for CUDA: what it launched and copied, and the wait for it, by its clock.

use std::{path::Path, process::Command, time::Duration};

use serde_json::Value;

use super::tree::{Tree, assert_lasted, integer, is_of, is_within, lasted, says};
use crate::{
    cuda::{Program, WORKLOAD_AGENT, known_as},
    process::Agent,
    rotel::shown::Shown,
};

const SERVICE: &str = "workload";

/// Launches of each of the kernels, in turn.
const LAUNCHES: usize = 8;
const BYTES: i64 = 65_536;

/// How long each kernel has the device: all together 400 ms.
const KERNEL_NS: u64 = 50_000_000;

/// Copies, and memory that is allocated for nothing.
const MORE: [&str; 2] = ["", "--copies 2 --bytes 65536 --malloc-pairs 1"];

/// The workload, and the program that has CUDA's libraries found.
pub(super) fn rules() -> String {
    format!(
        "{WORKLOAD_AGENT}[[agents]]\nname = 'forerunner'\nenvironment = \
         'CUDA_TEST_AGENT=forerunner'\n"
    )
}

/// What two programs say that they did: one that waits for its launches, and one that copies before,
/// which waits as well, and leaves nothing to wait for.
pub(super) struct Work([Said; 2]);

/// What a program of the workload says that it did.
pub(super) struct Said {
    pub(super) pid: u32,
    pub(super) said: Value,
}

impl Work {
    pub(super) fn run(libraries: &Path, agent: &Agent) -> Self {
        let kernel_ns = ("CUDA_SIM_KERNEL_NS", &*format!("*={KERNEL_NS}"));
        Self(MORE.map(|more| {
            let arguments = format!("--api runtime --streams 1 --launches {LAUNCHES} {more}");
            Said::by(libraries, agent, Program::command, &arguments, &[kernel_ns])
        }))
    }

    pub(super) fn check(&self, spans: &Tree) {
        let [waits, copies] = &self.0;
        let wait = ["Str(cudaStreamSynchronize)"];
        let children = waits.check(spans, &wait);
        assert_lasted(children[0], waits.clock("wait_ns"));
        let children = copies.check(spans, &[&COPIES[..], &wait].concat());
        for (copy, direction) in children[3..5].iter().zip(["h2d", "d2h"]) {
            says(copy, &[("stratoswarm.cuda.copy.direction", direction)]);
            assert_eq!(integer(copy, "stratoswarm.cuda.copy.bytes"), BYTES);
        }
        // The one that has waited.
        assert!(lasted(children[3]) >= Duration::from_nanos(KERNEL_NS));
        assert!(lasted(children[6]) <= copies.clock("wait_ns"));
    }
}

impl Said {
    /// Has a program work that the agent knows, which `program` makes of its arguments.
    pub(super) fn by(
        libraries: &Path,
        agent: &Agent,
        program: fn(&str) -> Command,
        arguments: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = program(&format!("{arguments} --wait start"));
        command.envs(variables.iter().copied());
        let mut program = Program::start(libraries, &mut command);
        program.line("Start");
        known_as(agent, SERVICE);
        program.go_on();
        let said = program.report();
        program.ends_well();
        Self {
            pid: program.pid(),
            said,
        }
    }

    /// What the workload's clock said of its only wait.
    pub(super) fn clock(&self, name: &str) -> Duration {
        let waits = self.said["waits"].as_array().unwrap();
        assert_eq!(waits.len(), 1, "{waits:?}");
        Duration::from_nanos(waits[0][name].as_u64().unwrap())
    }

    /// Its windows, in the order of their times.
    pub(super) fn windows<'a>(&self, spans: &'a Tree) -> Vec<&'a Shown> {
        let pid = format!("Int({})", self.pid);
        let mut windows: Vec<_> = spans.of(SERVICE, "cuda").collect();
        windows.retain(|span| {
            span.get("Name") == "cuda window" && span.resource["process.pid"] == pid
        });
        windows.sort_by_key(|window| window.times());
        windows
    }

    /// Its only window.
    pub(super) fn window<'a>(&self, spans: &'a Tree) -> &'a Shown {
        let [window] = self.windows(spans)[..] else {
            panic!("one window: {:#?}", spans.of_service(SERVICE));
        };
        window
    }

    /// The window, with the launches and then these calls, which are returned.
    fn check<'a>(&self, spans: &'a Tree, calls: &[&str]) -> Vec<&'a Shown> {
        let window = self.window(spans);
        assert_eq!(window.get("Parent ID"), "", "a trace of its own");
        assert_eq!(integer(window, "stratoswarm.cuda.launches"), 8);
        assert_eq!(integer(window, "stratoswarm.cuda.left_out"), 0);
        says(
            window,
            &[("stratoswarm.cuda.call", "cudaStreamSynchronize")],
        );
        assert!(lasted(window) >= Duration::from_nanos(KERNEL_NS * LAUNCHES as u64));
        assert_lasted(window, self.clock("since_launch_ns"));
        let mut children = spans.children(window);
        for child in &children {
            is_of(child, self.pid);
            assert_eq!(integer(child, "thread.id"), integer(window, "thread.id"));
            is_within(child, window);
            assert!(child.scope.starts_with("stratoswarm.cuda "), "{child:?}");
        }
        for pair in children.windows(2) {
            assert!(pair[0].times()[1] <= pair[1].times()[0], "{pair:?}");
        }
        let others = children.split_off(LAUNCHES);
        for launch in &children {
            let call = [("stratoswarm.cuda.call", "cudaLaunchKernel")];
            says(
                launch,
                &[&call[..], &[("stratoswarm.cuda.time", "enqueue")]].concat(),
            );
            for (axis, size) in [
                ("grid.x", 64),
                ("grid.y", 1),
                ("block.x", 256),
                ("block.z", 1),
            ] {
                assert_eq!(integer(launch, &format!("stratoswarm.cuda.{axis}")), size);
            }
        }
        let names: Vec<_> = children.iter().map(|launch| launch.get("Name")).collect();
        assert_eq!(names, NAMES);
        let of = |span: &&'a Shown| &*span.tags["stratoswarm.cuda.call"];
        assert_eq!(others.iter().map(of).collect::<Vec<_>>(), calls);
        others
    }
}

/// What the workload calls for [`MORE`].
const COPIES: [&str; 6] = [
    "Str(cudaMalloc)",
    "Str(cudaFree)",
    "Str(cudaMalloc)",
    "Str(cudaMemcpy)",
    "Str(cudaMemcpy)",
    "Str(cudaFree)",
];

/// The workload's kernels, in the order of its launches.
const NAMES: [&str; LAUNCHES] = [
    "vectorAdd",
    "matmul",
    "reduce",
    "softmax",
    "layers::conv",
    "layers::attention",
    "transpose",
    "scale_by_constant",
];
