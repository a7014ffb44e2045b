//! Tells the kernel programs for which machine they are: the BPF target is the same for all.

fn main() -> aya_build::Result<()> {
    aya_build::emit_bpf_target_arch_cfg()
}
