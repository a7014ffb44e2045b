//! Where the profile goes, and in what form.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, IsTerminal as _, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use monitoring_profile::{Profile, folded, pprof, svg};
use tempfile::NamedTempFile;

use crate::cli::{ProfileArgs, ProfileFormat};

/// Permissions of files that programs write, before the user's mask.
const FILE_MODE: u32 = 0o666;

/// What the end of a file's name says of its format.
const ENDINGS: [(&str, ProfileFormat); 6] = [
    (".svg", ProfileFormat::Svg),
    (".pb.gz", ProfileFormat::Pprof),
    (".pprof", ProfileFormat::Pprof),
    (".folded", ProfileFormat::Folded),
    (".collapsed", ProfileFormat::Folded),
    (".txt", ProfileFormat::Folded),
];

/// A place that can be written to, and the form.
pub(super) struct Output {
    place: Place,
    format: ProfileFormat,
    value: Option<String>,
    title: String,
}

enum Place {
    Stdout,
    /// No ordinary file: a pipe, a device.
    Special(PathBuf, File),
    /// Beside the file that it will be.
    File(PathBuf, NamedTempFile),
}

impl Output {
    /// Opens it, so that what is wrong with it is said before anything is captured.
    pub(super) fn prepare(args: &ProfileArgs) -> anyhow::Result<Self> {
        let path = &args.output;
        let format = match (args.format, format_of(path)) {
            (Some(format), _) | (None, Some(format)) => format,
            (None, None) if is_stdout(path) => {
                bail!("stdout has no name that ends in a format: add --format svg, pprof or folded")
            }
            (None, None) => bail!(
                "{}: the format is not known from the name: end it in .svg, .pb.gz or .folded, or \
                 add --format",
                path.display()
            ),
        };
        ensure!(
            args.value.is_none() || format != ProfileFormat::Pprof,
            "--value is for flame graphs and folded stacks; a pprof file has all values"
        );
        let place = if is_stdout(path) {
            ensure!(
                format != ProfileFormat::Pprof || !io::stdout().is_terminal(),
                "stdout is a terminal, and a pprof file is no text: send it elsewhere"
            );
            Place::Stdout
        } else {
            open(path).with_context(|| format!("cannot write {}", path.display()))?
        };
        Ok(Self {
            place,
            format,
            value: args.value.clone(),
            title: format!("{} profile", args.kind),
        })
    }

    /// Writes the profile, and says where to, as the end of a sentence.
    pub(super) fn write(self, profile: &Profile) -> anyhow::Result<String> {
        let bytes = self.render(profile)?;
        let written = |path: &Path| format!(", written to {}", path.display());
        match self.place {
            Place::Stdout => {
                let mut stdout = io::stdout().lock();
                let written = stdout.write_all(&bytes).and_then(|()| stdout.flush());
                written.context("write to stdout")?;
                Ok(String::new())
            }
            Place::Special(path, mut file) => {
                let result = file.write_all(&bytes);
                result.with_context(|| format!("write {}", path.display()))?;
                Ok(written(&path))
            }
            Place::File(path, mut file) => {
                let result = file.write_all(&bytes);
                let result = result.and_then(|()| file.as_file().sync_all());
                let result = result.and_then(|()| Ok(file.persist(&path)?));
                result.with_context(|| format!("write {}", path.display()))?;
                Ok(written(&path))
            }
        }
    }

    fn render(&self, profile: &Profile) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.format {
            ProfileFormat::Pprof => bytes = pprof::write(profile),
            ProfileFormat::Folded => {
                let options = folded::Options::default();
                folded::write(profile, self.value(profile)?, &options, &mut bytes)?;
            }
            ProfileFormat::Svg => {
                let options = svg::Options {
                    title: self.title.clone(),
                    ..svg::Options::default()
                };
                let drawn = svg::write(profile, self.value(profile)?, &options, &mut bytes);
                drawn.context("draw the flame graph")?;
            }
        }
        Ok(bytes)
    }

    fn value(&self, profile: &Profile) -> anyhow::Result<usize> {
        let Some(wanted) = &self.value else {
            return Ok(profile.default_type());
        };
        profile.type_named(wanted).with_context(|| {
            let types = profile.sample_types().iter();
            let known: Vec<_> = types.map(|value| value.kind.as_str()).collect();
            format!(
                "--value {wanted}: there is no such value; there are: {}",
                known.join(", ")
            )
        })
    }
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

fn format_of(path: &Path) -> Option<ProfileFormat> {
    let name = path.file_name()?.to_str()?;
    let ending = ENDINGS.iter().find(|(ending, _)| name.ends_with(ending));
    ending.map(|(_, format)| *format)
}

fn open(path: &Path) -> io::Result<Place> {
    // What a link leads to is replaced, not the link.
    let path = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(metadata) if !metadata.is_file() => {
            let file = OpenOptions::new().write(true).open(path)?;
            return Ok(Place::Special(path.to_owned(), file));
        }
        Ok(_) => fs::canonicalize(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".profile-").suffix(".tmp");
    builder.permissions(Permissions::from_mode(FILE_MODE));
    let file = builder.tempfile_in(parent)?;
    Ok(Place::File(path, file))
}
