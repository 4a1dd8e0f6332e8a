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
    /// watches that a stream may have gets a part, the first ones larger parts than the last.
    /// Default: 64 MiB, of which the first watch gets 2.5 MiB, the hundredth 33 KiB and the last
    /// 8.6 KiB.
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

    /// What may wait for a watch that is opened as the `nth` of its stream, counted from 1.
    ///
    /// Half of it all is shared out equally, and of the other half the nth gets in proportion to
    /// 1/n: most streams have few watches, and what overflows has to be read again. Of the watches
    /// open at a time no more than m were opened as one of the first m, for the others were open
    /// when the last of these was; so together they never have more than all of it, in whatever
    /// order they come and go.
    pub(crate) fn watch_bytes(&self, nth: usize) -> usize {
        let most = self.watches_per_stream.max(1);
        let half = self.waiting_bytes / 2;
        // 1 + 1/2 + ... + 1/most is no more than this.
        let shares = most.ilog2() as usize + 1;
        let bytes = half / most + half / (nth.clamp(1, most) * shares);
        bytes.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_all_watches_of_a_stream_is_bounded() {
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
