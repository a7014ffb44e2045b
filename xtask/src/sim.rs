//! `cargo xtask sim`: puts the simulated NVML where the agent can be told to look for it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::command::{command, run};

/// Where it goes, below the workspace's root.
const FOLDER: &str = "target/sim";

/// The name under which programs look for NVML; its script has `.toml` behind it.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// Builds the library, and puts it beside a script of eight GPUs.
pub(crate) fn nvml(root: &Path) -> Result<()> {
    // The target folder is given so that the file lies where it is looked for.
    let arguments = ["build", "--package", "nvml-sim", "--target-dir", "target"];
    run(&mut command(root, "cargo", &arguments))?;
    let folder = root.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let script = format!("{LIBRARY}.toml");
    place(&root.join("sim/nvml/demo.toml"), &folder, &script)?;
    place(&root.join("target/debug/libnvml_sim.so"), &folder, LIBRARY)?;
    println!(
        "\nEight GPUs are ready. To run the agent with them:\n\n    \
         cargo xtask run -- --config sim/nvml/agent.toml\n\n\
         or name the library in a configuration of your own:\n\n    \
         [sources.gpu]\n    nvml_library = \"{FOLDER}/{LIBRARY}\"\n\n\
         What is changed in {FOLDER}/{script} shows at the next poll;\n\
         sim/nvml/README.md says what can be written there."
    );
    Ok(())
}

/// Copies a file under another name first, because one that is in use must not change.
fn place(from: &Path, folder: &Path, name: &str) -> Result<()> {
    let (new, to) = (folder.join(format!("{name}.new")), folder.join(name));
    fs::copy(from, &new).with_context(|| format!("copy {}", from.display()))?;
    fs::rename(&new, &to).with_context(|| format!("rename {}", new.display()))
}
