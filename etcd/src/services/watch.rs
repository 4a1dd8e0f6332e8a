//! `etcdserverpb.Watch`: one stream of requests and responses, with any number of watches.
//!
//! ```text
//!   server       the service as tonic mounts it, on its own codec
//!   stream       WatchStream: requests in, responses out
//!     single       one watch: a watcher of the hub and the options of its create request
//!     ready        which watches may have something to send
//!     progress     rounds of progress notifications
//!     response     responses with their events already encoded
//! ```

mod codec;
mod progress;
mod ready;
mod response;
mod server;
mod single;
mod stream;

pub use self::response::WatchStreamResponse;
pub use self::server::WatchServer;
pub use self::stream::WatchStream;
