//! Owns where /proc and /sys are, and the buffer that their files are read into. Knows no format.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// Room for the largest file of most machines in one `read`, so that the kernel's state does not
/// change between two: /proc/stat with hundreds of CPUs. It grows for a larger one, and stays so.
const BUFFER_BYTES: usize = 64 * 1024;

/// The kernel's files.
#[derive(Debug)]
pub(super) struct Files {
    proc: PathBuf,
    sys: PathBuf,
    buffer: Vec<u8>,
}

impl Files {
    pub(super) fn new(proc: &Path, sys: &Path) -> Self {
        Self {
            proc: proc.into(),
            sys: sys.into(),
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    /// The path of a file of procfs.
    pub(super) fn proc_path(&self, name: &str) -> PathBuf {
        self.proc.join(name)
    }

    /// The path of a file of sysfs.
    pub(super) fn sys_path(&self, name: &str) -> PathBuf {
        self.sys.join(name)
    }

    /// A file of procfs, with the replacement character for what is not UTF-8.
    pub(super) fn proc_text(&mut self, name: &str) -> anyhow::Result<Cow<'_, str>> {
        let path = self.proc_path(name);
        let bytes = self
            .read(&path)
            .with_context(|| path.display().to_string())?;
        Ok(String::from_utf8_lossy(bytes))
    }

    /// A whole file.
    ///
    /// # Errors
    ///
    /// The kernel's, and `InvalidData` for a file without a newline at its end. All files that
    /// are read here have one; in a file that is cut short, the last number may be, too.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<&[u8]> {
        // `read_to_end` would ask for each file's size and position, which mean nothing here.
        let (mut file, mut length) = (File::open(path)?, 0);
        loop {
            match file.read(&mut self.buffer[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if length == self.buffer.len() {
                self.buffer.resize(2 * length, 0);
            }
        }
        match self.buffer[..length].last() {
            None | Some(b'\n') => Ok(&self.buffer[..length]),
            Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "cut short")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_files() {
        let root = tempfile::tempdir().unwrap();
        let mut files = Files::new(root.path(), root.path());
        let mut check = |content: &[u8], want: Option<&[u8]>| {
            let path = root.path().join("file");
            std::fs::write(&path, content).unwrap();
            assert_eq!(files.read(&path).ok(), want, "{} bytes", content.len());
        };
        let large = [b"1234567\n".repeat(BUFFER_BYTES), b"\n".to_vec()].concat();
        for content in [&large[..], b"1\n", b"", b"\n", &large[..BUFFER_BYTES]] {
            check(content, Some(content));
        }
        check(b"12", None);
        check(b"1\n2", None);
        assert_eq!(
            files.read(root.path()).unwrap_err().kind(),
            io::ErrorKind::IsADirectory
        );
    }

    #[test]
    fn bytes_that_are_not_text() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), b"a\xffb\n").unwrap();
        let mut files = Files::new(root.path(), root.path());
        assert_eq!(files.proc_text("file").unwrap(), "a\u{fffd}b\n");
        assert!(format!("{:#}", files.proc_text("none").unwrap_err()).contains("none: "));
    }
}
