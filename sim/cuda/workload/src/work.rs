//! The work itself, divided between threads.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail};

use crate::{
    cuda::{Cuda, NOT_READY},
    kernels::Kernel,
    options::{Options, Query},
    tally,
};

/// No allocation begins here.
const NO_ADDRESS: u64 = 0x10;

/// How long passes between two questions whether something is done.
const QUERY_INTERVAL: Duration = Duration::from_millis(1);

/// Does all work, each thread within what `enter` gives it. Calls that fail because that was asked for
/// are counted, and are no errors.
pub(crate) fn run<G>(
    cuda: &dyn Cuda,
    options: &Options,
    kernels: &[Kernel],
    enter: &(impl Fn() -> G + Sync),
) -> Result<()> {
    if options.threads == 0 {
        bail!("there has to be a thread");
    }
    thread::scope(|scope| {
        let start = |thread| {
            scope.spawn(move || {
                let _within = enter();
                let work = Work::new(cuda, options, kernels, thread);
                let done = work.run();
                tally::finish_thread();
                done
            })
        };
        let threads: Vec<_> = (0..options.threads).map(start).collect();
        threads.into_iter().try_for_each(|thread| {
            let done = thread.join();
            done.map_err(|_| anyhow!("a thread panicked"))?
        })
    })
}

/// One thread's part.
struct Work<'a> {
    cuda: &'a dyn Cuda,
    options: &'a Options,
    kernels: &'a [Kernel],
    thread: usize,
}

impl<'a> Work<'a> {
    fn new(cuda: &'a dyn Cuda, options: &'a Options, kernels: &'a [Kernel], thread: usize) -> Self {
        Self {
            cuda,
            options,
            kernels,
            thread,
        }
    }

    /// This thread's part of a number; the first threads take what is left over.
    fn part(&self, whole: usize) -> usize {
        let threads = self.options.threads;
        whole / threads + usize::from(self.thread < whole % threads)
    }

    fn run(&self) -> Result<()> {
        self.cuda.enter();
        let mut streams = vec![0; self.options.streams];
        for stream in &mut streams {
            self.cuda.create_stream(stream);
        }
        let begun = Instant::now();
        self.launch(&streams);
        self.allocate();
        self.copy()?;
        self.launch_graph();
        self.fail();
        for stream in streams {
            let waiting = Instant::now();
            self.wait(stream);
            tally::waited(waiting.elapsed(), begun.elapsed());
            self.cuda.destroy_stream(stream);
        }
        self.cuda.synchronize();
        Ok(())
    }

    /// Returns when a stream is done.
    fn wait(&self, stream: usize) {
        match self.options.query {
            None => {
                self.cuda.synchronize_stream(stream);
            }
            Some(Query::Stream) => until_ready(|| self.cuda.query_stream(stream)),
            Some(Query::Event) => {
                let mut event = 0;
                self.cuda.create_event(&mut event);
                self.cuda.record_event(event, stream);
                until_ready(|| self.cuda.query_event(event));
                self.cuda.destroy_event(event);
            }
        }
    }

    fn launch(&self, streams: &[usize]) {
        let count = self.part(self.options.launches);
        for number in 0..count {
            let stream = streams.get(number % streams.len().max(1)).copied();
            let kernel = number % self.kernels.len();
            self.cuda.launch(kernel, 64, stream.unwrap_or(0));
        }
        for (index, kernel) in self.kernels.iter().enumerate() {
            let rounds = count / self.kernels.len();
            let more = usize::from(index < count % self.kernels.len());
            tally::launched(&kernel.name.to_string_lossy(), (rounds + more) as u64);
        }
    }

    fn allocate(&self) {
        for _ in 0..self.part(self.options.malloc_pairs) {
            let mut address = 0;
            let allocated = self.cuda.allocate(&mut address, self.options.bytes) == 0;
            if allocated {
                tally::allocated(self.options.bytes);
            } else if !self.options.regardless {
                continue;
            }
            let freed = self.cuda.free(address) == 0;
            if allocated && freed {
                tally::freed(self.options.bytes);
            }
        }
    }

    /// What comes back has to be what went there.
    fn copy(&self) -> Result<()> {
        let (count, bytes) = (self.part(self.options.copies), self.options.bytes);
        let mut device = 0;
        if count == 0 {
            return Ok(());
        }
        let allocated = self.cuda.allocate(&mut device, bytes) == 0;
        if allocated {
            tally::allocated(bytes);
        } else if !self.options.regardless {
            return Ok(());
        }
        let sent = vec![b'0' + u8::try_from(self.thread % 10)?; bytes];
        let mut back = vec![0; bytes];
        let mut arrived = false;
        for number in 0..count {
            if number % 2 == 0 {
                arrived = self.cuda.copy_to_device(device, &sent) == 0;
                tally::copied("h2d", if arrived { bytes } else { 0 });
            } else if self.cuda.copy_to_host(&mut back, device) == 0 {
                tally::copied("d2h", bytes);
                if arrived && back != sent {
                    bail!("other bytes came back than were sent");
                }
            }
        }
        if self.cuda.free(device) == 0 && allocated {
            tally::freed(bytes);
        }
        Ok(())
    }

    fn launch_graph(&self) {
        let count = self.part(self.options.graph);
        if count == 0 {
            return;
        }
        let (mut stream, mut graph, mut executable) = (0, 0, 0);
        self.cuda.create_stream(&mut stream);
        self.cuda.begin_capture(stream);
        self.cuda.launch(0, 64, stream);
        tally::launched(&self.kernels[0].name.to_string_lossy(), 1);
        self.cuda.end_capture(stream, &mut graph);
        self.cuda.instantiate(&mut executable, graph);
        for _ in 0..count {
            self.cuda.launch_graph(executable, stream);
        }
        self.cuda.synchronize_stream(stream);
        self.cuda.destroy_executable(executable);
        self.cuda.destroy_graph(graph);
        self.cuda.destroy_stream(stream);
    }

    /// A grid of no blocks, and a free of what was never allocated, in turn.
    fn fail(&self) {
        for number in 0..self.part(self.options.errors) {
            if number % 2 == 0 {
                self.cuda.launch(0, 0, 0);
                tally::launched(&self.kernels[0].name.to_string_lossy(), 1);
            } else {
                self.cuda.free(NO_ADDRESS);
            }
        }
    }
}

/// Asks until the answer is another one.
fn until_ready(query: impl Fn() -> u32) {
    while query() == NOT_READY {
        thread::sleep(QUERY_INTERVAL);
    }
}
