//! `[sources.cuda]`.

use super::*;

fn globs(texts: &[&str]) -> Vec<glob::Pattern> {
    let globs = texts.iter().map(|text| glob::Pattern::new(text).unwrap());
    globs.collect()
}

#[test]
fn libraries_and_calls_are_chosen() {
    let file = "[sources.cuda]\nlibraries = ['libtorch*.so', 'train?']\ncalls = ['cu*']\n\
                exclude_calls = ['*Query', 'cuMemAlloc']\noverhead_budget = 0.25";
    let want = CudaConfig {
        enabled: true,
        libraries: globs(&["libtorch*.so", "train?"]),
        calls: globs(&["cu*"]),
        exclude_calls: globs(&["*Query", "cuMemAlloc"]),
        overhead_budget: 0.25,
    };
    assert_eq!(load_file(file).unwrap().config.sources.cuda, want);
    let config = load_file("[sources.cuda]\nenabled = false").unwrap().config;
    assert_eq!(config.sources.cuda.calls, globs(&["*"]));
}

#[test]
fn what_matches_nothing_is_an_error() {
    let check = |line: &str, key: &str, value: &str, fault: &str| {
        let error = load_file(&format!("[sources.cuda]\n{line}")).unwrap_err();
        let message = error.to_string();
        for part in [key, value, fault, "use a list of globs"] {
            assert!(message.contains(part), "{part}: {message}");
        }
    };
    let (calls, excluded) = ("sources.cuda.calls", "sources.cuda.exclude_calls");
    let libraries = "sources.cuda.libraries";
    let unknown = "is no call that is counted";
    check(
        "calls = ['cudaLunchKernel']",
        calls,
        "cudaLunchKernel",
        unknown,
    );
    check("calls = ['cuMem*', 'cu?']", calls, "\"cu?\"", unknown);
    // Versions of a call are all counted as the one.
    check("calls = ['cuMemAlloc_v2']", calls, "cuMemAlloc_v2", unknown);
    check("exclude_calls = ['hip*']", excluded, "hip*", unknown);
    check(
        "calls = 'cu*'",
        calls,
        "cu*",
        "a string where a list of globs belongs",
    );
    check(
        "calls = [7]",
        calls,
        "7",
        "a whole number where a glob belongs",
    );
    check("calls = ['']", calls, "''", "empty");
    check("exclude_calls = ['[a']", excluded, "[a", "at character");
    check(
        "libraries = ['/opt/libcudart.so']",
        libraries,
        "/opt",
        "has a /",
    );
}
