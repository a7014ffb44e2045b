//! Gives the library the name that programs know it by, and leaves it no symbol table but the
//! dynamic one, as NVIDIA's has none.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcuda.so.1");
    println!("cargo::rustc-cdylib-link-arg=-Wl,--strip-all");
}
