//! Another process reads what threads of this program publish: by the program's file, the threads'
//! registers and the process's memory, as a profiler does.

use std::{
    env,
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    mem,
    os::unix::fs::FileExt as _,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use object::{
    LittleEndian as LE, Object as _, ObjectSection as _, ObjectSymbol as _, elf,
    read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _},
};

use super::{clear, publish};

const TRACE: u128 = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10;
const SPAN: u64 = 0x1112_1314_1516_1718;
const FLAGS: u8 = 3;

/// Has the process that the test starts play its part.
const PART: &str = "MONITORING_TEST_KERNEL_CONTEXT";

/// Where the variable is in the program's block of such: by the note, and where there is none, as on
/// arm64, by the symbol.
fn place(program: &[u8]) -> u64 {
    let file = ElfFile64::<LE>::parse(program).unwrap();
    let symbol = file
        .symbols()
        .find(|symbol| symbol.name() == Ok("otel_thread_ctx_v1"));
    let symbol = symbol.expect("the test program has its symbols").address();
    if cfg!(target_arch = "x86_64") {
        let note = file.section_by_name(".note.stratoswarm").unwrap();
        let note = note.data().unwrap();
        assert_eq!(note[..12], [12, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(&note[12..24], b"StratoSwarm\0");
        assert_eq!(note[24..32], symbol.to_le_bytes());
    }
    symbol
}

/// The address of a program's block of variables of a thread, by the thread's register.
fn block(program: &[u8], register: u64) -> u64 {
    let header = elf::FileHeader64::<LE>::parse(program).unwrap();
    let mut segments = header.program_headers(LE, program).unwrap().iter();
    let segment = segments
        .find(|segment| segment.p_type(LE) == elf::PT_TLS)
        .unwrap();
    let align = segment.p_align(LE);
    if cfg!(target_arch = "x86_64") {
        // Below the register: the block's end is where its alignment lets it be.
        register - segment.p_memsz(LE).next_multiple_of(align)
    } else {
        register + 16_u64.next_multiple_of(align)
    }
}

/// The register by which a thread finds its variables. The thread is stopped for that.
fn register(thread: i32) -> u64 {
    let check = |result: libc::c_long, what: &str| {
        assert!(result >= 0, "{what}: {}", std::io::Error::last_os_error());
    };
    // SAFETY: the calls are for a thread of a child, and write no more than they are given room for.
    unsafe {
        let none = std::ptr::null_mut::<libc::c_void>();
        check(
            libc::ptrace(libc::PTRACE_SEIZE, thread, none, none),
            "seize",
        );
        check(
            libc::ptrace(libc::PTRACE_INTERRUPT, thread, none, none),
            "interrupt",
        );
        check(
            libc::waitpid(thread, std::ptr::null_mut(), libc::__WALL).into(),
            "wait",
        );
        #[cfg(target_arch = "x86_64")]
        let value = {
            let mut registers: libc::user_regs_struct = mem::zeroed();
            let result = libc::ptrace(libc::PTRACE_GETREGS, thread, none, &raw mut registers);
            check(result, "read registers");
            registers.fs_base
        };
        #[cfg(target_arch = "aarch64")]
        let value = {
            /// `NT_ARM_TLS` of the kernel's `include/uapi/linux/elf.h`.
            const TLS: usize = 0x401;
            let mut value = 0_u64;
            let mut part = libc::iovec {
                iov_base: (&raw mut value).cast(),
                iov_len: mem::size_of::<u64>(),
            };
            let result = libc::ptrace(libc::PTRACE_GETREGSET, thread, TLS, &raw mut part);
            check(result, "read registers");
            value
        };
        check(
            libc::ptrace(libc::PTRACE_DETACH, thread, none, none),
            "detach",
        );
        value
    }
}

/// The record of a thread, if it has one.
fn record(program: &[u8], memory: &File, thread: i32) -> Option<[u8; 28]> {
    let mut pointer = [0; 8];
    let at = block(program, register(thread)) + place(program);
    memory.read_exact_at(&mut pointer, at).unwrap();
    let pointer = u64::from_le_bytes(pointer);
    let mut record = [0; 28];
    (pointer != 0).then(|| memory.read_exact_at(&mut record, pointer).unwrap())?;
    Some(record)
}

fn expected(trace: u128, span: u64, valid: u8) -> [u8; 28] {
    let mut record = [0; 28];
    record[..16].copy_from_slice(&trace.to_be_bytes());
    record[16..24].copy_from_slice(&span.to_be_bytes());
    record[24..26].copy_from_slice(&[valid, FLAGS]);
    record
}

fn line(answers: &mut impl std::io::BufRead) -> String {
    let lines = answers.lines().map(Result::unwrap);
    // The test harness speaks as well.
    lines
        .into_iter()
        .find_map(|line| Some(line.split_once("part: ")?.1.to_owned()))
        .unwrap()
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn another_process_sees_the_current_span_of_each_thread() {
    let name = "trace::kernel_context::tests::a_process_that_is_looked_at";
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(PART, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Ended(child.unwrap());
    let program = std::fs::read(format!("/proc/{}/exe", child.0.id())).unwrap();
    let memory = File::open(format!("/proc/{}/mem", child.0.id())).unwrap();
    let mut answers = BufReader::new(child.0.stdout.take().unwrap());
    let threads = line(&mut answers);
    let threads: Vec<i32> = threads.split(' ').map(|id| id.parse().unwrap()).collect();
    let [first, second, never] = threads[..] else {
        panic!("{threads:?}");
    };
    assert_eq!(
        record(&program, &memory, first),
        Some(expected(TRACE, SPAN, 1))
    );
    assert_eq!(
        record(&program, &memory, second),
        Some(expected(TRACE + 1, SPAN + 1, 1))
    );
    assert_eq!(record(&program, &memory, never), None);
    writeln!(child.0.stdin.as_ref().unwrap(), "clear").unwrap();
    assert_eq!(line(&mut answers), "cleared");
    assert_eq!(
        record(&program, &memory, first),
        Some(expected(TRACE, SPAN, 0))
    );
    assert_eq!(
        record(&program, &memory, second),
        Some(expected(TRACE + 1, SPAN + 1, 1))
    );
}

/// Nothing, unless the test above has started it.
#[test]
fn a_process_that_is_looked_at() {
    if env::var_os(PART).is_none() {
        return;
    }
    // SAFETY: the call has no preconditions.
    let own = || unsafe { libc::gettid() };
    let (tell, told) = mpsc::channel();
    // They end with the process, which the other one ends.
    for publishes in [true, false] {
        let tell = tell.clone();
        thread::spawn(move || {
            if publishes {
                publish(1, 1, 0);
                publish(TRACE + 1, SPAN + 1, FLAGS);
            }
            tell.send((!publishes, own())).unwrap();
            loop {
                thread::park();
            }
        });
    }
    publish(TRACE, SPAN, FLAGS);
    let mut others: Vec<(bool, i32)> = told.iter().take(2).collect();
    others.sort_unstable();
    println!("part: {} {} {}", own(), others[0].1, others[1].1);
    std::io::stdin().read_line(&mut String::new()).unwrap();
    clear();
    println!("part: cleared");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}
