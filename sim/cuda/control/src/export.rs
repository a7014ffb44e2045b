//! How functions are exported: a prologue that probes find cheap, and a body that is counted.

/// Exports functions with the C ABI, and makes `CALLS`, the table of them.
///
/// `fn name(arguments) { body }` returns a code, and its body is an [`crate::Outcome`];
/// `fn name(arguments) -> Type { body }` returns what its body returns.
/// `fn name | name_ptsz [null] (arguments) { body }` exports two functions of one body, in which
/// `null` is the [`crate::NullStream`] of the one that was called.
///
/// The crate has `LIBRARY` at its root. Functions so exported must not call each other: each of them
/// counts.
#[macro_export]
macro_rules! exports {
    // Functions are brought into one form, one after the other, and then exported together.
    (@read [$($done:tt)*] fn $name:ident | $second:ident [$null:ident] $arguments:tt $body:block
        $($rest:tt)*
    ) => {
        $crate::exports! {
            @read [$($done)* { $name [$second $null] $arguments [] $body }] $($rest)*
        }
    };
    (@read [$($done:tt)*] fn $name:ident $arguments:tt -> $out:ty $body:block $($rest:tt)*) => {
        $crate::exports! { @read [$($done)* { $name [] $arguments [$out] $body }] $($rest)* }
    };
    (@read [$($done:tt)*] fn $name:ident $arguments:tt $body:block $($rest:tt)*) => {
        $crate::exports! { @read [$($done)* { $name [] $arguments [] $body }] $($rest)* }
    };
    (@read [$({
        $name:ident [$($second:ident $null:ident)?] $arguments:tt [$($out:ty)?] $body:block
    })*]) => {
        $(
            $crate::entry!($name $arguments [$($out)?]);
            $($crate::entry!($second $arguments []);)?
        )*

        #[allow(non_snake_case, reason = "the names are CUDA's")]
        mod bodies {
            use super::*;
            $(
                $crate::body!($name $arguments [$($out)?] [$($null)?] Legacy $body);
                $($crate::body!($second $arguments [] [$null] PerThread $body);)?
            )*
        }

        #[allow(non_upper_case_globals, reason = "the names are CUDA's")]
        mod calls {
            $(
                pub(super) static $name: $crate::Call =
                    $crate::Call::new(stringify!($name), super::$name as *const ());
                $(
                    pub(super) static $second: $crate::Call =
                        $crate::Call::new(stringify!($second), super::$second as *const ());
                )?
            )*
        }

        pub(crate) static CALLS: &[&$crate::Call] = &[$(&calls::$name, $(&calls::$second,)?)*];
    };
    (fn $($functions:tt)*) => {
        $crate::exports! { @read [] fn $($functions)* }
    };
}

/// Exports functions that only return a code, whatever their arguments: `refused! { CODE: names }`.
/// They are counted like all others.
#[macro_export]
macro_rules! refused {
    ($code:ident: $($name:ident)*) => {
        $crate::exports! { @read [$({ $name [] () [] { Err($code) } })*] }
    };
}

/// The exported function. Its first instruction is `push %rbp`, as in the real libraries, which the
/// kernel emulates instead of stepping over it; then it goes on in the body, with all arguments
/// and the return address where they were.
#[doc(hidden)]
#[macro_export]
macro_rules! entry {
    ($name:ident ($($argument:ident : $type:ty),* $(,)?) [$($out:ty)?]) => {
        #[allow(non_snake_case, reason = "the name is CUDA's")]
        #[allow(clippy::too_many_arguments, reason = "the signature is CUDA's")]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        extern "C" fn $name($($argument: $type),*) -> $crate::returned!($($out)?) {
            #[cfg(target_arch = "x86_64")]
            ::core::arch::naked_asm!(
                "push rbp",
                "mov rbp, rsp",
                "pop rbp",
                "jmp {body}",
                body = sym bodies::$name,
            );
            #[cfg(target_arch = "aarch64")]
            ::core::arch::naked_asm!(
                "stp x29, x30, [sp, #-16]!",
                "mov x29, sp",
                "ldp x29, x30, [sp], #16",
                "b {body}",
                body = sym bodies::$name,
            );
        }
    };
}

/// What the exported function goes on in.
#[doc(hidden)]
#[macro_export]
#[allow(
    clippy::crate_in_macro_def,
    reason = "the library is the one that exports"
)]
macro_rules! body {
    ($name:ident ($($argument:ident : $type:ty),* $(,)?) [] [$($null:ident)?] $stream:ident $body:tt) => {
        #[allow(clippy::too_many_arguments, reason = "the signature is CUDA's")]
        pub(super) extern "C" fn $name($($argument: $type),*) -> u32 {
            calls::$name.run(&crate::LIBRARY, || {
                $(let $null = $crate::NullStream::$stream;)?
                $body
            })
        }
    };
    ($name:ident ($($argument:ident : $type:ty),* $(,)?) [$out:ty] [] Legacy $body:tt) => {
        #[allow(clippy::too_many_arguments, reason = "the signature is CUDA's")]
        pub(super) extern "C" fn $name($($argument: $type),*) -> $out {
            calls::$name.run_plain(&crate::LIBRARY, || $body)
        }
    };
}

/// What an exported function returns: a code, unless it says otherwise.
#[doc(hidden)]
#[macro_export]
macro_rules! returned {
    () => {
        u32
    };
    ($out:ty) => {
        $out
    };
}
