//! Spans as an application makes them, and as a sink gets them.
//!
//! Knows nothing of how a span is kept: that has its tests beside it.

mod collected;
mod current;
mod futures;
mod kept;
mod nodes;
mod sampled;
