//! How much of what a process does with CUDA is seen.

/// One process's coverage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// A library of its is probed, and with it every call.
    Attached,
    /// It has the runtime in its program, or in a library of another name, which is probed there.
    Static,
    /// Only the driver's calls are seen: if it has the runtime, then in a program whose symbols
    /// were removed.
    Stripped,
    /// Something of it could not be probed. Why, for the log: one line of harmless text.
    Unreadable(String),
}

impl Coverage {
    /// The values of the label `state`.
    pub const STATES: [&str; 4] = ["attached", "static", "stripped", "unreadable"];

    /// Whether something of it is not seen that would be.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable(_))
    }

    /// Its value of the label `state`.
    pub fn state(&self) -> &'static str {
        let place = match self {
            Self::Attached => 0,
            Self::Static => 1,
            Self::Stripped => 2,
            Self::Unreadable(_) => 3,
        };
        Self::STATES[place]
    }
}
