//! What to watch where the user did not say.

use std::collections::HashMap;

use bytes::Bytes;

use super::Args;
use crate::input::Transaction;

/// The one that occurs most; of several, the first in order.
fn most(of: impl Iterator<Item = Bytes>) -> Option<Bytes> {
    let mut counts: HashMap<Bytes, usize> = HashMap::new();
    for one in of {
        *counts.entry(one).or_default() += 1;
    }
    let rank = |(one, count): &(Bytes, usize)| (*count, std::cmp::Reverse(one.clone()));
    counts.into_iter().max_by_key(rank).map(|(one, _)| one)
}

/// The folder that a key is in, with the `/` at its end.
fn folder(key: &Bytes) -> Option<Bytes> {
    let end = key.iter().rposition(|&byte| byte == b'/')?;
    Some(key.slice(..=end))
}

/// The key and the prefix to watch: as asked for, or what changes most. Without input there is
/// nothing to go by, and the empty key and prefix are as good as any.
pub(crate) fn choose(args: &Args, input: &[Transaction]) -> (Bytes, Bytes) {
    let keys = || {
        let changes = input.iter().flat_map(|transaction| &transaction.changes);
        changes.map(|change| change.key().clone())
    };
    let key = match &args.key {
        Some(key) => Bytes::from(key.clone()),
        None => most(keys()).unwrap_or_default(),
    };
    let prefix = match &args.prefix {
        Some(prefix) => Bytes::from(prefix.clone()),
        None => most(keys().filter_map(|key| folder(&key))).unwrap_or_default(),
    };
    (key, prefix)
}

#[cfg(test)]
mod tests {
    use kvwatch::Change;

    use super::*;

    #[test]
    fn what_changes_most_is_watched_unless_the_user_says() {
        let changes = ["b", "a/x", "a/y", "b", "a/x/z", "c", "c"];
        let input = [Transaction {
            position: String::new(),
            changes: changes.map(Change::delete).to_vec(),
        }];
        let chosen = |args| choose(&args, &input);
        assert_eq!(chosen(Args::default()), ("b".into(), "a/".into()));
        let args = Args {
            key: Some("k".into()),
            prefix: Some("p".into()),
            ..Args::default()
        };
        assert_eq!(chosen(args), ("k".into(), "p".into()));
        assert_eq!(choose(&Args::default(), &[]), ("".into(), "".into()));
    }
}
