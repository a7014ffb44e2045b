//! Which program a process runs, and where that has the variable. Each program is read once.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use super::variable::{self, Variable};
use crate::executed::{
    opening::{self, Refusal, Stamp},
    patience::Patience,
    signature::Signature,
};

/// Longest wait for one file system.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most programs that are remembered; a node runs some hundred.
const MAX_KNOWN: usize = 4_096;

/// A process that runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Running {
    /// In ticks since the boot.
    pub(super) started_ticks: u64,
    program: Stamp,
    /// Where the program has the variable, if it has.
    pub(super) variable: Option<Variable>,
}

/// What is known of programs.
pub(super) struct Finder {
    proc_root: PathBuf,
    patience: Patience,
    known: HashMap<Stamp, Option<Variable>>,
}

impl Finder {
    pub(super) fn new(proc_root: &Path) -> Self {
        Self {
            proc_root: proc_root.to_owned(),
            patience: Patience::new(PATIENCE),
            known: HashMap::new(),
        }
    }

    /// What a process runs now; `None` if it has ended, or is the kernel's.
    pub(super) fn look(&mut self, pid: u32) -> Result<Option<Running>, Refusal> {
        let folder = self.proc_root.join(pid.to_string());
        let Some(signature) = Signature::read(&folder, pid, None) else {
            return Ok(None);
        };
        let opened = self.patience.run(move || opening::executable(&folder))?;
        let opened = match opened {
            Ok(opened) => opened,
            Err(Refusal::Absent(_)) => return Ok(None),
            Err(refusal) => return Err(refusal),
        };
        let program = opened.stamp;
        let variable = if let Some(variable) = self.known.get(&program) {
            *variable
        } else {
            let read = self.patience.run(move || variable::find(&opened.file))?;
            // What is torn may be written still, and is read again when it is executed again.
            let variable = read.map_err(|fault| Refusal::Failed(fault.to_string()))?;
            if self.known.len() >= MAX_KNOWN {
                self.known.clear();
            }
            self.known.insert(program, variable);
            variable
        };
        Ok(Some(Running {
            started_ticks: signature.start().0,
            program,
            variable,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_processes() {
        let mut finder = Finder::new(Path::new("/proc"));
        let own = finder.look(std::process::id()).unwrap().unwrap();
        assert!(own.variable.is_some() && own.started_ticks > 0);
        assert_eq!(finder.look(std::process::id()).unwrap(), Some(own));
        assert_eq!(finder.known.len(), 1);
        // A thread of the kernel's, and nobody.
        assert_eq!(finder.look(2).unwrap(), None);
        assert_eq!(finder.look(u32::MAX).unwrap(), None);
    }
}
