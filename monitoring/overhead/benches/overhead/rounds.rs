//! Subjects that take turns, so that whatever else the machine does falls on all of them; the
//! medians of their rounds, as a table. The figures are CPU time; what the clock says is added where
//! that is more.

use crate::{child, load::Subject, worker};

const ROUNDS: usize = 9;

/// How many threads do it at the same time.
const THREADS: [usize; 2] = [1, 2];

/// What is compared.
pub(crate) struct Comparison {
    /// The measurement's name on the command line.
    pub(crate) name: &'static str,
    /// What the figures are, as a headline.
    pub(crate) title: &'static str,
    pub(crate) subjects: &'static [Subject],
    pub(crate) expects: Expects,
}

/// What is expected of all that is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expects {
    /// That all of it was counted.
    Counted,
    /// That all of it was exported, which goes on behind the threads and may lose some.
    Exported,
    /// That it left nothing behind.
    Nothing,
}

/// What was measured of one subject with one number of threads.
struct Row {
    wall_ns: f64,
    cpu_ns: f64,
    behind_ns: f64,
    done: f64,
    recorded: f64,
    said_lost: f64,
    peak_bytes: f64,
}

impl Comparison {
    /// Measures and prints.
    pub(crate) fn measure(&self) {
        let rows = THREADS.map(|threads| self.rows(threads));
        println!("{}, median of {ROUNDS} interleaved rounds", self.title);
        print!("  {:<44}{:>10}{:>10}", "", "1 thread", "2 threads");
        if self.expects == Expects::Exported {
            print!(
                "{:>9}{:>12}{:>10}{:>11}",
                "behind", "recorded", "lost", "peak"
            );
        }
        println!();
        for (at, subject) in self.subjects.iter().enumerate() {
            let [one, two] = [&rows[0][at], &rows[1][at]];
            print!(
                "  {:<44}{:>10.2}{:>10.2}",
                subject.name, one.cpu_ns, two.cpu_ns
            );
            if self.expects == Expects::Exported {
                one.print_exports(two);
            }
            for (threads, row) in THREADS.iter().zip([one, two]) {
                row.print_remarks(*threads, self.expects);
            }
            println!();
        }
        println!();
    }

    /// What the process of a subject does; the words are its place in the list, and the threads.
    pub(crate) fn work(&self, words: &[&str]) {
        let [at, threads] = words else {
            panic!("a place in the list, and a number of threads, not {words:?}");
        };
        let at: usize = at.parse().expect("a place in the list");
        let threads = threads.parse().expect("a number of threads");
        worker::work(self.subjects[at].begin, threads);
    }

    fn rows(&self, threads: usize) -> Vec<Row> {
        let start = |at| child::Subject::start(&format!("{} {at} {threads}", self.name));
        let mut subjects: Vec<_> = (0..self.subjects.len()).map(start).collect();
        for subject in &mut subjects {
            // It has warmed up.
            subject.answer();
        }
        let mut samples = vec![Vec::new(); subjects.len()];
        for round in 0..ROUNDS {
            // Forwards and backwards in turn: a drift of the machine falls on all alike.
            let mut order: Vec<_> = (0..subjects.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for at in order {
                samples[at].push(subjects[at].ask());
            }
        }
        let rows = subjects.into_iter().zip(samples);
        rows.map(|(subject, samples)| Row::of(&samples, &subject.finish()))
            .collect()
    }
}

impl Row {
    fn of(samples: &[Vec<f64>], last: &[f64]) -> Self {
        let figure = |at: usize| median(samples.iter().map(|figures| figures[at]).collect());
        let [done, recorded, said_lost, peak_bytes] = last else {
            panic!("four numbers about the operations, not {last:?}");
        };
        Self {
            wall_ns: figure(0),
            cpu_ns: figure(1),
            behind_ns: figure(2),
            done: *done,
            recorded: *recorded,
            said_lost: *said_lost,
            peak_bytes: *peak_bytes,
        }
    }

    fn print_exports(&self, two: &Self) {
        let recorded = self.recorded + two.recorded;
        let lost = self.done + two.done - recorded;
        let peak_mib = self.peak_bytes.max(two.peak_bytes) / (1024.0 * 1024.0);
        let behind = self.behind_ns;
        print!("{behind:>9.1}{recorded:>12}{lost:>10}{peak_mib:>7.1} MiB");
    }

    /// What the figures alone do not say.
    fn print_remarks(&self, threads: usize, expects: Expects) {
        let lost = self.done - self.recorded;
        match expects {
            // A baseline.
            _ if self.recorded < 0.0 => {}
            Expects::Nothing if self.recorded > 0.0 => {
                print!("  ({} exported all the same with {threads})", self.recorded);
            }
            Expects::Nothing => {}
            Expects::Counted | Expects::Exported if lost < 0.0 => {
                print!("  ({} too many with {threads})", -lost);
            }
            Expects::Counted | Expects::Exported => {
                if lost > self.said_lost.max(0.0) {
                    print!("  ({lost} of {} lost with {threads}", self.done);
                    print!(", of which it tells {})", self.said_lost.max(0.0));
                }
            }
        }
        if self.wall_ns > self.cpu_ns * WAITED + 1.0 {
            print!("  ({:.1} by the clock with {threads})", self.wall_ns);
        }
    }
}

/// A thread has waited if it took so many times its CPU time: for a lock, or for a CPU that others
/// use as well.
const WAITED: f64 = 1.15;

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
