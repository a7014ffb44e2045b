//! Files that are not what their names say, and names that are not what people expect.

use std::{
    ffi::{CString, OsStr},
    fs::{self, OpenOptions},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

use super::*;

/// Maps a file to execute it, as the linker would if it were a library.
const MAPPER: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
int main(int count, char **arguments) {
    int file = open(arguments[1], O_RDONLY);
    if (count != 2 || mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0) == MAP_FAILED) {
        perror(arguments[1]);
        return 1;
    }
    puts("mapped");
    fflush(stdout);
    getchar();
}
"#;

/// A program that has mapped a file.
fn mapper(folder: &TempDir, file: &Path) -> Program {
    let program = folder.path().join("mapper");
    if !program.exists() {
        compile(MAPPER, &program, &[]);
    }
    let mut program = Program::start(folder.path(), Command::new(program).arg(file));
    program.line("mapped");
    program
}

/// A library whose tables claim to have four gigabytes each.
fn claims_gigabytes(library: &[u8]) -> Vec<u8> {
    let mut bytes = library.to_vec();
    let number = |bytes: &[u8], at: usize, length: usize| {
        let mut number = [0; 8];
        number[..length].copy_from_slice(&bytes[at..at + length]);
        usize::try_from(u64::from_le_bytes(number)).unwrap()
    };
    // Of the file's head: where the sections' heads are, and how many of 64 bytes there are.
    let (heads, count) = (number(&bytes, 0x28, 8), number(&bytes, 0x3c, 2));
    for head in (heads..).step_by(64).take(count) {
        // The tables of symbols are of these types; their size is 32 bytes into the head.
        if [2, 11].contains(&number(&bytes, head + 4, 4)) {
            bytes[head + 32..head + 40].copy_from_slice(&(4_u64 << 30).to_le_bytes());
        }
    }
    bytes
}

/// A file of this name in a folder of its own.
fn place(folder: &TempDir, own: &OsStr, name: &str, content: &[u8]) -> PathBuf {
    let own = folder.path().join(own);
    fs::create_dir(&own).unwrap();
    let file = own.join(name);
    fs::write(&file, content).unwrap();
    file
}

#[test]
fn hostile_files_are_told_of_once_and_skipped() {
    let folder = libraries();
    let agent = agent(folder.path());
    let driver = fs::read(folder.path().join("libcuda.so.1")).unwrap();
    let name = "libcudart.so.12";
    let torn = place(&folder, "torn".as_ref(), name, &driver[..driver.len() / 2]);
    let text = place(&folder, "text".as_ref(), name, &[b'x'; 5_000]);
    let large = place(&folder, "large".as_ref(), name, &claims_gigabytes(&driver));
    let mut programs: Vec<_> = [&torn, &text, &large]
        .map(|file| mapper(&folder, file))
        .into();
    covered(&agent, "unreadable", 3);
    // What is mapped is a library, whatever takes its place: a pipe, which nobody writes to.
    let odd = OsStr::from_bytes(b"a\n\"b\\\xff\" (deleted)");
    let odd = place(&folder, odd, "libcuda.so.1", &driver);
    let mut whole = mapper(&folder, &odd);
    fs::remove_file(&odd).unwrap();
    let pipe = CString::new(odd.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is zero-ended.
    assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
    covered(&agent, "attached", 1);
    // Cut while it is probed. Nothing tells of that, until a look at something else.
    let cut = place(&folder, "cut".as_ref(), "libcuda.so.1", &driver);
    programs.push(mapper(&folder, &cut));
    covered(&agent, "attached", 2);
    let file = OpenOptions::new().write(true).open(&cut).unwrap();
    file.set_len(4_096).unwrap();
    let arguments = format!("--api driver {WORK} --wait loaded,end");
    let mut program = Program::workload(folder.path(), &arguments);
    program.line("Loaded");
    covered(&agent, "unreadable", 4);
    covered(&agent, "attached", 2);
    let said: Vec<String> = agent.process.log().lines().map(str::to_owned).collect();
    for file in [&torn, &text, &large, &cut] {
        let path = file.to_str().unwrap();
        let lines = said.iter().filter(|line| line.contains(path));
        let lines = lines.filter(|line| line.contains("its calls into CUDA are not counted"));
        assert_eq!(lines.count(), 1, "{path}: {said:#?}");
    }
    assert!(
        said.iter().all(|line| !line.contains('\u{fffd}')),
        "{said:#?}"
    );
    // And all others are counted as ever.
    counted(&agent, &mut program, 0.0);
    whole.go_on();
    for program in &mut programs {
        program.go_on();
    }
    covered(&agent, "unreadable", 0);
    covered(&agent, "attached", 1);
    assert_eq!(agent.get("/healthz").0, 200);
}
