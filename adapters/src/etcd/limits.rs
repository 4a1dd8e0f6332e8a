//! How much clients may ask for.

/// How much clients may ask for. Start from [`Limits::default`] and set what should be other.
///
/// What goes beyond one is refused, with the text and code of the [`Refusal`](super::Refusal)
/// named there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one request, as it comes over the wire
    /// ([`RequestTooLarge`](super::Refusal::RequestTooLarge); from 512 KiB beyond it on, tonic
    /// refuses it unread with OUT_OF_RANGE). A watch's response with more events than fit into
    /// as many bytes is split, between revisions, and within one where the client allows
    /// fragments. Default: 1.5 MiB.
    pub message_bytes: usize,
    /// Conditions of a transaction, and operations in either branch
    /// ([`TooManyOperations`](super::Refusal::TooManyOperations)). Default: 128.
    pub txn_operations: usize,
    /// Watches open on one stream ([`TooManyWatches`](super::Refusal::TooManyWatches)). Default:
    /// 4096.
    pub watches_per_stream: usize,
    /// Watches open in total ([`ServerFull`](super::Refusal::ServerFull)). Default: 100,000.
    pub watches: usize,
    /// Watch streams open on one connection
    /// ([`TooManyStreams`](super::Refusal::TooManyStreams)). Default: 10,000.
    pub streams_per_connection: usize,
    /// Watch streams open in total ([`TooManyStreams`](super::Refusal::TooManyStreams)). Default:
    /// 50,000.
    pub streams: usize,
    /// Bytes of events that wait on one stream for a client that does not read, all its watches
    /// together; beyond it they read on from the history once the client does. Each of the
    /// watches that a stream may have gets an equal part. Default: 64 MiB, which is 16 KiB a
    /// watch.
    pub waiting_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 1536 * 1024,
            txn_operations: 128,
            watches_per_stream: 4096,
            watches: 100_000,
            streams_per_connection: 10_000,
            streams: 50_000,
            waiting_bytes: 64 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// What tonic reads of a request at most: enough that what is a little too large is refused
    /// in etcd's words.
    pub(crate) fn decoded_bytes(&self) -> usize {
        self.message_bytes.saturating_add(512 * 1024)
    }

    /// What may wait for one watch.
    pub(crate) fn watch_bytes(&self) -> usize {
        (self.waiting_bytes / self.watches_per_stream.max(1)).max(1)
    }
}
