//! What a subject does in its process, whatever that is.

/// One of those that are compared.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) begin: fn() -> Load,
}

/// A subject at work. Its parts are called by threads that know nothing of each other.
pub(crate) struct Load {
    /// Does `operations`; timed by the thread that calls it.
    pub(crate) chunk: Box<dyn Fn() + Send + Sync>,
    /// In a chunk.
    pub(crate) operations: u64,
    /// In a round, for each thread.
    pub(crate) chunks: u64,
    /// Called between two chunks, in nobody's time: the subject's own threads catch up.
    pub(crate) settle: Box<dyn Fn()>,
    /// What has become of all operations, when there are no more.
    pub(crate) outcome: Box<dyn Fn() -> Outcome>,
}

/// What has become of the operations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Those that somebody can see: counted, or exported. None where nothing is recorded at all.
    pub(crate) recorded: Option<u64>,
    /// Those that the subject itself says that it has lost, if it says.
    pub(crate) said_lost: Option<u64>,
}

impl Load {
    /// A loop of one operation, which is told its number; `recorded` is how many there were.
    pub(crate) fn of_loop(
        operations: usize,
        chunks: u64,
        operation: impl Fn(usize) + Send + Sync + 'static,
        recorded: impl Fn() -> u64 + 'static,
    ) -> Self {
        Self {
            chunk: Box::new(move || (0..operations).for_each(&operation)),
            operations: operations as u64,
            chunks,
            settle: Box::new(|| {}),
            outcome: Box::new(move || Outcome {
                recorded: Some(recorded()),
                said_lost: None,
            }),
        }
    }

    /// The same, where something has to be done between two chunks.
    pub(crate) fn settled_by(self, settle: impl Fn() + 'static) -> Self {
        Self {
            settle: Box::new(settle),
            ..self
        }
    }

    /// The same, where the operation leaves nothing behind.
    pub(crate) fn recorded_by_nobody(self) -> Self {
        Self {
            outcome: Box::new(Outcome::default),
            ..self
        }
    }
}
