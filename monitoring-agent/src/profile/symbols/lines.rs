//! Lines of a text of any length, in memory for one. Knows not what is in them.

use std::io::{ErrorKind, Read};

/// How much is read at a time.
const READ_BYTES: usize = 64 * 1024;

/// Reads lines.
#[derive(Debug)]
pub(super) struct Lines<R> {
    text: R,
    buffer: Vec<u8>,
    /// What of the buffer is still to be given.
    from: usize,
    filled: usize,
    most: usize,
    is_over: bool,
}

impl<R: Read> Lines<R> {
    /// Of a text with lines of at most `most` bytes. Longer ones are left out.
    pub(super) fn new(text: R, most: usize) -> Self {
        Self {
            text,
            buffer: vec![0; READ_BYTES.max(2 * most)],
            from: 0,
            filled: 0,
            most,
            is_over: false,
        }
    }

    /// The next line without its end. One at the end of the text that has none is not complete.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let mut is_long = false;
        loop {
            let rest = &self.buffer[self.from..self.filled];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = self.from..self.from + end;
                self.from = line.end + 1;
                if is_long || end > self.most {
                    is_long = false;
                    continue;
                }
                return Some(&self.buffer[line]);
            }
            if rest.len() > self.most {
                is_long = true;
                self.from = self.filled;
            }
            if self.is_over || !self.fill() {
                return None;
            }
        }
    }

    fn fill(&mut self) -> bool {
        self.buffer.copy_within(self.from..self.filled, 0);
        self.filled -= self.from;
        self.from = 0;
        let length = loop {
            match self.text.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What cannot be read any further ends there.
                result => break result.unwrap_or(0),
            }
        };
        self.filled += length;
        self.is_over = length == 0;
        !self.is_over
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_are_those_of_the_text(
            text in prop::collection::vec(prop::sample::select(b"ab\n".to_vec()), 0..400),
            most in 1_usize..12,
        ) {
            let whole = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
            let want: Vec<&[u8]> = if text.contains(&b'\n') {
                text[..whole].split(|byte| *byte == b'\n').filter(|line| line.len() <= most).collect()
            } else {
                Vec::new()
            };
            let mut lines = Lines::new(&text[..], most);
            // As if it came in small pieces.
            lines.buffer.truncate(2 * most);
            for line in want {
                prop_assert_eq!(lines.next(), Some(line));
            }
            prop_assert_eq!(lines.next(), None);
        }
    }

    #[test]
    fn an_endless_line_takes_no_memory() {
        let text = std::io::repeat(b'a').take(10_000_000).chain(&b"\nb\n"[..]);
        let mut lines = Lines::new(text, 100);
        assert_eq!(lines.next(), Some(&b"b"[..]));
        assert!(lines.buffer.len() <= READ_BYTES);
    }
}
