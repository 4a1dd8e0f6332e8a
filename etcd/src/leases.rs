//! When leases expire.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The shortest lease, in seconds. A shorter request is extended to it, as with etcd's default
/// settings.
pub const MIN_TTL: i64 = 2;

/// The longest lease, in seconds.
pub const MAX_TTL: i64 = 9_000_000_000;

/// When each lease expires.
///
/// The table is in memory only, like etcd's: after a restart every lease has its full TTL again. So
/// the store must keep its leases durably, and [`grant`](Self::grant) them again when it starts.
/// The table starts no thread and no timer. The store waits for [`next_expiry`](Self::next_expiry),
/// or for other work, and then runs an [`Operation::revoke`](crate::Operation::revoke) for every
/// [`expired`](Self::expired) lease.
///
/// ```
/// use std::time::{Duration, Instant};
/// use kvwatch_etcd::Leases;
///
/// let leases = Leases::default();
/// leases.grant(7, 60);
/// assert_eq!(leases.keep_alive(7), Some(60));
/// assert!(leases.expired(Instant::now()).is_empty());
/// assert_eq!(leases.expired(Instant::now() + Duration::from_secs(61)), [7]);
/// leases.forget(7);
/// assert_eq!(leases.keep_alive(7), None);
/// ```
#[derive(Default)]
pub struct Leases {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    leases: HashMap<i64, Lease>,
    /// The leases by expiry.
    by_expiry: BTreeSet<(Instant, i64)>,
}

#[derive(Clone, Copy)]
struct Lease {
    ttl: i64,
    expiry: Instant,
}

/// The time of one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTime {
    /// The granted TTL, in seconds.
    pub granted: i64,
    /// The rest of it; zero once the lease has expired.
    pub remaining: Duration,
}

impl Leases {
    fn table(&self) -> MutexGuard<'_, Table> {
        // No code under the lock panics half-way.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a lease of `ttl` seconds, clamped to 1 and [`MAX_TTL`]. An existing lease starts over.
    pub fn grant(&self, lease: i64, ttl: i64) {
        self.table().set(lease, ttl);
    }

    /// Starts a lease over and returns its TTL in seconds. `None` if the lease does not exist or
    /// has expired.
    pub fn keep_alive(&self, lease: i64) -> Option<i64> {
        let mut table = self.table();
        let Lease { ttl, expiry } = *table.leases.get(&lease)?;
        if expiry <= Instant::now() {
            return None;
        }
        table.set(lease, ttl);
        Some(ttl)
    }

    /// Removes a lease that was revoked.
    pub fn forget(&self, lease: i64) {
        let mut table = self.table();
        if let Some(removed) = table.leases.remove(&lease) {
            table.by_expiry.remove(&(removed.expiry, lease));
        }
    }

    /// The time of a lease, if the lease exists.
    #[must_use]
    pub fn get(&self, lease: i64) -> Option<LeaseTime> {
        let Lease { ttl, expiry } = *self.table().leases.get(&lease)?;
        let remaining = expiry.saturating_duration_since(Instant::now());
        Some(LeaseTime {
            granted: ttl,
            remaining,
        })
    }

    /// All leases, by expiry.
    #[must_use]
    pub fn ids(&self) -> Vec<i64> {
        self.table().by_expiry.iter().map(|entry| entry.1).collect()
    }

    /// When the next lease expires, if there is a lease. An expired lease counts until it is
    /// [forgotten](Self::forget).
    #[must_use]
    pub fn next_expiry(&self) -> Option<Instant> {
        self.table().by_expiry.first().map(|entry| entry.0)
    }

    /// The leases that have expired by `deadline` and were not forgotten, by expiry.
    #[must_use]
    pub fn expired(&self, deadline: Instant) -> Vec<i64> {
        let table = self.table();
        let expired = table
            .by_expiry
            .iter()
            .take_while(|entry| entry.0 <= deadline);
        expired.map(|entry| entry.1).collect()
    }
}

impl Table {
    fn set(&mut self, lease: i64, ttl: i64) {
        let ttl = ttl.clamp(1, MAX_TTL);
        let expiry = Instant::now() + Duration::from_secs(ttl.unsigned_abs());
        if let Some(old) = self.leases.insert(lease, Lease { ttl, expiry }) {
            self.by_expiry.remove(&(old.expiry, lease));
        }
        self.by_expiry.insert((expiry, lease));
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leases").field(&self.ids().len()).finish()
    }
}
