//! The workload on the stand-ins: what it says it called is what they were called.

mod counts;
mod environment;
mod rig;
mod waits;
