//! Nanoseconds added to a call into CUDA: empty functions that are
//! called as `cuStreamWaitEvent` and `cuLaunchKernel` are, and the stand-in's launch through the runtime, which makes a call of the driver's.
//!
//! CPU time is counted. The programs of the second one are measured by the difference between a long
//! and a short one, so that neither their start nor the probing of their memory is in it.

use std::{
    env,
    ffi::CString,
    fs, io, mem,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    process::Command,
    process::Stdio,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    agent::agent_with,
    calls::{in_thread, pin_to_last_cpu, thread_cpu_ns},
    process::{Running, free_port, scrape, wait_for},
    turns::{Condition, NOBODY, medians, print_added},
};

const ROUNDS: usize = 7;
const CALLS: u32 = 200_000;
/// Launches of a short and of a long program.
const LAUNCHES: [u32; 2] = [20_000, 220_000];

/// No call that is not probed takes that long, and each that is takes longer.
const UNWATCHED: Duration = Duration::from_nanos(500);

/// Where this variable is set, this program is the workload, with these arguments.
const WORKLOAD: &str = "CUDA_WORKLOAD_ARGUMENTS";

/// Begin as NVIDIA's do, by an instruction that the kernel emulates. One that it steps over instead
/// costs another trap, which a hypervisor may make ten times as expensive as the first.
const EMPTY: &str = r#"
#ifdef __x86_64__
#define BODY "push %rbp\nmov %rsp, %rbp\nxor %eax, %eax\npop %rbp\nret\n"
#else
#define BODY "stp x29, x30, [sp, #-16]!\nmov x29, sp\nmov w0, #0\nldp x29, x30, [sp], #16\nret\n"
#endif
#define EMPTY(name) __asm__(".globl " name "\n.type " name ", %function\n" name ":\n" BODY \
                            ".size " name ", . - " name "\n")
EMPTY("cuLaunchKernel");
EMPTY("cuStreamWaitEvent");
"#;

type Launch = extern "C" fn(usize, u32, u32, u32, u32, u32, u32, u32, usize, usize, usize) -> i32;
type Plain = extern "C" fn(usize, usize) -> i32;
type Synchronize = extern "C" fn() -> i32;

/// Whether this process is one that the benchmark has started.
pub(crate) fn is_workload() -> bool {
    env::var_os(WORKLOAD).is_some()
}

/// What that process does.
pub(crate) fn work() {
    pin_to_last_cpu();
    let arguments = env::var(WORKLOAD).expect("asked for");
    cuda_sim_workload::main_with(arguments.split(' ')).expect("the stand-ins work");
}

pub(crate) fn measure() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    empty_functions(&folder);
    runtime_launch(&folder);
}

fn empty_functions(folder: &TempDir) {
    // A name of its own, so that it is not taken for the stand-in's.
    let library = folder.path().join("empty").join("libcuda.so.1");
    fs::create_dir(folder.path().join("empty")).expect("a folder");
    build_empty(&library);
    // SAFETY: the function does not look at its arguments.
    let launch: Launch = unsafe { mem::transmute(function(&library, "cuLaunchKernel")) };
    // SAFETY: as above.
    let plain_call: Plain = unsafe { mem::transmute(function(&library, "cuStreamWaitEvent")) };
    let launch = move || {
        launch(1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0);
    };
    let plain_call = move || {
        plain_call(1, 0);
    };
    let place = |name| format!("uprobe:{}:{name}", library.display());
    let plain = format!("{} {{ @ = count(); }}", place("cuStreamWaitEvent"));
    measure_empty(&library, "cuStreamWaitEvent", &plain, plain_call);
    // The same as the agent: calls, and launches by process and kernel.
    let by_kernel = format!(
        "{} {{ @ = count(); @launches[pid, arg0] = count(); }}",
        place("cuLaunchKernel")
    );
    measure_empty(&library, "cuLaunchKernel", &by_kernel, launch);
}

fn measure_empty(library: &Path, name: &str, count: &str, call: impl Fn() + Copy + Send + 'static) {
    let timing = timing(&[(library, name)]);
    let conditions: [Condition<'_>; 5] = [
        (NOBODY.0, &|| unwatched(&call)),
        ("monitoring-agent, entry", &|| {
            unwatched(&call);
            let (agent, port) = agent("0.0");
            wait_for("returns are dropped", || {
                (0..1_000).for_each(|_| call());
                has(port, "cuda_probe_returns_dropped", "", "1")
            });
            vec![agent]
        }),
        ("bpftrace, entry: counts", &|| {
            unwatched(&call);
            vec![Running::bpftrace(count)]
        }),
        ("monitoring-agent, entry and return", &|| {
            unwatched(&call);
            vec![counting_agent(&[(name, &call)])]
        }),
        ("bpftrace, entry and return: histogram", &|| {
            unwatched(&call);
            vec![Running::bpftrace(&timing)]
        }),
    ];
    let figures = medians(ROUNDS, &conditions, || {
        [in_thread(move || {
            pin_to_last_cpu();
            let round = || {
                let begun = thread_cpu_ns();
                (0..CALLS).for_each(|_| call());
                (thread_cpu_ns() - begun) / f64::from(CALLS)
            };
            // The first is to warm up; of the others, the one that was disturbed least.
            round();
            round().min(round()).min(round())
        })]
    });
    let figures = figures.map(|[figure]| figure);
    println!("ns per call of an empty {name}, median of {ROUNDS} interleaved rounds");
    print_added(&conditions, figures);
    let [base, our_entry, their_entry, ours, theirs] = figures;
    let ratio = |ours: f64, theirs: f64| (ours - base) / (theirs - base);
    println!(
        "  the agent adds {:.2} of what bpftrace adds, by the entry alone; {:.2} with the return\n",
        ratio(our_entry, their_entry),
        ratio(ours, theirs)
    );
}

fn runtime_launch(folder: &TempDir) {
    let libraries = cuda_sim::install(folder.path()).expect("the stand-ins");
    // Held open, so that the libraries are probed before the programs that are measured begin. The
    // runtime finds the driver by its name, once that is open.
    let functions = [
        (&libraries.driver, "cuCtxSynchronize"),
        (&libraries.runtime, "cudaDeviceSynchronize"),
    ];
    let [driver, runtime] = functions.map(|(library, name)| {
        // SAFETY: both have no arguments and return a number.
        unsafe { mem::transmute::<_, Synchronize>(function(library, name)) }
    });
    let both = [
        (libraries.runtime.as_path(), "cudaLaunchKernel"),
        (libraries.driver.as_path(), "cuLaunchKernel"),
    ];
    let scripts = [timing(&both), timing(&both[..1])];
    let nobody = || {
        unwatched(&|| {
            driver();
        })
    };
    let conditions: [Condition<'_>; 4] = [
        (NOBODY.0, &nobody),
        ("monitoring-agent", &|| {
            nobody();
            let driver = || {
                driver();
            };
            let runtime = || {
                runtime();
            };
            vec![counting_agent(&[
                ("cuCtxSynchronize", &driver),
                ("cudaDeviceSynchronize", &runtime),
            ])]
        }),
        ("bpftrace, both functions", &|| {
            nobody();
            vec![Running::bpftrace(&scripts[0])]
        }),
        ("bpftrace, the runtime's alone", &|| {
            nobody();
            vec![Running::bpftrace(&scripts[1])]
        }),
    ];
    let figures = medians(ROUNDS, &conditions, || {
        let [short, long] = LAUNCHES.map(|launches| program_cpu_ns(folder.path(), launches));
        [(long - short) / f64::from(LAUNCHES[1] - LAUNCHES[0])]
    });
    let figures = figures.map(|[figure]| figure);
    println!("ns per cudaLaunchKernel, which calls cuLaunchKernel, of {ROUNDS} such rounds");
    print_added(&conditions, figures);
    let [base, ours, both, alone] = figures;
    println!(
        "  the agent adds {:.2} of what bpftrace adds by both functions, {:.2} by one\n",
        (ours - base) / (both - base),
        (ours - base) / (alone - base)
    );
}

/// bpftrace's words for the durations of these functions.
fn timing(functions: &[(&Path, &str)]) -> String {
    let probes = functions.iter().enumerate().map(|(at, (library, name))| {
        let place = format!("{}:{name}", library.display());
        format!(
            "uprobe:{place} {{ @begun{at}[tid] = nsecs; }}
             uretprobe:{place} /@begun{at}[tid]/ {{
                 @durations{at} = hist(nsecs - @begun{at}[tid]);
                 delete(@begun{at}[tid]);
             }} "
        )
    });
    probes.collect()
}

/// The agent with this budget, and its port.
fn agent(budget: &str) -> (Running, u16) {
    let port = free_port();
    let monitoring = "collection_interval = \"200ms\"\n";
    let settings = format!("overhead_budget = {budget}\n");
    (agent_with(port, &["cuda"], monitoring, &settings), port)
}

/// The agent without a limit, once it counts these calls.
fn counting_agent(calls: &[(&str, &dyn Fn())]) -> Running {
    let (agent, port) = agent("1.0");
    for (name, call) in calls {
        let label = format!("call=\"{name}\"");
        wait_for("calls are counted", || {
            call();
            has(port, "cuda_call_duration_seconds_count", &label, "")
        });
    }
    agent
}

/// Nobody, once calls are as cheap as without a probe: the kernel takes probes away some time after
/// whoever had them has ended.
fn unwatched(call: &dyn Fn()) -> Vec<Running> {
    wait_for(
        "nobody watches these functions; is another agent running?",
        || {
            let begun = Instant::now();
            (0..1_000).for_each(|_| call());
            begun.elapsed() < UNWATCHED * 1_000
        },
    );
    Vec::new()
}

/// Whether a metric has a sample with this label and this value.
fn has(port: u16, metric: &str, label: &str, value: &str) -> bool {
    scrape(port, "/metrics").lines().any(|line| {
        line.starts_with(metric)
            && line.contains(label)
            && (value.is_empty() || line.rsplit(' ').next() == Some(value))
    })
}

/// CPU time of a program that launches so often.
#[allow(clippy::zombie_processes, reason = "`wait4` waits, and tells the time")]
fn program_cpu_ns(folder: &Path, launches: u32) -> f64 {
    let arguments = format!("workload --api runtime --launches {launches}");
    let child = Command::new(env::current_exe().expect("this program"))
        .env(WORKLOAD, arguments)
        .env("LD_LIBRARY_PATH", folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("start the workload");
    let pid = i32::try_from(child.id()).expect("a process id");
    let mut status = 0;
    // SAFETY: all zeros is a value of the structure; both results live across the call, and nobody
    // else waits for the child.
    let usage = unsafe {
        let mut usage = mem::zeroed::<libc::rusage>();
        assert_eq!(libc::wait4(pid, &raw mut status, 0, &raw mut usage), pid);
        usage
    };
    assert_eq!(status, 0, "the workload failed");
    let times = [usage.ru_utime, usage.ru_stime];
    let ns = times.map(|time| time.tv_sec as f64 * 1e9 + time.tv_usec as f64 * 1e3);
    ns.iter().sum()
}

fn build_empty(library: &Path) {
    let source = library.with_extension("c");
    fs::write(&source, EMPTY).expect("write the program");
    let status = Command::new("cc")
        .args(["-shared", "-o"])
        .args([library, &source])
        .status();
    assert!(status.expect("cc").success(), "cc failed");
}

/// A function of a library, which stays open.
fn function(library: &Path, name: &str) -> *mut libc::c_void {
    let [path, name] = [library.as_os_str().as_bytes(), name.as_bytes()]
        .map(|text| CString::new(text).expect("no zeros"));
    // SAFETY: both texts outlive the calls.
    let function = unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        assert!(!library.is_null(), "{}", io::Error::last_os_error());
        libc::dlsym(library, name.as_ptr())
    };
    assert!(!function.is_null(), "the library has no such function");
    function
}
