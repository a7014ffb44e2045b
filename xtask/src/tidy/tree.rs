//! The repository as text, and what is said about it. Rules see the tree and no file system, so
//! that a few words make a repository for their tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::command::{command, read};

/// Folders with nothing of ours: version control, downloads, and what cargo builds.
const FOREIGN: [&str; 3] = [".git", ".tools", "target"];

/// Files by path relative to the root, with `/` between folders.
pub(super) struct Tree {
    files: BTreeMap<String, String>,
    folders: BTreeSet<String>,
}

impl Tree {
    /// Reads the files that git knows or would take in; where git knows none, all files below the
    /// folder. Those that are not text are present, but empty.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let names = match known_to_git(root) {
            Some(names) => names,
            None => on_disk(root)?,
        };
        let mut files = BTreeMap::new();
        for name in names {
            let path = root.join(&name);
            // Git also names what was just deleted, and links that lead nowhere or to a folder.
            if path.is_file() {
                let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
                files.insert(name, String::from_utf8(bytes).unwrap_or_default());
            }
        }
        Ok(Self::from_files(files))
    }

    fn from_files(files: BTreeMap<String, String>) -> Self {
        let parents = |path: &String| {
            let ends = path
                .match_indices('/')
                .map(|(end, _)| end)
                .collect::<Vec<_>>();
            ends.into_iter()
                .map(|end| path[..end].to_owned())
                .collect::<Vec<_>>()
        };
        let folders = files.keys().flat_map(parents).collect();
        Self { files, folders }
    }

    /// A tree for a test.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let owned = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Self::from_files(owned.collect())
    }

    /// Number of files.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// All files' paths.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// A file's text.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether there is a file or folder of this path.
    pub(super) fn exists(&self, path: &str) -> bool {
        path.is_empty() || self.files.contains_key(path) || self.folders.contains(path)
    }

    /// Files of one of these extensions, with their text.
    pub(super) fn with_extension<'a>(
        &'a self,
        extensions: &'a [&str],
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let wanted = |path: &str| {
            let extension = Path::new(path).extension().unwrap_or_default();
            extensions.iter().any(|wanted| extension == *wanted)
        };
        let all = self
            .files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()));
        all.filter(move |(path, _)| wanted(path))
    }

    /// Rust files, with their text and syntax. Those that do not parse are the compiler's affair.
    pub(super) fn rust(&self) -> impl Iterator<Item = (&str, &str, syn::File)> {
        let sources = self.with_extension(&["rs"]);
        sources.filter_map(|(path, text)| Some((path, text, syn::parse_file(text).ok()?)))
    }
}

/// Files that are tracked, and those that are neither tracked nor ignored. Absent if there are
/// none, because this is no checkout or there is no git.
fn known_to_git(root: &Path) -> Option<Vec<String>> {
    let list = ["ls-files", "-co", "--exclude-standard", "-z"];
    let listed = read(&mut command(root, "git", &list)).ok()?;
    let names = listed.split('\0').filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(str::to_owned).collect();
    (!names.is_empty()).then_some(names)
}

/// What lies below a folder, and is not a folder itself.
fn on_disk(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        let context = || format!("read {}", folder.display());
        for entry in fs::read_dir(&folder).with_context(context)? {
            let entry = entry.with_context(context)?;
            let path = entry.path();
            if FOREIGN.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if entry.file_type().with_context(context)?.is_dir() {
                waiting.push(path);
                continue;
            }
            let below = path
                .strip_prefix(root)
                .context("a file lies below its root")?;
            names.push(below.to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// One thing to do.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    file: String,
    line: usize,
    what: String,
}

impl Finding {
    /// `what` says what is wrong, and what to do.
    pub(super) fn new(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Fails a test unless the findings are at these places, `file:line`, in this order.
#[cfg(test)]
#[track_caller]
pub(super) fn expect(findings: &[Finding], want: &[&str]) {
    let place = |finding: &Finding| format!("{}:{}", finding.file, finding.line);
    let places: Vec<String> = findings.iter().map(place).collect();
    assert_eq!(places, want, "{findings:#?}");
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn knows_files_and_folders() {
        let tree = Tree::of(&[("a/b/c.rs", "//! c"), ("README.md", "text")]);
        for path in ["", "a", "a/b", "a/b/c.rs", "README.md"] {
            assert!(tree.exists(path), "{path}");
        }
        assert!(!tree.exists("a/b/c"));
        assert_eq!(tree.with_extension(&["md"]).count(), 1);
        assert_eq!(tree.rust().count(), 1);
    }

    #[test]
    fn reads_text_and_leaves_out_what_is_foreign() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["target", "src"] {
            fs::create_dir(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join("a.rs"), "//! a").unwrap();
        }
        fs::write(root.path().join("picture"), [0xff, 0xfe]).unwrap();
        symlink("nowhere", root.path().join("link")).unwrap();
        let tree = Tree::read(root.path()).unwrap();
        assert_eq!(tree.paths().collect::<Vec<_>>(), ["picture", "src/a.rs"]);
        assert_eq!(tree.text("picture"), Some(""));
    }

    #[test]
    fn reads_what_git_knows_or_would_take_in() {
        let root = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            read(&mut command(root.path(), "git", arguments)).expect("git is there, by setup")
        };
        git(&["init"]);
        fs::write(root.path().join(".gitignore"), "ignored\n").unwrap();
        for name in ["deleted", "ignored", "new", "tracked"] {
            fs::write(root.path().join(name), name).unwrap();
        }
        symlink("nowhere", root.path().join("link")).unwrap();
        git(&["add", "deleted", "link", "tracked"]);
        fs::remove_file(root.path().join("deleted")).unwrap();
        let tree = Tree::read(root.path()).unwrap();
        let paths: Vec<&str> = tree.paths().collect();
        assert_eq!(paths, [".gitignore", "new", "tracked"]);
        assert_eq!(tree.text("new"), Some("new"));
    }
}
