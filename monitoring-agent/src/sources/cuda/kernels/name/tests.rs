//! Names as compilers make them, and as tenants could.

use proptest::prelude::*;

use super::{FULL_CHARS, LABEL_CHARS, Name};

fn check(symbol: &str, full: &str, label: &str) {
    let name = Name::new(symbol.as_bytes(), false);
    assert_eq!((&*name.full, &*name.label), (full, label), "{symbol}");
}

#[test]
fn plain_names_stay() {
    for plain in [
        "matmul",
        "triton_poi_fused_add_0",
        "_Zzz",
        "_Z",
        "_RNot",
        "x::y<1>",
    ] {
        check(plain, plain, plain);
    }
}

#[test]
fn kernels_of_one_file_where_device_code_is_linked() {
    let file = "__nv_static_32__1ee052b7_10_kernels_cu_bf9853d2_";
    check(
        &format!("{file}_Z8internalPi"),
        "internal(int*)",
        "internal",
    );
    check(&format!("{file}plain"), "plain", "plain");
    for other in [
        file,
        "__nv_static_99_x",
        "__nv_static_99999999999999999999_x_y",
        "__nv_static__x",
        "__nv_static_1_xy_z",
    ] {
        check(other, other, other);
    }
}

#[test]
fn cpp_names() {
    check("_Z6matmulPfS_i", "matmul(float*, float*, int)", "matmul");
    check(
        "_Z11mul_mat_vecIL9ggml_type13ELi2EEvPKvS2_Pfii",
        "void mul_mat_vec<(ggml_type)13, 2>(void const*, void const*, float*, int, int)",
        "mul_mat_vec",
    );
    check(
        "_ZN2at6native29vectorized_elementwise_kernelILi4ENS0_11FillFunctorIfEESt5arrayIPcLm1EEEEviT0_T1_",
        "void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>, \
         std::array<char*, (unsigned long)1> >(int, at::native::FillFunctor<float>, std::array<char*, (unsigned long)1>)",
        "at::native::vectorized_elementwise_kernel",
    );
    check(
        "_ZN3cub6detail5InnerIfE3runIiEEvT_",
        "void cub::detail::Inner<float>::run<int>(int)",
        "cub::detail::Inner::run",
    );
    check(
        "_ZN44_GLOBAL__N__a3b8f3d2_9_kernel_cu_0e52d0a0_776kernelEi",
        "(anonymous namespace)::kernel(int)",
        "(anonymous namespace)::kernel",
    );
    check("_ZlsR1AI1BE", "operator<<(A<B>&)", "operator<<");
    check("_ZltI1AEvT_S1_", "void operator< <A>(A, A)", "operator<");
    check(
        "_ZgtI1AI1BEEvT_",
        "void operator><A<B> >(A<B>)",
        "operator>",
    );
    check(
        "_ZZN2at6native11launch_funcIfEEvRNS_6TensorEENKUlfE_clEf",
        "void at::native::launch_func<float>(at::Tensor&)::{lambda(float)#1}::operator()(float) const",
        "at::native::launch_func(at::Tensor&)::{lambda(float)#1}::operator() const",
    );
}

#[test]
fn rust_names() {
    check(
        "_ZN6kernel3add17h0123456789abcdefE",
        "kernel::add",
        "kernel::add",
    );
    check(
        "_RINvCs1234_7mycrate3addfE",
        "mycrate::add::<f32>",
        "mycrate::add",
    );
}

#[test]
fn what_is_cut_keeps_its_label() {
    let symbol = b"_ZN2at6native27unrolled_elementwise_kernelINS0_13BinaryFun";
    let name = Name::new(symbol, true);
    assert_eq!(&*name.label, "at::native::unrolled_elementwise_kernel");
    let full = format!("{}…", str::from_utf8(symbol).unwrap());
    assert_eq!(*name.full, *full);
    // A number that claims more than there is.
    let name = Name::new(b"_ZN2at99999999999999999999999kernel", true);
    assert_eq!(&*name.label, "at");
}

#[test]
fn hostile_names_are_harmless() {
    check("a\nb\u{1b}[31m", r"a\nb\u{1b}[31m", r"a\nb\u{1b}[31m");
    check("a\0b", "a", "a");
    check(r"back\slash", r"back\\slash", r"back\\slash");
    check("_Z3a\nbv", r"_Z3a\nbv", r"a\nb");
    let name = Name::new(b"\xff{kernel=\"x\"}", false);
    assert_eq!(&*name.label, r#"\xff{kernel="x"}"#);
    let name = Name::new(&[b'x'; 1_023], false);
    assert_eq!(name.label.chars().count(), LABEL_CHARS);
    assert_eq!(name.full.len(), 1_023);
}

/// Each part of the name is two of the one before it: text of a length that no one could write.
#[test]
fn names_that_grow_are_cut() {
    let parts: Vec<_> = (0..16)
        .map(|step| format!("1AI{0}{0}E", sequence(2 * step)))
        .collect();
    let symbol = format!("_Z1fI1A{}EvT_", parts.concat());
    let name = Name::new(symbol.as_bytes(), false);
    assert_eq!(name.full.chars().count(), FULL_CHARS - 1);
    assert!(name.full.ends_with('…'), "{}", name.full);
    assert_eq!(&*name.label, "f");
}

/// A reference to an earlier part: `S1_`, and so on, in base 36.
fn sequence(step: u32) -> String {
    let digit = |value| char::from_digit(value, 36).unwrap().to_ascii_uppercase();
    match step {
        0..36 => format!("S{}_", digit(step)),
        _ => format!("S{}{}_", digit(step / 36), digit(step % 36)),
    }
}

proptest! {
    #[test]
    fn any_bytes_become_a_label(bytes: Vec<u8>, cut: bool) {
        harmless(&Name::new(&bytes, cut));
    }

    #[test]
    fn anything_like_a_symbol_becomes_a_label(
        symbol in "(_Z|_ZN|_R|_ZL)[A-Za-z0-9_\\n\\\\é]{0,200}(17h0123456789abcdefE)?",
        cut: bool,
    ) {
        harmless(&Name::new(symbol.as_bytes(), cut));
    }
}

fn harmless(name: &Name) {
    assert!(name.full.chars().count() <= FULL_CHARS);
    assert!(name.label.chars().count() <= LABEL_CHARS);
    for text in [&*name.full, &*name.label] {
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}
