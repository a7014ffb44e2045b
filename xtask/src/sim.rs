//! `cargo xtask sim`: puts the simulated NVML where the agent can be told to look for it.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result};

use crate::command::{command, run};

/// Where it goes, below the workspace's root.
const FOLDER: &str = "target/sim";

/// The name under which programs look for NVML; its script has `.toml` behind it.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// The script as it was put there, to see whether somebody has edited it.
const PLACED: &str = "placed.toml";

/// Builds the library, and puts it beside a script of eight GPUs, unless an edited one is there.
pub(crate) fn nvml(root: &Path) -> Result<()> {
    // The target folder is given so that the file lies where it is looked for.
    let arguments = ["build", "--package", "nvml-sim", "--target-dir", "target"];
    run(&mut command(root, "cargo", &arguments))?;
    let folder = root.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let script = format!("{LIBRARY}.toml");
    let demo = root.join("sim/nvml/demo.toml");
    if is_edited(&folder.join(&script), &folder.join(PLACED))? {
        println!("\n{FOLDER}/{script} was edited and stays; delete it to get sim/nvml/demo.toml");
    } else {
        place(&demo, &folder, &script)?;
        place(&demo, &folder, PLACED)?;
    }
    place(&root.join("target/debug/libnvml_sim.so"), &folder, LIBRARY)?;
    println!(
        "\nSimulated GPUs are ready. To run the agent with them, from the project's root:\n\n    \
         cargo xtask run -- --config sim/nvml/agent.toml\n\n\
         or name the library in a configuration of your own:\n\n    \
         [sources.gpu]\n    nvml_library = \"{FOLDER}/{LIBRARY}\"\n\n\
         In a second terminal, once it runs:\n\n    \
         curl -s localhost:9090/metrics | grep ^gpu_\n\n\
         What is changed in {FOLDER}/{script} shows at the next poll;\n\
         sim/nvml/README.md says what can be written there."
    );
    Ok(())
}

/// Whether a script is there that is not the one that was placed. What somebody wrote is not lost
/// when the demonstration changes.
fn is_edited(script: &Path, placed: &Path) -> Result<bool> {
    let read = |path: &Path| match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    };
    let script = read(script)?;
    Ok(script.is_some() && script != read(placed)?)
}

/// Copies a file under another name first, because one that is in use must not change.
fn place(from: &Path, folder: &Path, name: &str) -> Result<()> {
    let (new, to) = (folder.join(format!("{name}.new")), folder.join(name));
    fs::copy(from, &new).with_context(|| format!("copy {}", from.display()))?;
    fs::rename(&new, &to).with_context(|| format!("rename {}", new.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_script_is_told_from_one_that_was_placed() {
        let folder = tempfile::tempdir().unwrap();
        let (script, placed) = (folder.path().join("script"), folder.path().join("placed"));
        let check = |want: bool| assert_eq!(is_edited(&script, &placed).unwrap(), want);
        check(false);
        // One from before it was noted what was placed may be anybody's.
        fs::write(&script, "old").unwrap();
        check(true);
        fs::write(&placed, "old").unwrap();
        check(false);
        fs::write(&script, "new").unwrap();
        check(true);
        fs::remove_file(&script).unwrap();
        check(false);
    }
}
