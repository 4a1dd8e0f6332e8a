//! The log of dispatched events: records in segments, segments in the history, and the runs of
//! records that one watcher matched.

pub(crate) mod history;
pub(crate) mod records;
pub(crate) mod runs;
pub(crate) mod segment;
