//! A stand-in for what captures: it takes as long as the test wants, and gives a known profile.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use monitoring_agent::{
    config::ProfileAccess,
    export::http::{HttpOptions, Profiles},
    profile::{
        history::{History, HistoryOptions},
        service::{CaptureError, Request, Service, Watch},
    },
};
use monitoring_profile::{Label, Line, Profile, ValueType};
use tokio::sync::watch;

use crate::server::{Server, patient, small_snapshot};

/// What the stand-in was told, and what it is to do.
#[derive(Default)]
pub(crate) struct Captures {
    pub(crate) requests: Mutex<Vec<Request>>,
    /// Captures end only when this is set.
    pub(crate) hold: AtomicBool,
    pub(crate) running: AtomicUsize,
    pub(crate) abandoned: AtomicUsize,
}

/// The known profile: 3 samples in `main;work`, 1 in `main`, of two values.
pub(crate) fn known() -> Profile {
    let types = ["samples", "cpu"].map(|kind| ValueType::new(kind, "count"));
    let mut profile = Profile::new(types.to_vec());
    profile.set_default_type(1);
    let [main, work] = ["main", "work"].map(|name| {
        let function = profile.function(name, name, "demo.c", 1);
        profile.location(None, 0x1000, &[Line { function, line: 3 }])
    });
    let labels = [Label::text("process", "demo"), Label::text("agent", "a")];
    profile.sample(&[work, main], &[3, 30], &labels);
    profile.sample(&[main], &[1, 10], &labels);
    profile
}

impl Captures {
    fn capture(&self, request: &Request, watch: &mut Watch) -> Result<Profile, CaptureError> {
        self.requests.lock().unwrap().push(request.clone());
        if request.pid == Some(404) {
            return Err(CaptureError::NoSuchProcess(404));
        }
        match request.agent.as_deref() {
            Some("unsupported") => {
                let why = "this kernel has no such events".to_owned();
                return Err(CaptureError::Unsupported(why));
            }
            Some("panic") => panic!("as the test wants it"),
            Some("failed") => {
                return Err(CaptureError::Failed(anyhow::anyhow!("the kernel says no")));
            }
            _ => {}
        }
        self.running.fetch_add(1, SeqCst);
        while self.hold.load(SeqCst) && !watch.is_over() {
            thread::park_timeout(Duration::from_millis(1));
        }
        self.running.fetch_sub(1, SeqCst);
        if watch.is_abandoned() {
            self.abandoned.fetch_add(1, SeqCst);
        }
        Ok(known())
    }
}

/// A server whose profiles are the stand-in's.
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) captures: Arc<Captures>,
    pub(crate) history: History,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) profiles: watch::Sender<Arc<Profiles>>,
}

impl Site {
    pub(crate) fn start(hold: bool) -> Self {
        Self::with(hold, patient())
    }

    pub(crate) fn start_at(listen: SocketAddr) -> Self {
        Self::with_at(listen, false, patient())
    }

    pub(crate) fn with(hold: bool, options: HttpOptions) -> Self {
        Self::with_at("127.0.0.1:0".parse().unwrap(), hold, options)
    }

    fn with_at(listen: SocketAddr, hold: bool, options: HttpOptions) -> Self {
        let captures = Arc::new(Captures::default());
        captures.hold.store(hold, SeqCst);
        let engine = Arc::clone(&captures);
        let service = Service::new(move |request, watch| engine.capture(request, watch), 2);
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(HistoryOptions {
            directory: folder.path().join("profiles"),
            max_bytes: 1 << 20,
            retention: Duration::from_hours(1),
        });
        let all = Profiles::new(ProfileAccess::default(), Ok(service), Ok(history.clone()));
        let (profiles, latest) = watch::channel(Arc::new(all));
        let options = HttpOptions {
            profiles: latest,
            ..options
        };
        let server = Server::serving_at(listen, options, small_snapshot());
        Self {
            server,
            captures,
            history,
            folder,
            profiles,
        }
    }

    pub(crate) fn release(&self) {
        self.captures.hold.store(false, SeqCst);
    }

    pub(crate) fn running(&self) -> usize {
        self.captures.running.load(SeqCst)
    }

    pub(crate) fn last_request(&self) -> Request {
        self.captures
            .requests
            .lock()
            .unwrap()
            .last()
            .cloned()
            .unwrap()
    }
}
