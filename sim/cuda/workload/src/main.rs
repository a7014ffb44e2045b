//! The workload as a program.

fn main() -> anyhow::Result<()> {
    cuda_sim_workload::main()
}
