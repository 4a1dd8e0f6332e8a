//! Who may do what, where users are configured.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::error::RequestError;
use crate::keys::KeyRange;
use crate::random;

/// How long a token is good for after it was last used.
const TOKEN_LIFE: Duration = Duration::from_secs(5 * 60);

/// How many tokens there are at most. Beyond it, the one not used for longest goes.
const TOKENS: usize = 10_000;

/// What a call does with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// It reads or watches them.
    Read,
    /// It changes them.
    Write,
}

/// One who may call: a name, a password, and which keys are open to whom knows both.
///
/// ```
/// use kvwatch_etcd::{Access, KeyRange, User};
///
/// let reader = User::new("reader", "secret").allow(Access::Read, KeyRange::from_wire("app/", "app0"));
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
    /// A user to whom nothing is open yet. The password is kept in memory as it is.
    pub fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            password: password.into(),
            grants: Vec::new(),
        }
    }

    /// Opens these keys. A call is allowed where one such range covers all of its keys.
    pub fn allow(mut self, access: Access, keys: KeyRange) -> Self {
        self.grants.push((access, keys));
        self
    }

    /// Opens everything, and compaction.
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

/// Everybody who may call. Where it is empty, anybody may do anything.
pub(crate) struct Users {
    users: HashMap<String, Arc<User>>,
    tokens: Mutex<HashMap<String, Token>>,
}

struct Token {
    user: Arc<User>,
    until: Instant,
}

/// Who made a call.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// No users are configured.
    Anybody,
    Known(Arc<User>),
}

impl Caller {
    /// Refuses what is not open to this caller. The range is to be that of the request as it was
    /// sent.
    pub(crate) fn check(&self, access: Access, keys: &KeyRange) -> Result<(), RequestError> {
        let Self::Known(user) = self else {
            return Ok(());
        };
        let mut grants = user.grants.iter();
        if grants.any(|(granted, open)| *granted == access && open.covers(keys)) {
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
        // Nothing in here panics half-way.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token for whoever knows a user's password.
    pub(crate) fn log_in(&self, name: &str, password: &str) -> Result<String, Status> {
        if self.users.is_empty() {
            return Err(RequestError::AuthNotEnabled.into());
        }
        let user = self.users.get(name);
        let right = user.is_some_and(|user| same(user.password.as_bytes(), password.as_bytes()));
        let Some(user) = user.filter(|_| right) else {
            return Err(RequestError::AuthFailed.into());
        };
        let token = format!("{:032x}", u128::from_le_bytes(random::bytes()?));
        let until = Instant::now() + TOKEN_LIFE;
        let user = Arc::clone(user);
        let mut tokens = self.tokens();
        if tokens.len() >= TOKENS {
            let oldest = tokens.iter().min_by_key(|entry| entry.1.until);
            if let Some(oldest) = oldest.map(|entry| entry.0.clone()) {
                tokens.remove(&oldest);
            }
        }
        tokens.insert(token.clone(), Token { user, until });
        Ok(token)
    }

    /// Who calls, by the token that came with the call.
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
        if token.until <= now {
            tokens.remove(text);
            return Err(RequestError::InvalidToken);
        }
        token.until = now + TOKEN_LIFE;
        Ok(Caller::Known(Arc::clone(&token.user)))
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Users").field(&self.users.len()).finish()
    }
}

/// Compares in a time that tells nothing but the lengths.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differ = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && differ == 0
}
