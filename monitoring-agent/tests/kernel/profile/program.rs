//! Functions whose stacks are known to the last address, because they are written down instruction
//! by instruction: with frame pointers, and one without.

use std::arch::global_asm;

// `profile_chain(leaf, iterations, depth)` ends the chain of frame pointers with 0, as whoever starts
// a thread does; `profile_descend` calls itself `depth` times and then the leaf; leaves count down.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl profile_chain, profile_after_chain, profile_after_descend, profile_after_leaf",
    ".globl profile_leaf_a, profile_leaf_b, profile_leaf_c, profile_leaves_end",
    ".globl profile_frameless, profile_touch_a, profile_touch_b, profile_touches_end",
    "profile_chain:",
    "    push rbp",
    "    xor ebp, ebp",
    "    call profile_descend",
    "profile_after_chain:",
    "    pop rbp",
    "    ret",
    "profile_descend:",
    "    push rbp",
    "    mov rbp, rsp",
    "    test rdx, rdx",
    "    jz 2f",
    "    dec rdx",
    "    call profile_descend",
    "profile_after_descend:",
    "    jmp 3f",
    "2:  call rdi",
    "profile_after_leaf:",
    "3:  pop rbp",
    "    ret",
    ".p2align 6",
    "profile_leaf_a:",
    "    push rbp",
    "    mov rbp, rsp",
    ".p2align 6",
    "4:  dec rsi",
    "    jnz 4b",
    "    pop rbp",
    "    ret",
    ".p2align 6",
    "profile_leaf_b:",
    "    push rbp",
    "    mov rbp, rsp",
    ".p2align 6",
    "5:  dec rsi",
    "    jnz 5b",
    "    pop rbp",
    "    ret",
    ".p2align 6",
    "profile_leaf_c:",
    "    push rbp",
    "    mov rbp, rsp",
    ".p2align 6",
    "6:  dec rsi",
    "    jnz 6b",
    "    pop rbp",
    "    ret",
    "profile_leaves_end:",
    "profile_frameless:",
    "    push rbp",
    "    mov ebp, 12345",
    "7:  dec rsi",
    "    jnz 7b",
    "    pop rbp",
    "    ret",
    "profile_frameless_end:",
    "profile_touch_a:",
    "    push rbp",
    "    mov rbp, rsp",
    "    mov rax, [rsi]",
    "8:  mov byte ptr [rax], 1",
    "    add rax, 4096",
    "    cmp rax, [rsi + 8]",
    "    jb 8b",
    "    pop rbp",
    "    ret",
    "profile_touch_b:",
    "    push rbp",
    "    mov rbp, rsp",
    "    mov rax, [rsi]",
    "9:  mov byte ptr [rax], 1",
    "    add rax, 4096",
    "    cmp rax, [rsi + 8]",
    "    jb 9b",
    "    pop rbp",
    "    ret",
    "profile_touches_end:",
);

// The same; a frame is the old frame pointer and the return address, as on x86-64.
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl profile_chain, profile_after_chain, profile_after_descend, profile_after_leaf",
    ".globl profile_leaf_a, profile_leaf_b, profile_leaf_c, profile_leaves_end",
    ".globl profile_frameless, profile_touch_a, profile_touch_b, profile_touches_end",
    "profile_chain:",
    "    stp x29, x30, [sp, #-16]!",
    "    mov x29, #0",
    "    bl profile_descend",
    "profile_after_chain:",
    "    ldp x29, x30, [sp], #16",
    "    ret",
    "profile_descend:",
    "    stp x29, x30, [sp, #-16]!",
    "    mov x29, sp",
    "    cbz x2, 2f",
    "    sub x2, x2, #1",
    "    bl profile_descend",
    "profile_after_descend:",
    "    b 3f",
    "2:  blr x0",
    "profile_after_leaf:",
    "3:  ldp x29, x30, [sp], #16",
    "    ret",
    "profile_leaf_a:",
    "    stp x29, x30, [sp, #-16]!",
    "    mov x29, sp",
    "4:  subs x1, x1, #1",
    "    b.ne 4b",
    "    ldp x29, x30, [sp], #16",
    "    ret",
    "profile_leaf_b:",
    "    stp x29, x30, [sp, #-16]!",
    "    mov x29, sp",
    "5:  subs x1, x1, #1",
    "    b.ne 5b",
    "    ldp x29, x30, [sp], #16",
    "    ret",
    "profile_leaf_c:",
    "    stp x29, x30, [sp, #-16]!",
    "    mov x29, sp",
    "6:  subs x1, x1, #1",
    "    b.ne 6b",
    "    ldp x29, x30, [sp], #16",
    "    ret",
    "profile_leaves_end:",
    "profile_frameless:",
    "    stp x29, x30, [sp, #-16]!",
    "    mov x29, #12345",
    "7:  subs x1, x1, #1",
    "    b.ne 7b",
    "    ldp x29, x30, [sp], #16",
    "    ret",
    "profile_frameless_end:",
    "profile_touch_a:",
    "    stp x29, x30, [sp, #-16]!",
    "    mov x29, sp",
    "    ldp x3, x4, [x1]",
    "8:  strb w3, [x3]",
    "    add x3, x3, #4096",
    "    cmp x3, x4",
    "    b.lo 8b",
    "    ldp x29, x30, [sp], #16",
    "    ret",
    "profile_touch_b:",
    "    stp x29, x30, [sp, #-16]!",
    "    mov x29, sp",
    "    ldp x3, x4, [x1]",
    "9:  strb w3, [x3]",
    "    add x3, x3, #4096",
    "    cmp x3, x4",
    "    b.lo 9b",
    "    ldp x29, x30, [sp], #16",
    "    ret",
    "profile_touches_end:",
);

unsafe extern "C" {
    fn profile_chain(leaf: unsafe extern "C" fn(u64, u64), iterations: u64, depth: u64);
    fn profile_leaf_a(unused: u64, iterations: u64);
    fn profile_leaf_b(unused: u64, iterations: u64);
    fn profile_leaf_c(unused: u64, iterations: u64);
    fn profile_frameless(unused: u64, iterations: u64);
    fn profile_touch_a(unused: u64, range: u64);
    fn profile_touch_b(unused: u64, range: u64);
    static profile_after_chain: u8;
    static profile_after_descend: u8;
    static profile_after_leaf: u8;
    static profile_leaves_end: u8;
    static profile_touches_end: u8;
}

/// The function that does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaf {
    A,
    B,
    C,
    /// Uses the frame pointer for something else.
    Frameless,
    /// Write into each page.
    TouchA,
    TouchB,
}

pub(super) const LEAVES: [Leaf; 6] = [
    Leaf::A,
    Leaf::B,
    Leaf::C,
    Leaf::Frameless,
    Leaf::TouchA,
    Leaf::TouchB,
];

impl Leaf {
    fn function(self) -> unsafe extern "C" fn(u64, u64) {
        match self {
            Self::A => profile_leaf_a,
            Self::B => profile_leaf_b,
            Self::C => profile_leaf_c,
            Self::Frameless => profile_frameless,
            Self::TouchA => profile_touch_a,
            Self::TouchB => profile_touch_b,
        }
    }

    /// Counts down at the end of a chain of calls.
    pub(super) fn run(self, iterations: u64, depth: u64) {
        // SAFETY: the functions keep to the C calling convention and touch no memory but the stack.
        unsafe { profile_chain(self.function(), iterations, depth) }
    }

    /// Touches memory at the end of a chain of calls.
    pub(super) fn touch(self, start: u64, bytes: u64, depth: u64) {
        let range = [start, start + bytes];
        // SAFETY: as above, but for the memory that the caller gives.
        unsafe { profile_chain(self.function(), &raw const range as u64, depth) }
    }

    /// Which function an address is in.
    pub(super) fn at(address: u64) -> Option<Self> {
        let ends = [
            profile_leaf_b as *const () as u64,
            profile_leaf_c as *const () as u64,
            &raw const profile_leaves_end as u64,
            profile_touch_a as *const () as u64,
            profile_touch_b as *const () as u64,
            &raw const profile_touches_end as u64,
        ];
        if address < profile_leaf_a as *const () as u64 {
            return None;
        }
        let place = ends.iter().position(|end| address < *end)?;
        Some(LEAVES[place])
    }
}

/// The return addresses on the stack while a leaf counts, next to the leaf first.
pub(super) fn callers(depth: usize) -> Vec<u64> {
    let leaf = &raw const profile_after_leaf as u64;
    let descend = &raw const profile_after_descend as u64;
    let chain = &raw const profile_after_chain as u64;
    let descends = std::iter::repeat_n(descend, depth);
    [leaf].into_iter().chain(descends).chain([chain]).collect()
}
