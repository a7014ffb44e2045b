//! Real processes that load libraries. Needs root, as the agent does: only root may open a deleted
//! file that another process has mapped.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use tempfile::TempDir;

use super::{DRIVER, RUNTIME, accept, build, coverage, library, users};
use crate::sources::cuda::discovery::{Coverage, Discovery};

/// Loads each path that it reads, and answers.
const LOADER: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
int main(void) {
    char path[4096];
    puts("ready");
    fflush(stdout);
    while (fgets(path, sizeof path, stdin)) {
        path[strcspn(path, "\n")] = 0;
        puts(dlopen(path, RTLD_NOW) ? "loaded" : dlerror());
        fflush(stdout);
    }
}
"#;

pub(super) struct Loader {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Loader {
    pub(super) fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut loader = Self { child, answers };
        assert_eq!(loader.answer(), "ready");
        loader
    }

    pub(super) fn load(&mut self, path: &Path) {
        let mut input = self.child.stdin.as_ref().unwrap();
        writeln!(input, "{}", path.display()).unwrap();
        assert_eq!(self.answer(), "loaded");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) struct Place {
    folder: TempDir,
    pub(super) loader: PathBuf,
    pub(super) discovery: Discovery,
}

impl Place {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let loader = folder.path().join("loader");
        build(LOADER, &[], &loader);
        Self {
            folder,
            loader,
            // Only processes that are named are looked at: others on the machine are not ours.
            discovery: Discovery::new(Path::new("/proc")),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The loader in a mount namespace of its own, in which a command has been run before.
    fn apart(&self, command: &str) -> Loader {
        let script = format!("{command} && exec {}", self.loader.display());
        Loader::start(Command::new("unshare").args(["--mount", "sh", "-ec", &script]))
    }
}

#[test]
fn libraries_loaded_late_are_found() {
    let mut place = Place::new();
    let (driver, runtime) = (place.path("libcuda.so.1"), place.path("libcudart.so.12"));
    library(DRIVER, &driver);
    library(RUNTIME, &runtime);
    let mut loader = Loader::start(&mut Command::new(&place.loader));
    let pid = loader.pid();
    let look = place.discovery.look_at(&[pid]);
    assert!(look.found.is_empty());
    assert_eq!(coverage(&place.discovery, pid), None);
    for library in [driver, runtime] {
        loader.load(&library);
        let look = place.discovery.look_at(&[pid]);
        assert_eq!(look.found.len(), 1, "{look:?}");
        assert_eq!(look.found[0].path, library.to_str().unwrap());
        accept(&mut place.discovery, &look);
        assert_eq!(coverage(&place.discovery, pid), Some(Coverage::Attached));
    }
    assert!(place.discovery.look_at(&[pid]).found.is_empty());
    drop(loader);
    place.discovery.look_at(&[pid]);
    assert_eq!(coverage(&place.discovery, pid), None);
}

#[test]
fn a_deleted_library_is_opened_and_its_successor_is_another() {
    let mut place = Place::new();
    let path = place.path("libcudart.so.12");
    library(RUNTIME, &path);
    let mut first = Loader::start(&mut Command::new(&place.loader));
    first.load(&path);
    fs::remove_file(&path).unwrap();
    library(
        &format!("{RUNTIME}int cudaMalloc(void) {{ return 0; }}"),
        &path,
    );
    let mut second = Loader::start(&mut Command::new(&place.loader));
    second.load(&path);
    let look = place.discovery.look_at(&[first.pid(), second.pid()]);
    let points = look.found.iter();
    let mut points: Vec<_> = points
        .map(|found| (found.points.len(), users(&place.discovery, found.key)))
        .collect();
    points.sort_unstable();
    assert_eq!(points, [(1, vec![first.pid()]), (2, vec![second.pid()])]);
}

#[test]
fn a_library_in_another_mount_namespace_is_found() {
    let mut place = Place::new();
    let inner = place.path("inner");
    fs::create_dir(&inner).unwrap();
    let outer = place.path("outer");
    library(RUNTIME, &outer);
    let inside = inner.join("libcudart.so.12");
    let command = format!(
        "mount -t tmpfs none {0} && cp {1} {2}",
        inner.display(),
        outer.display(),
        inside.display()
    );
    let mut loader = place.apart(&command);
    loader.load(&inside);
    assert!(!inside.exists());
    let look = place.discovery.look_at(&[loader.pid()]);
    assert_eq!(look.found.len(), 1, "{look:?}");
    accept(&mut place.discovery, &look);
    let state = coverage(&place.discovery, loader.pid());
    assert_eq!(state, Some(Coverage::Attached));
}

#[test]
fn one_image_in_two_containers_is_one_file() {
    let mut place = Place::new();
    let (image, empty, merged) = (
        place.path("image"),
        place.path("empty"),
        place.path("merged"),
    );
    for folder in [&image, &empty, &merged] {
        fs::create_dir(folder).unwrap();
    }
    library(RUNTIME, &image.join("libcudart.so.12"));
    let command = format!(
        "mount -t overlay overlay -o lowerdir={}:{} {}",
        image.display(),
        empty.display(),
        merged.display()
    );
    let mut containers = [place.apart(&command), place.apart(&command)];
    let mut node = Loader::start(&mut Command::new(&place.loader));
    node.load(&image.join("libcudart.so.12"));
    for container in &mut containers {
        container.load(&merged.join("libcudart.so.12"));
    }
    let [one, two] = containers.each_ref().map(Loader::pid);
    let look = place.discovery.look_at(&[one, two, node.pid()]);
    assert_eq!(look.found.len(), 1, "{look:?}");
    let mut want = vec![one, two, node.pid()];
    want.sort_unstable();
    assert_eq!(users(&place.discovery, look.found[0].key), want);
    // Whatever changes about the file beneath, it stays the same for all.
    fs::hard_link(image.join("libcudart.so.12"), place.path("link")).unwrap();
    let mut third = place.apart(&command);
    third.load(&merged.join("libcudart.so.12"));
    let look = place
        .discovery
        .look_at(&[one, two, node.pid(), third.pid()]);
    assert!(look.found.is_empty() && look.gone.is_empty(), "{look:?}");
}
