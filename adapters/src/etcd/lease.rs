//! How long leases still have.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The shortest lease, in seconds: a shorter one that is asked for becomes this long, as with
/// etcd's default settings.
pub const MIN_TTL: i64 = 2;

/// The longest lease, in seconds.
pub const MAX_TTL: i64 = 9_000_000_000;

/// When each lease runs out.
///
/// It is kept in memory alone, like etcd's: after a restart every lease has its whole time again,
/// so the store must keep which leases there are, and [`grant`](Self::grant) them anew. It runs
/// nothing: the store asks for [`next_expiry`](Self::next_expiry), waits for it (or for something
/// else to do), and then writes an [`Operation::revoke`](super::Operation::revoke) for every
/// lease that has [`expired`](Self::expired).
///
/// ```
/// use std::time::{Duration, Instant};
/// use kvwatch::etcd::Leases;
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
    /// By when they run out.
    order: BTreeSet<(Instant, i64)>,
}

#[derive(Clone, Copy)]
struct Lease {
    granted: i64,
    until: Instant,
}

/// One lease's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTime {
    /// What it was granted, in seconds.
    pub granted: i64,
    /// What is left of that.
    pub remaining: Duration,
}

impl Leases {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in here panics half-way.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on there is this lease, for `ttl` seconds. One that there is already starts anew.
    pub fn grant(&self, lease: i64, ttl: i64) {
        self.table().set(lease, ttl);
    }

    /// The lease has its whole time again; returns that, in seconds. `None` if there is no such
    /// lease, or its time is up.
    pub fn keep_alive(&self, lease: i64) -> Option<i64> {
        let mut table = self.table();
        let Lease { granted, until } = *table.leases.get(&lease)?;
        if until <= Instant::now() {
            return None;
        }
        table.set(lease, granted);
        Some(granted)
    }

    /// The lease was revoked.
    pub fn forget(&self, lease: i64) {
        let mut table = self.table();
        if let Some(gone) = table.leases.remove(&lease) {
            table.order.remove(&(gone.until, lease));
        }
    }

    /// The time of a lease, if there is such a lease.
    #[must_use]
    pub fn get(&self, lease: i64) -> Option<LeaseTime> {
        let Lease { granted, until } = *self.table().leases.get(&lease)?;
        let remaining = until.saturating_duration_since(Instant::now());
        Some(LeaseTime { granted, remaining })
    }

    /// All leases, the one that runs out next first.
    #[must_use]
    pub fn ids(&self) -> Vec<i64> {
        self.table().order.iter().map(|entry| entry.1).collect()
    }

    /// When the next lease runs out, if there are any.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Instant> {
        self.table().order.first().map(|entry| entry.0)
    }

    /// The leases that have run out by then and were not forgotten.
    #[must_use]
    pub fn expired(&self, by: Instant) -> Vec<i64> {
        let table = self.table();
        let due = table.order.iter().take_while(|entry| entry.0 <= by);
        due.map(|entry| entry.1).collect()
    }
}

impl Table {
    fn set(&mut self, lease: i64, ttl: i64) {
        let ttl = ttl.clamp(1, MAX_TTL);
        let until = Instant::now() + Duration::from_secs(ttl.unsigned_abs());
        let granted = ttl;
        if let Some(old) = self.leases.insert(lease, Lease { granted, until }) {
            self.order.remove(&(old.until, lease));
        }
        self.order.insert((until, lease));
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leases").field(&self.ids().len()).finish()
    }
}
