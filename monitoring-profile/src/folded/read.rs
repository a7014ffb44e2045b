//! Reads folded stacks.

use crate::{
    Line, LocationId, Profile, ValueType,
    pprof::{Limits, ReadError},
};

/// Reads lines such as `outer;inner 12` into a profile of `samples`, which the values are taken
/// for. Lines that are empty, or begin with `# `, are left out. What is no UTF-8 is replaced.
///
/// # Errors
///
/// If a line is no stack with a number, or if there are none, or more than allowed. Half a profile
/// is never returned.
pub fn read(bytes: &[u8], limits: Limits) -> Result<Profile, ReadError> {
    if bytes.len() > limits.bytes {
        let (limit, unit) = (limits.bytes, "bytes");
        return Err(ReadError::TooLarge { limit, unit });
    }
    let mut profile = Profile::new(vec![ValueType::new("samples", "count")]);
    let mut magnitude = 0_u64;
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().enumerate();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with("# ")) {
        let malformed = |what: &str| ReadError::Malformed(format!("line {} {what}", number + 1));
        let parts = line.rsplit_once(' ');
        let parts = parts.and_then(|(stack, value)| Some((stack, value.parse::<i64>().ok()?)));
        let (stack, value) = parts.ok_or_else(|| malformed("does not end in a number"))?;
        if stack.is_empty() {
            return Err(malformed("has no stack"));
        }
        magnitude = magnitude.saturating_add(value.unsigned_abs());
        if i64::try_from(magnitude).is_err() {
            return Err(malformed("makes the sum of all values out of range"));
        }
        let stack: Vec<LocationId> = stack
            .rsplit(';')
            .map(|name| frame(&mut profile, name))
            .collect();
        if stack.len() > limits.stack {
            let (limit, unit) = (limits.stack, "locations in a stack");
            return Err(ReadError::TooLarge { limit, unit });
        }
        profile.sample(&stack, &[value], &[]);
    }
    if profile.samples().len() == 0 {
        return Err(ReadError::Empty);
    }
    Ok(profile)
}

fn frame(profile: &mut Profile, name: &str) -> LocationId {
    let function = profile.function(name, "", "", 0);
    profile.location(None, 0, &[Line { function, line: 0 }])
}
