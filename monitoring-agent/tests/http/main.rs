//! The HTTP server over real sockets.

mod answers;
mod hostile;
mod limits;
mod server;
