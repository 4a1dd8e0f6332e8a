//! Limits on what clients may request.

/// Limits on what clients may request. Start from [`Limits::default`] and override fields.
///
/// A request beyond a limit is refused with the [`RequestError`](crate::RequestError) that the
/// field names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one encoded request: [`RequestTooLarge`](crate::RequestError::RequestTooLarge).
    /// tonic itself refuses a request that is more than 512 KiB beyond the limit, unread, with
    /// OUT_OF_RANGE. A watch's response with more bytes of events is split: between revisions, and
    /// within a revision if the client accepts fragments. Default: 1.5 MiB.
    pub message_bytes: usize,
    /// Conditions of a transaction, and operations in each of its branches:
    /// [`TooManyOperations`](crate::RequestError::TooManyOperations). Default: 128.
    pub txn_operations: usize,
    /// Watches on one stream: [`TooManyWatches`](crate::RequestError::TooManyWatches). Default:
    /// 4096.
    pub watches_per_stream: usize,
    /// Watches in total: [`ServerFull`](crate::RequestError::ServerFull). Default: 100,000.
    pub watches: usize,
    /// Watch streams on one connection:
    /// [`TooManyStreams`](crate::RequestError::TooManyStreams). Default: 10,000.
    pub streams_per_connection: usize,
    /// Watch streams in total: [`TooManyStreams`](crate::RequestError::TooManyStreams). Default:
    /// 50,000.
    pub streams: usize,
    /// Bytes of events that wait on one stream for a client that does not read, over all its
    /// watches. A watch beyond its part reads on from the history once the client reads again.
    /// The parts are fixed by [`watches_per_stream`](Self::watches_per_stream), and earlier watches
    /// get larger ones. Default: 64 MiB, of which the first watch gets 2.5 MiB, the hundredth
    /// 33 KiB and the last 8.6 KiB.
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
    /// The most bytes of a request that tonic decodes. The margin lets requests that are a little
    /// too large fail with etcd's error instead of tonic's.
    pub(crate) fn decoded_bytes(&self) -> usize {
        self.message_bytes.saturating_add(512 * 1024)
    }

    /// The bytes that may wait for a watch that is created as the `nth` of its stream, from 1.
    ///
    /// One half of the total is divided equally; of the other half the nth watch gets a part
    /// proportional to 1/n. Most streams have few watches, and events beyond a watch's part have to
    /// be read again. The parts of the watches that exist at one time never exceed the total, in
    /// whatever order watches come and go: at most m of them were created as one of the first m,
    /// since the others existed when the last of these was created.
    pub(crate) fn watch_bytes(&self, nth: usize) -> usize {
        let most = self.watches_per_stream.max(1);
        let half = self.waiting_bytes / 2;
        // An upper bound of 1 + 1/2 + ... + 1/most.
        let shares = most.ilog2() as usize + 1;
        let bytes = half / most + half / (nth.clamp(1, most) * shares);
        bytes.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_of_a_stream_share_the_waiting_bytes() {
        for (waiting_bytes, watches_per_stream) in [(64 << 20, 4096), (1 << 20, 100), (9000, 1)] {
            let limits = Limits {
                waiting_bytes,
                watches_per_stream,
                ..Limits::default()
            };
            let parts = (1..=watches_per_stream).map(|nth| limits.watch_bytes(nth));
            let parts: Vec<usize> = parts.collect();
            assert!(parts.is_sorted_by(|a, b| a >= b));
            let sum: usize = parts.iter().sum();
            assert!(sum <= waiting_bytes && sum > waiting_bytes / 2, "{sum}");
        }
    }
}
