//! What watching costs: the node's system calls, CPU time and memory, beside peers that do the
//! same work, in one run. Needs root and what `cargo xtask setup` installs.
//!
//! `cargo bench overhead`, or `cargo xtask bench`.

mod agent;
mod calls;
mod idle;
mod load;
mod messages;
mod process;
mod processes;
mod requests;
mod switches;
mod turns;

fn main() {
    println!(
        "monitoring-agent {}: what it costs\n",
        env!("CARGO_PKG_VERSION")
    );
    calls::measure();
    switches::measure();
    processes::measure();
    requests::measure();
    messages::measure();
    load::measure();
    idle::measure();
}
