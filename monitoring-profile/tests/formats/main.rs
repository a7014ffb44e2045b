//! What profiles are written as and read from, seen from outside.

mod any;
mod damaged;
mod graphs;
mod round_trips;
mod sums;
mod wire;
