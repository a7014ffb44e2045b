//! Which symbol each of some addresses belongs to, of symbols that come by in any order and are not
//! kept; and how far around each address the answer is the same. Knows no file format.

use std::sync::Arc;

/// A symbol without a length ends where another one begins; not even so it reaches further than this.
const OPEN_BYTES: u64 = 1024 * 1024;

/// Most steps for one table, far more than tables take in which functions rarely lie within others:
/// a few for each symbol. A table made for it could take one for each symbol and address.
const MAX_STEPS: u64 = 256 * 1024 * 1024;

/// The rank of local labels. Most are places within a function, and a few are functions whose other
/// names were taken from them.
pub(super) const LABEL: u8 = 0;

/// A symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) start: u64,
    /// In bytes; 0 if it is not told.
    pub(super) length: u64,
    /// Where its name is.
    pub(super) name: u32,
    /// Of several at the same place the one with the highest is shown. [`LABEL`] is shown only where
    /// nothing else is known, whatever its length.
    pub(super) rank: u8,
}

/// What is known of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// All addresses from here, inclusive …
    pub(super) start: u64,
    /// … to here, exclusive, have the same answer.
    pub(super) end: u64,
    /// The symbol's name. `None`: there is none.
    pub(super) name: Option<Arc<[u8]>>,
}

/// What is known of an address so far.
#[derive(Clone, Copy, Debug)]
struct Best {
    /// The innermost that it is in.
    within: Option<Symbol>,
    /// The nearest without a length that begins before it.
    open: Option<Symbol>,
    /// Likewise, of rank [`LABEL`].
    label: Option<Symbol>,
    /// The nearest end of any symbol before it, and the nearest start behind it.
    after: u64,
    before: u64,
}

/// Addresses that are looked up.
#[derive(Debug)]
pub(super) struct Nearest {
    addresses: Vec<u64>,
    best: Vec<Best>,
    steps: u64,
}

impl Nearest {
    /// Nothing has come by yet. Addresses in ascending order.
    pub(super) fn new(addresses: &[u64]) -> Self {
        let nothing = Best {
            within: None,
            open: None,
            label: None,
            after: 0,
            before: u64::MAX,
        };
        Self {
            addresses: addresses.to_vec(),
            best: vec![nothing; addresses.len()],
            steps: 0,
        }
    }

    /// A symbol comes by.
    pub(super) fn add(&mut self, symbol: &Symbol) {
        let end = symbol.start.saturating_add(symbol.length);
        // Those before it, those in it, those behind it.
        let from = self
            .addresses
            .partition_point(|address| *address < symbol.start);
        let inside = self.addresses[from..].partition_point(|address| *address < end);
        let to = from + inside;
        if let Some(last) = from.checked_sub(1) {
            let best = &mut self.best[last];
            best.before = best.before.min(symbol.start);
        }
        if symbol.rank == LABEL {
            if let Some(best) = self.best.get_mut(from)
                && is_better(symbol, best.label.as_ref())
            {
                best.label = Some(*symbol);
            }
            return;
        }
        if let Some(best) = self.best.get_mut(to) {
            best.after = best.after.max(end);
            if symbol.length == 0 && is_better(symbol, best.open.as_ref()) {
                best.open = Some(*symbol);
            }
        }
        self.steps += inside as u64;
        if self.steps > MAX_STEPS {
            return;
        }
        for best in &mut self.best[from..to] {
            // One that begins before it bounds it, too, as does the end of one within.
            if is_better(symbol, best.within.as_ref()) {
                best.within = Some(*symbol);
            }
        }
    }

    /// What came of it, in the order of the addresses. `name` reads a name, once for all addresses
    /// that follow each other in its symbol. The answers end where the names would take more than
    /// `room` bytes.
    pub(super) fn answers(
        mut self,
        room: usize,
        name: impl Fn(u32) -> Option<Vec<u8>>,
    ) -> Vec<Answer> {
        // What is before one address is before all that follow.
        let (mut after, mut open, mut label) = (0, None, None);
        for best in &mut self.best {
            after = best.after.max(after);
            best.after = after;
            for (symbol, nearest) in [(&mut best.open, &mut open), (&mut best.label, &mut label)] {
                if let Some(symbol) = symbol
                    && is_better(symbol, nearest.as_ref())
                {
                    *nearest = Some(*symbol);
                }
                *symbol = *nearest;
            }
        }
        let mut before = u64::MAX;
        for best in self.best.iter_mut().rev() {
            before = best.before.min(before);
            best.before = before;
        }
        let each = self.addresses.iter().zip(&self.best);
        let mut taken = 0;
        let mut last: Option<(u32, Option<Arc<[u8]>>)> = None;
        let mut answers = Vec::new();
        for (address, best) in each {
            let answer = answer(*address, best, |place| match &last {
                Some((read, name)) if *read == place => name.clone(),
                _ => {
                    let found: Option<Arc<[u8]>> = name(place).map(Arc::from);
                    taken += found.as_ref().map_or(0, |name| name.len());
                    last = Some((place, found.clone()));
                    found
                }
            });
            if taken > room {
                break;
            }
            answers.push(answer);
        }
        answers
    }
}

fn answer(address: u64, best: &Best, name: impl FnOnce(u32) -> Option<Arc<[u8]>>) -> Answer {
    if let Some(symbol) = best.within {
        let end = symbol.start.saturating_add(symbol.length);
        return Answer {
            start: symbol.start.max(best.after),
            end: end.min(best.before),
            name: name(symbol.name),
        };
    }
    // One whose end is not told, unless another one has ended since.
    let mut start = best.after;
    for symbol in [best.open, best.label].into_iter().flatten() {
        if symbol.start < best.after {
            continue;
        }
        let reach = symbol.start.saturating_add(OPEN_BYTES);
        if address < reach {
            return Answer {
                start: symbol.start.max(start),
                end: best.before.min(reach),
                name: name(symbol.name),
            };
        }
        start = start.max(reach);
    }
    Answer {
        start,
        end: best.before,
        name: None,
    }
}

/// Whether a symbol is to be shown rather than another.
fn is_better(symbol: &Symbol, than: Option<&Symbol>) -> bool {
    than.is_none_or(|than| {
        // The innermost is the one that begins last; what is left is the order in the table.
        (symbol.start, u64::MAX - symbol.length, symbol.rank)
            > (than.start, u64::MAX - than.length, than.rank)
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    fn symbol(start: u64, length: u64, name: u32, rank: u8) -> Symbol {
        Symbol {
            start,
            length,
            name,
            rank,
        }
    }

    fn look_up(symbols: &[Symbol], addresses: &[u64]) -> Vec<Answer> {
        let mut nearest = Nearest::new(addresses);
        for symbol in symbols {
            nearest.add(symbol);
        }
        nearest.answers(usize::MAX, |name| Some(name.to_string().into_bytes()))
    }

    #[test]
    fn the_innermost_symbol_is_found_and_how_far_it_reaches() {
        let symbols = [
            symbol(10, 20, 1, 1),
            symbol(15, 5, 2, 1),
            symbol(40, 0, 3, 1),
            symbol(50, 10, 4, 1),
            symbol(50, 10, 5, 2),
            symbol(50, 10, 6, 2),
            symbol(12, 0, 7, LABEL),
            symbol(42, 0, 8, LABEL),
            symbol(70, 9, 9, LABEL),
        ];
        let check = |address, start, end, name: Option<&str>| {
            let want = Answer {
                start,
                end,
                name: name.map(|name| name.as_bytes().into()),
            };
            assert_eq!(look_up(&symbols, &[address]), [want], "{address}");
        };
        check(5, 0, 10, None);
        check(11, 10, 12, Some("1"));
        check(12, 10, 15, Some("1"));
        check(15, 15, 20, Some("2"));
        check(20, 20, 30, Some("1"));
        check(30, 30, 40, None);
        check(41, 40, 42, Some("3"));
        check(45, 40, 50, Some("3"));
        check(59, 50, 60, Some("5"));
        check(60, 60, 70, None);
        check(79, 70, 70 + OPEN_BYTES, Some("9"));
        check(70 + OPEN_BYTES, 70 + OPEN_BYTES, u64::MAX, None);
    }

    #[test]
    fn a_name_is_read_once_and_kept_once() {
        let mut nearest = Nearest::new(&[10, 11, 12, 25, 30]);
        for symbol in [symbol(10, 10, 1, 1), symbol(20, 8, 2, 1)] {
            nearest.add(&symbol);
        }
        let reads = Cell::new(0);
        let answers = nearest.answers(8000, |_| {
            reads.set(reads.get() + 1);
            Some(vec![b'n'; 4000])
        });
        assert_eq!(reads.get(), 2);
        let names: Vec<_> = answers.iter().map(|answer| answer.name.as_ref()).collect();
        let [Some(first), Some(second), Some(third), Some(other), None] = names[..] else {
            panic!("{names:?}");
        };
        assert!(Arc::ptr_eq(first, second) && Arc::ptr_eq(first, third));
        assert!(!Arc::ptr_eq(first, other));
    }

    #[test]
    fn answers_end_where_names_have_no_room() {
        let addresses: Vec<u64> = (0..1000).collect();
        let mut nearest = Nearest::new(&addresses);
        for (address, name) in addresses.iter().zip(0..) {
            nearest.add(&symbol(*address, 1, name, 1));
        }
        let reads = Cell::new(0);
        let answers = nearest.answers(10 * 4000, |_| {
            reads.set(reads.get() + 1);
            Some(vec![b'n'; 4000])
        });
        assert_eq!((answers.len(), reads.get()), (10, 11));
    }

    proptest! {
        #[test]
        fn all_addresses_of_a_range_have_its_answer(
            told in prop::collection::vec((0_u64..60, 0_u64..12), 0..20),
            mut addresses in prop::collection::vec(0_u64..80, 1..8),
        ) {
            addresses.sort_unstable();
            let symbols: Vec<_> = told.iter().zip(0..).map(|(&(start, length), name)| {
                symbol(start, length, name, 1)
            }).collect();
            let together = look_up(&symbols, &addresses);
            for (address, answer) in addresses.iter().zip(&together) {
                prop_assert!((answer.start..answer.end).contains(address));
                for other in answer.start..answer.end.min(80) {
                    let alone = &look_up(&symbols, &[other])[0];
                    prop_assert_eq!(&alone.name, &answer.name, "{} and {}", address, other);
                }
                let inner = symbols.iter().filter(|symbol| {
                    (symbol.start..symbol.start + symbol.length).contains(address)
                });
                let want = inner.max_by_key(|symbol| symbol.start).map(|symbol| symbol.start);
                if let Some(start) = want {
                    let name = answer.name.as_ref().unwrap();
                    let name: usize = std::str::from_utf8(name).unwrap().parse().unwrap();
                    prop_assert_eq!(symbols[name].start, start);
                }
            }
        }
    }
}
