//! A stand-in for `libnvidia-ml.so.1`, with its C ABI, driven by a script.
//!
//! As a shared library it answers the calls that monitoring makes, from a script that lies beside
//! it: `libnvidia-ml.so.1.toml` for `libnvidia-ml.so.1`. `README.md` says what a script can say.
//! As a Rust library it puts the shared one into a folder, for tests. It is only ever used where
//! it is named; nothing finds it by itself.
//!
//! # Example
//!
//! ```no_run
//! let folder = std::path::Path::new("/tmp/gpus");
//! let library = nvml_sim::install(folder, "[[gpus]]\nmodel = \"h200\"\n");
//! nvml_sim::rewrite(&library, "[[gpus]]\nmodel = \"h200\"\nlost = true\n");
//! ```

#![deny(missing_docs)]
// The fields of NVML's structures are named as NVML names them.
#![allow(non_snake_case)]

#[macro_use]
mod dispatch;

mod abi;
mod afterlife;
mod clock;
mod exports;
mod handle;
mod install;
mod keys;
mod library;
mod models;
mod script;
mod unit;
mod values;
mod xids;

pub use install::{install, rewrite};
