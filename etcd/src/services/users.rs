//! Users, their permissions, and the tokens of those who are logged in.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::error::RequestError;
use crate::keys::KeyRange;
use crate::random;

/// How long a token is valid after its last use.
const TOKEN_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// The most tokens that are valid at a time. Beyond it, the least recently used one is dropped.
const MAX_TOKENS: usize = 10_000;

/// How a call uses keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// The call reads or watches keys, or returns previous values.
    Read,
    /// The call changes keys.
    Write,
}

/// A user: a name, a password, and permissions for ranges of keys.
///
/// ```
/// use kvwatch_etcd::{Access, KeyRange, User};
///
/// let app = KeyRange::from_wire("app/", "app0");
/// let reader = User::new("reader", "secret").allow(Access::Read, app);
/// let admin = User::new("root", "other secret").allow_all();
/// # let _ = (reader, admin);
/// ```
#[derive(Clone)]
#[must_use]
pub struct User {
    name: String,
    password: String,
    grants: Vec<(Access, KeyRange)>,
}

impl User {
    /// A user without permissions. The password is kept in memory in plain text.
    pub fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            password: password.into(),
            grants: Vec::new(),
        }
    }

    /// Allows access to a range of keys. A call needs one such range that covers all of its keys;
    /// two adjacent ranges do not add up.
    pub fn allow(mut self, access: Access, keys: KeyRange) -> Self {
        self.grants.push((access, keys));
        self
    }

    /// Allows access to all keys, and compaction.
    pub fn allow_all(self) -> Self {
        self.allow(Access::Read, KeyRange::all())
            .allow(Access::Write, KeyRange::all())
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("grants", &self.grants)
            .finish_non_exhaustive()
    }
}

/// All users. If there are none, every client may do everything.
pub(crate) struct Users {
    users: HashMap<String, Arc<User>>,
    tokens: Mutex<HashMap<String, Token>>,
}

struct Token {
    user: Arc<User>,
    expiry: Instant,
}

/// The user of a call.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// No users are configured.
    Anybody,
    User(Arc<User>),
}

impl Caller {
    /// Requires access to `keys`, which must be the range as the request names it.
    pub(crate) fn check(&self, access: Access, keys: &KeyRange) -> Result<(), RequestError> {
        let Self::User(user) = self else {
            return Ok(());
        };
        let mut grants = user.grants.iter();
        if grants.any(|(granted, range)| *granted == access && range.covers(keys)) {
            Ok(())
        } else {
            Err(RequestError::PermissionDenied)
        }
    }
}

impl Users {
    pub(crate) fn new(users: Vec<User>) -> Self {
        let by_name = |user: User| (user.name.clone(), Arc::new(user));
        Self {
            users: users.into_iter().map(by_name).collect(),
            tokens: Mutex::default(),
        }
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<String, Token>> {
        // No code under the lock panics half-way.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks a password and issues a token.
    pub(crate) fn log_in(&self, name: &str, password: &str) -> Result<String, Status> {
        if self.users.is_empty() {
            return Err(RequestError::AuthNotEnabled.into());
        }
        let user = self.users.get(name);
        let is_right =
            user.is_some_and(|user| equal(user.password.as_bytes(), password.as_bytes()));
        let Some(user) = user.filter(|_| is_right) else {
            return Err(RequestError::AuthFailed.into());
        };
        let token = format!("{:032x}", u128::from_le_bytes(random::bytes()?));
        let expiry = Instant::now() + TOKEN_LIFETIME;
        let user = Arc::clone(user);
        let mut tokens = self.tokens();
        if tokens.len() >= MAX_TOKENS {
            let oldest = tokens.iter().min_by_key(|entry| entry.1.expiry);
            if let Some(oldest) = oldest.map(|entry| entry.0.clone()) {
                tokens.remove(&oldest);
            }
        }
        tokens.insert(token.clone(), Token { user, expiry });
        Ok(token)
    }

    /// The user of the token in a call's metadata. Extends the token.
    pub(crate) fn caller(&self, metadata: &MetadataMap) -> Result<Caller, RequestError> {
        if self.users.is_empty() {
            return Ok(Caller::Anybody);
        }
        let token = metadata
            .get("token")
            .or_else(|| metadata.get("authorization"));
        let Some(token) = token else {
            return Err(RequestError::UserEmpty);
        };
        let text = token.to_str().map_err(|_| RequestError::InvalidToken)?;
        let now = Instant::now();
        let mut tokens = self.tokens();
        let token = tokens.get_mut(text).ok_or(RequestError::InvalidToken)?;
        if token.expiry <= now {
            tokens.remove(text);
            return Err(RequestError::InvalidToken);
        }
        token.expiry = now + TOKEN_LIFETIME;
        Ok(Caller::User(Arc::clone(&token.user)))
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Users").field(&self.users.len()).finish()
    }
}

/// Compares in a time that depends on the lengths only.
fn equal(a: &[u8], b: &[u8]) -> bool {
    let differ = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && differ == 0
}
