//! What `profile-analyzer` does: reads profiles, puts them together, and shows what was asked for.

mod answer;
mod cli;
mod input;

use anyhow::{Context as _, Result};
use monitoring_profile::{Filter, Profile};

use answer::Shown;
pub use cli::{Cli, Format};

use crate::output;

/// Answers the command line.
///
/// # Errors
///
/// If a file cannot be read or written, if profiles do not go together, or if there is nothing of
/// what was asked for.
pub fn run(cli: &Cli) -> Result<()> {
    let mut after = input::merged(&cli.files)?;
    let before = match &cli.diff {
        Some(file) => Some(input::one(file)?),
        None => None,
    };
    if let Some(before) = &before {
        // A value of one is looked up in the other from here on.
        before.check_types(&after).context("compare")?;
    }
    let value = input::value(&after, cli.kind.as_deref())?;
    // Also what is filtered is shown as a part of all.
    let whole = before.as_ref().map(|before| before.whole(value));
    let whole = whole.filter(|whole| *whole != 0);
    let whole = whole.unwrap_or_else(|| after.whole(value));
    let format = cli.format();
    // A profile is passed on as it is; elsewhere nobody wants to see what it calls uninteresting.
    let prepare = |profile: &mut Profile| {
        if format != Format::Pprof {
            *profile = profile
                .without_uninteresting()
                .context("the profile names uninteresting frames by what is no expression")?;
        }
        if cli.filters() {
            profile.retain(&Filter {
                focus: cli.focus.clone(),
                ignore: cli.ignore.clone(),
                labels: cli.labels.clone(),
            });
        }
        Ok::<(), anyhow::Error>(())
    };
    prepare(&mut after)?;
    let before = before
        .map(|mut before| prepare(&mut before).map(|()| before))
        .transpose()?;
    let shown = Shown {
        value,
        whole,
        before: before.as_ref(),
        after: &after,
    };
    let answer = answer::answer(cli, &shown)?;
    output::write(&answer, format == Format::Pprof, cli.output.as_deref())
}
