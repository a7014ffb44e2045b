//! The kernel modules that the guest loads, taken out of a kernel's package with those that they
//! need. Knows neither where packages come from nor how a guest is packed.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};

use crate::command::{command, succeeded};

/// What the kernel suite needs and Debian's kernels have as modules. A name that a kernel has no
/// module of is built into it, or its tests say what they miss.
const WANTED: [&str; 13] = [
    "act_bpf",
    "cls_bpf",
    "fuse",
    "ipv6",
    "loop",
    "mq_deadline",
    "sch_ingress",
    "sch_netem",
    "sch_tbf",
    "tcp_diag",
    "tun",
    "unix_diag",
    "veth",
];

/// The folder beside the kernel, and in the guest.
const FOLDER: &str = "modules";

/// The file with the modules' file names, one a line, each behind those that it needs.
const ORDER: &str = "order";

/// The file with the names that were wanted when the modules were kept.
const KEPT_FOR: &str = "kept-for";

/// What a module's file name ends with, and what is behind it where it is compressed.
const SUFFIX: &str = ".ko";
const COMPRESSED: &str = ".xz";

/// Whether a kernel's folder has all modules that are wanted now.
pub(super) fn are_kept(kernel: &Path) -> bool {
    fs::read_to_string(kernel.join(FOLDER).join(KEPT_FOR)).is_ok_and(|names| names == wanted())
}

fn wanted() -> String {
    WANTED.join("\n")
}

/// The files that a guest with this kernel gets, to be placed as they lie below the kernel's
/// folder; none where the kernel was kept without modules.
pub(super) fn kept(kernel: &Path) -> Result<Vec<PathBuf>> {
    let folder = kernel.join(FOLDER);
    let order = folder.join(ORDER);
    let names = match fs::read_to_string(&order) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", order.display())),
    };
    let modules = names.lines().map(|name| folder.join(name));
    Ok(modules.chain([order]).collect())
}

/// Keeps the wanted modules of a package's `lib/modules` in a kernel's folder, not compressed.
pub(super) fn keep(package: &Path, kernel: &Path) -> Result<()> {
    let folder = kernel.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let mut found = BTreeMap::new();
    find(package, &mut found)?;
    let mut order = Vec::new();
    for name in WANTED {
        keep_one(name, &found, &folder, &mut order)?;
    }
    let order = order.join("\n") + "\n";
    fs::write(folder.join(ORDER), order).context("write the modules' order")?;
    fs::write(folder.join(KEPT_FOR), wanted()).context("write what the modules are for")
}

/// All modules below a folder, by name.
fn find(folder: &Path, found: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let context = || format!("read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let path = entry.path();
        if entry.file_type().with_context(context)?.is_dir() {
            find(&path, found)?;
        } else if let Some((name, "" | COMPRESSED)) =
            entry.file_name().to_string_lossy().split_once(SUFFIX)
        {
            // In a module's own name a dash is an underscore.
            found.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

/// Keeps a module behind those that it needs, unless it is kept or not a module at all.
fn keep_one(
    name: &str,
    found: &BTreeMap<String, PathBuf>,
    folder: &Path,
    order: &mut Vec<String>,
) -> Result<()> {
    let file = format!("{name}{SUFFIX}");
    let Some(path) = found.get(name).filter(|_| !order.contains(&file)) else {
        return Ok(());
    };
    let bytes = read(path).with_context(|| format!("read {}", path.display()))?;
    for dependency in dependencies(&bytes)? {
        keep_one(&dependency, found, folder, order)?;
    }
    let target = folder.join(&file);
    fs::write(&target, bytes).with_context(|| format!("write {}", target.display()))?;
    order.push(file);
    Ok(())
}

/// A module's file, unpacked.
fn read(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|last| last != &COMPRESSED[1..]) {
        return Ok(fs::read(path)?);
    }
    let mut unxz = command(Path::new("/"), "busybox", &["xz", "-d", "-c"]);
    unxz.arg(path).stderr(Stdio::inherit());
    let output = unxz.output().context("start busybox xz")?;
    succeeded(&unxz, output.status)?;
    Ok(output.stdout)
}

/// The modules that a module says it needs: the package has no `modules.dep`, which is made when
/// it is installed.
fn dependencies(module: &[u8]) -> Result<Vec<String>> {
    const FIELD: &[u8] = b"depends=";
    // The fields of the section `.modinfo` are strings that end with a zero byte.
    let mut fields = module.split(|byte| *byte == 0);
    let Some(list) = fields.find_map(|field| field.strip_prefix(FIELD)) else {
        bail!("a module does not say what it depends on");
    };
    let list = str::from_utf8(list).context("a module's dependencies are no text")?;
    let names = list.split(',').filter(|name| !name.is_empty());
    Ok(names.map(|name| name.replace('-', "_")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_modules_behind_those_that_they_need() {
        let folder = tempfile::tempdir().unwrap();
        let (package, kernel) = (folder.path().join("package"), folder.path().join("6.1"));
        let write = |path: &str, text: &str| {
            let path = package.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("net/veth.ko", "\u{7f}ELF\0\0depends=one-more,base\0");
        write("net/one-more.ko", "license=GPL\0depends=base\0name=x\0");
        write("base.ko", "depends=\0");
        write("unwanted.ko", "depends=base\0");
        write("modules.order", "");
        assert!(!are_kept(&kernel));
        keep(&package, &kernel).unwrap();
        assert!(are_kept(&kernel));
        let modules = kernel.join(FOLDER);
        let want = ["base.ko", "one_more.ko", "veth.ko", ORDER].map(|name| modules.join(name));
        assert_eq!(kept(&kernel).unwrap(), want);
        assert!(want.iter().all(|file| file.is_file()));
        fs::write(modules.join(KEPT_FOR), "loop").unwrap();
        assert!(!are_kept(&kernel), "another list was wanted");
    }

    #[test]
    fn a_kernel_without_modules_has_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(kept(folder.path()).unwrap().is_empty());
        assert!(!are_kept(folder.path()));
    }

    #[test]
    fn a_module_names_what_it_needs() {
        let check = |module: &[u8], want: &[&str]| {
            assert_eq!(dependencies(module).unwrap(), want);
        };
        check(b"depends=\0", &[]);
        check(b"a=b\0depends=one,t-w-o\0", &["one", "t_w_o"]);
        assert!(dependencies(b"no module").is_err());
        assert!(dependencies(b"depends=\xff\0").is_err());
    }

    #[test]
    fn unpacks_a_compressed_module() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("veth.ko.xz");
        // `xz --check=crc32` of the five bytes "text\n".
        fs::write(&path, XZ).unwrap();
        assert_eq!(read(&path).unwrap(), b"text\n");
        // BusyBox passes on what is no archive; it is no module then.
        fs::write(&path, "no archive").unwrap();
        assert!(dependencies(&read(&path).unwrap()).is_err());
    }

    const XZ: [u8; 60] = [
        0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x01, 0x69, 0x22, 0xde, 0x36, 0x02, 0x00, 0x21,
        0x01, 0x16, 0x00, 0x00, 0x00, 0x74, 0x2f, 0xe5, 0xa3, 0x01, 0x00, 0x04, 0x74, 0x65, 0x78,
        0x74, 0x0a, 0x00, 0x00, 0x00, 0x00, 0x27, 0xda, 0xec, 0x37, 0x00, 0x01, 0x19, 0x05, 0xbc,
        0xe8, 0xec, 0xcb, 0x90, 0x42, 0x99, 0x0d, 0x01, 0x00, 0x00, 0x00, 0x00, 0x01, 0x59, 0x5a,
    ];
}
