//! The C workload, built as programs that use CUDA are: with the runtime beside them or in them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Error, static_runtime};

/// The program's text.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/workload/c/workload.c");

/// Where a program has the runtime from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linkage {
    /// From `libcudart.so.12`, which is in the folder already.
    Dynamic,
    /// From itself; its symbol table names the runtime's functions.
    Static,
    /// From itself, and without a symbol table.
    Stripped,
}

/// Builds the C workload into a folder, by `cc`.
pub fn build_program(folder: &Path, linkage: Linkage) -> Result<PathBuf, Error> {
    let program = folder.join(format!("workload-{linkage:?}").to_lowercase());
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-g0", "-fno-omit-frame-pointer", "-pthread", "-o"])
        .arg(&program)
        .arg(SOURCE);
    match linkage {
        Linkage::Dynamic => {
            cc.arg(folder.join("libcudart.so.12"));
        }
        Linkage::Static | Linkage::Stripped => {
            cc.arg(static_runtime()?)
                .args(["-ldl", "-lm", "-Wl,--gc-sections"]);
        }
    }
    if linkage == Linkage::Stripped {
        cc.arg("-s");
    }
    let output = cc
        .output()
        .map_err(|source| crate::file(Path::new("cc"), source))?;
    if output.status.success() {
        Ok(program)
    } else {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::Compiler(said))
    }
}
