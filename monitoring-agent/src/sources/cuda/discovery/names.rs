//! By which names CUDA's libraries are known.

use glob::Pattern;

/// Names of the files that are looked for.
#[derive(Clone, Debug)]
pub struct Names {
    globs: Vec<Glob>,
}

#[derive(Clone, Debug)]
struct Glob {
    /// What names begin with: compared first, because nearly no name does.
    begin: Vec<u8>,
    pattern: Pattern,
    library: Library,
}

/// Which library a file is by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Library {
    Runtime,
    Driver,
    /// What it is, its functions say.
    Named,
}

impl Default for Names {
    fn default() -> Self {
        let usual = [
            ("libcudart.so*", Library::Runtime),
            // This is how wheels rename the libraries that they bring along.
            ("libcudart-*.so*", Library::Runtime),
            ("libcuda.so*", Library::Driver),
        ];
        let globs = usual.map(|(text, library)| {
            let pattern = Pattern::new(text).expect("it is a pattern");
            Glob::new(pattern, library)
        });
        Self {
            globs: globs.into(),
        }
    }
}

impl Glob {
    fn new(pattern: Pattern, library: Library) -> Self {
        let text = pattern.as_str();
        let end = text.find(['*', '?', '[']).unwrap_or(text.len());
        Self {
            begin: text.as_bytes()[..end].to_owned(),
            pattern,
            library,
        }
    }
}

impl Names {
    /// The usual names, and further ones.
    pub fn with(further: &[Pattern]) -> Self {
        let mut names = Self::default();
        let further = further.iter().cloned();
        names
            .globs
            .extend(further.map(|pattern| Glob::new(pattern, Library::Named)));
        names
    }

    pub(super) fn library(&self, file_name: &[u8]) -> Option<Library> {
        let is_one = |glob: &&Glob| {
            file_name.starts_with(&glob.begin)
                && glob.pattern.matches(&String::from_utf8_lossy(file_name))
        };
        self.globs.iter().find(is_one).map(|glob| glob.library)
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

    #[test]
    fn further_names() {
        let patterns = ["libtorch*.so", "[ab]?", "*", "libcuda.so.1"];
        let patterns = patterns.map(|text| Pattern::new(text).unwrap());
        let check = |further: &[Pattern], name: &[u8], want| {
            assert_eq!(Names::with(further).library(name), want, "{further:?}");
        };
        check(&patterns[..1], b"libtorch_cuda.so", Some(Library::Named));
        check(&patterns[..1], b"libtorch_cuda.so.1", None);
        check(&patterns[1..2], b"b1", Some(Library::Named));
        check(&patterns[1..2], b"c1", None);
        check(&patterns[2..3], b"\xff", Some(Library::Named));
        // The usual ones stay what they are.
        check(&patterns[3..], b"libcuda.so.1", Some(Library::Driver));
    }
}
