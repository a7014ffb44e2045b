//! By which names CUDA's libraries are known.

use glob::Pattern;

/// Names of files, as patterns.
#[derive(Clone, Debug)]
pub struct Names {
    /// Of CUDA's runtime library.
    pub runtime: Vec<Pattern>,
    /// Of the driver's.
    pub driver: Vec<Pattern>,
}

/// Which library a file is by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Library {
    Runtime,
    Driver,
}

impl Default for Names {
    fn default() -> Self {
        let patterns = |texts: &[&str]| {
            let patterns = texts.iter().map(|text| Pattern::new(text));
            patterns
                .collect::<Result<_, _>>()
                .expect("they are patterns")
        };
        Self {
            // The second is how wheels rename the libraries that they bring along.
            runtime: patterns(&["libcudart.so*", "libcudart-*.so*"]),
            driver: patterns(&["libcuda.so*"]),
        }
    }
}

impl Names {
    pub(super) fn library(&self, file_name: &[u8]) -> Option<Library> {
        let name = String::from_utf8_lossy(file_name);
        let is_one = |patterns: &[Pattern]| patterns.iter().any(|each| each.matches(&name));
        if is_one(&self.runtime) {
            Some(Library::Runtime)
        } else {
            is_one(&self.driver).then_some(Library::Driver)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names() {
        let check = |name: &[u8], want| assert_eq!(Names::default().library(name), want);
        check(b"libcudart.so", Some(Library::Runtime));
        check(b"libcudart.so.12.9.79", Some(Library::Runtime));
        check(b"libcudart-d0da41ae.so.11.0", Some(Library::Runtime));
        check(b"libcuda.so.1", Some(Library::Driver));
        check(b"libcuda.so.570.124.06", Some(Library::Driver));
        check(b"libcudadebugger.so.1", None);
        check(b"xlibcuda.so.1", None);
        check(b"", None);
        check(b"libcuda.so.\xff", Some(Library::Driver));
    }
}
