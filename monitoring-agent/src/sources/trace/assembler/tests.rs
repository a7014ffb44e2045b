//! Each rule by which a span finds its parent, its trace and its process, and that nothing is lost
//! uncounted.

mod rig;
mod rules;
mod sums;
