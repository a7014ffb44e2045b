//! A stand-in for `libnvidia-ml.so.1`, with its C ABI, driven by a script.
