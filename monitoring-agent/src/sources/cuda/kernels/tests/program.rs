//! A real program, compiled for the test, with functions as CUDA's compilers make them.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

const SOURCE: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((noinline)) int _Z6matmulPfS_i(int x) { return x * 0x5bd1e995 + 17; }
__attribute__((noinline)) int _ZN2ns22__device_stub__softmaxEPf(int x) { return x * 0x27d4eb2f + 23; }
__attribute__((noinline)) static int __device_stub__Z6hiddenPf(int x) { return x * 0x165667b1 + 29; }

int main(void) {
    int (*functions[])(int) = {
        _Z6matmulPfS_i, _ZN2ns22__device_stub__softmaxEPf, __device_stub__Z6hiddenPf,
    };
    char byte;
    int lifeline[2];
    if (pipe(lifeline)) return 1;
    int fork_pid = fork();
    if (fork_pid == 0) {
        /* Until the parent ends. */
        close(lifeline[1]);
        close(1);
        return (int)read(lifeline[0], &byte, 1);
    }
    printf("%d %lx", fork_pid, (unsigned long)malloc(16));
    for (int each = 0; each < 3; each++) {
        printf(" %lx ", (unsigned long)functions[each]);
        for (int place = 0; place < 16; place++)
            printf("%02x", ((unsigned char *)functions[each])[place]);
    }
    printf("\n");
    fflush(stdout);
    return (int)read(0, &byte, 1);
}
"#;

/// How the program is linked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Link {
    WithSymbols,
    /// At addresses that are the same in every process.
    Fixed,
    /// Stripped, but for the functions that others may call.
    Exported,
    Stripped,
}

/// The running program, which ends when this is dropped.
pub(super) struct Program {
    pub(super) pid: u32,
    /// A child that it forked.
    pub(super) fork: u32,
    pub(super) heap: u64,
    pub(super) functions: [u64; 3],
    /// How each of the functions begins.
    pub(super) code: Vec<Vec<u8>>,
    child: Child,
    folder: TempDir,
}

impl Program {
    pub(super) fn start(link: Link) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("program.c");
        fs::write(&source, SOURCE).unwrap();
        let path = folder.path().join("program");
        let flags: &[&str] = match link {
            Link::WithSymbols => &["-fPIE", "-pie"],
            Link::Fixed => &["-fno-pie", "-no-pie"],
            Link::Exported => &["-fPIE", "-pie", "-rdynamic", "-s"],
            Link::Stripped => &["-fPIE", "-pie", "-s"],
        };
        let mut compiler = Command::new("cc");
        compiler
            .arg("-O1")
            .args(flags)
            .arg("-o")
            .arg(&path)
            .arg(&source);
        let status = compiler
            .status()
            .expect("this test compiles a program: install a C compiler as `cc` (package gcc)");
        assert!(status.success(), "{compiler:?}");
        let mut child = Command::new(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        let fields: Vec<&str> = said.split_ascii_whitespace().collect();
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let bytes = |text: &str| -> Vec<u8> {
            let places = (0..text.len()).step_by(2);
            places
                .map(|place| u8::from_str_radix(&text[place..place + 2], 16).unwrap())
                .collect()
        };
        Self {
            pid: child.id(),
            fork: fields[0].parse().unwrap(),
            heap: hex(fields[1]),
            functions: [2, 4, 6].map(|field| hex(fields[field])),
            code: [3, 5, 7]
                .iter()
                .map(|field| bytes(fields[*field]))
                .collect(),
            child,
            folder,
        }
    }

    /// The program's file.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("program")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
