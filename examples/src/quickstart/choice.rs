//! Chooses the key and the prefix to watch.

use std::collections::HashMap;

use bytes::Bytes;

use super::Args;
use crate::input::Transaction;

/// The most frequent item; the first in order if several are equally frequent.
fn most_frequent(items: impl Iterator<Item = Bytes>) -> Option<Bytes> {
    let mut counts: HashMap<Bytes, usize> = HashMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    let rank = |(item, count): &(Bytes, usize)| (*count, std::cmp::Reverse(item.clone()));
    counts.into_iter().max_by_key(rank).map(|(item, _)| item)
}

/// The folder that contains a key, with the `/` at its end.
fn folder(key: &Bytes) -> Option<Bytes> {
    let end = key.iter().rposition(|&byte| byte == b'/')?;
    Some(key.slice(..=end))
}

/// The key and the prefix to watch: those that the arguments name, or those that change most often.
/// Without input, the empty key and prefix.
pub(crate) fn choose(args: &Args, input: &[Transaction]) -> (Bytes, Bytes) {
    let keys = || {
        let changes = input.iter().flat_map(|transaction| &transaction.changes);
        changes.map(|change| change.key().clone())
    };
    let key = match &args.key {
        Some(key) => Bytes::from(key.clone()),
        None => most_frequent(keys()).unwrap_or_default(),
    };
    let prefix = match &args.prefix {
        Some(prefix) => Bytes::from(prefix.clone()),
        None => most_frequent(keys().filter_map(|key| folder(&key))).unwrap_or_default(),
    };
    (key, prefix)
}

#[cfg(test)]
mod tests {
    use kvwatch::Change;

    use super::*;

    #[test]
    fn most_changed_key_and_folder_are_chosen_unless_arguments_name_them() {
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
