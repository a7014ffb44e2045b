//! The HTTP server over real sockets.

mod answers;
mod hostile;
mod limits;
mod profiles;
mod prometheus;
mod server;

#[path = "../poll/mod.rs"]
mod poll;
#[path = "../running/mod.rs"]
mod running;
#[path = "../scraper/mod.rs"]
mod scraper;
