//! The history of a git repository. Each commit is a transaction, oldest first along the first
//! parents; paths are keys, blob ids are values, and deletions are deletes.
//!
//! Along the first parents each commit is compared with the one before it. Applying the commits in
//! order thus gives the files of the last one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use kvwatch::Change;

use super::{InputError, Transaction};

/// The byte before each commit's id. No raw entry starts with it.
const COMMIT: u8 = 1;

/// A repository to read from.
#[derive(Clone, Copy, Debug)]
pub struct Git<'a> {
    /// A folder in the repository.
    pub dir: &'a Path,
}

impl Git<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        // Overrides the user's configuration, which would change the output.
        command
            .arg("-C")
            .arg(self.dir)
            .args(["-c", "log.showRoot=true"]);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs git. Returns its output, or the first line of its error message.
    fn output(&self, arguments: &[&str]) -> Result<Result<Vec<u8>, String>, InputError> {
        let output = self
            .command(arguments)
            .output()
            .map_err(InputError::NoGit)?;
        if output.status.success() {
            return Ok(Ok(output.stdout));
        }
        let message = String::from_utf8_lossy(&output.stderr);
        Ok(Err(message
            .lines()
            .next()
            .unwrap_or("no message")
            .to_owned()))
    }

    /// The commits after the one with the id `after`, at most `limit` of them.
    ///
    /// # Errors
    /// [`InputError::NoGit`], [`InputError::NoRepository`], [`InputError::OtherInput`] if
    /// `after` is not among the first parents, and [`InputError::Git`].
    pub fn transactions(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Transaction>, InputError> {
        if let Err(message) = self.output(&["rev-parse", "--verify", "HEAD^{commit}"])? {
            let dir = self.dir.to_owned();
            return Err(InputError::NoRepository { dir, message });
        }
        let mut arguments = vec![
            "log",
            "--reverse",
            "--first-parent",
            "--diff-merges=first-parent",
            "--raw",
            "-z",
            "--no-abbrev",
            "--no-renames",
            "--format=%x01%H",
        ];
        let range;
        if let Some(after) = after {
            let ancestors = self.output(&["rev-list", "--first-parent", "HEAD"])?;
            let ancestors = ancestors.map_err(InputError::Git)?;
            if !ancestors
                .split(|&b| b == b'\n')
                .any(|id| id == after.as_bytes())
            {
                let position = after.to_owned();
                return Err(InputError::OtherInput { position });
            }
            range = format!("{after}..HEAD");
            arguments.push(&range);
        }
        let mut child = self
            .command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(InputError::NoGit)?;
        let stdout = child.stdout.take().expect("it is piped");
        let read = parse(BufReader::new(stdout), limit);
        // At the limit, git may still be writing.
        drop(child.kill());
        let status = child.wait().map_err(InputError::NoGit)?;
        match read {
            Ok(transactions) if transactions.len() == limit || !status_failed(status) => {
                Ok(transactions)
            }
            Ok(_) => Err(InputError::Git(status.to_string())),
            Err(error) => Err(error),
        }
    }
}

/// Whether git exited with an error code, instead of being killed.
fn status_failed(status: std::process::ExitStatus) -> bool {
    status.code().is_some_and(|code| code != 0)
}

/// The files of a commit, by path, with their blob ids.
///
/// # Errors
/// [`InputError::NoGit`] and [`InputError::Git`].
pub fn files_of(git: Git<'_>, commit: &str) -> Result<BTreeMap<Bytes, Bytes>, InputError> {
    let listed = git.output(&["ls-tree", "-r", "-z", "--full-tree", commit])?;
    let listed = listed.map_err(InputError::Git)?;
    let file = |entry: &[u8]| {
        // "mode type id\tpath"
        let tab = entry.iter().position(|&b| b == b'\t')?;
        let id = entry[..tab].rsplit(|&b| b == b' ').next()?;
        Some((
            Bytes::copy_from_slice(&entry[tab + 1..]),
            Bytes::copy_from_slice(id),
        ))
    };
    Ok(listed.split(|&b| b == 0).filter_map(file).collect())
}

/// Parses the log: `\1id` for a commit, then `:mode mode id id status` and the path for each of its
/// changes. Each of these tokens ends with a zero byte.
fn parse(mut log: impl BufRead, limit: usize) -> Result<Vec<Transaction>, InputError> {
    let mut transactions: Vec<Transaction> = Vec::new();
    let mut token = Vec::new();
    while next(&mut log, &mut token)? {
        // A line end separates the commit from its first change.
        let start = usize::from(token.first() == Some(&b'\n'));
        match token[start..].split_first() {
            Some((&COMMIT, id)) => {
                if transactions.len() == limit {
                    break;
                }
                transactions.push(Transaction {
                    position: String::from_utf8_lossy(id).into_owned(),
                    changes: Vec::new(),
                });
            }
            Some((b':', entry)) => {
                let value = new_value(entry)?;
                let transaction = transactions.last_mut();
                if !next(&mut log, &mut token)? {
                    return Err(InputError::Git("a change without a path".to_owned()));
                }
                let path = Bytes::copy_from_slice(&token);
                let change = match value {
                    Some(id) => Change::put(path, id),
                    None => Change::delete(path),
                };
                let orphan = || InputError::Git("a change before any commit".to_owned());
                transaction.ok_or_else(orphan)?.changes.push(change);
            }
            _ => return Err(unexpected(&token)),
        }
    }
    Ok(transactions)
}

/// The new blob id in a change, or `None` for a deletion.
fn new_value(entry: &[u8]) -> Result<Option<Bytes>, InputError> {
    let fields: Vec<&[u8]> = entry.split(|&b| b == b' ').collect();
    match fields[..] {
        [_, b"000000", _, _, _] => Ok(None),
        [_, _, _, id, _] => Ok(Some(Bytes::copy_from_slice(id))),
        _ => Err(unexpected(entry)),
    }
}

fn unexpected(token: &[u8]) -> InputError {
    let token = String::from_utf8_lossy(token);
    InputError::Git(format!("it printed {token:?}, which is not a change"))
}

/// The next token without the zero byte at its end; `false` at the end of the input.
fn next(log: &mut impl BufRead, token: &mut Vec<u8>) -> Result<bool, InputError> {
    token.clear();
    let read = log.read_until(0, token);
    let read = read.map_err(|error| InputError::Git(error.to_string()))?;
    if token.last() == Some(&0) {
        token.pop();
    }
    Ok(read > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const ZERO: &str = "0000000000000000000000000000000000000000";

    fn parsed(text: &[u8], limit: usize) -> Result<Vec<Transaction>, InputError> {
        parse(BufReader::new(text), limit)
    }

    fn log() -> Vec<u8> {
        let mut log = format!("\u{1}c1\0\n:000000 100644 {ZERO} {A} A\0a b\0").into_bytes();
        log.extend(format!(":000000 160000 {ZERO} {A} A\0").bytes());
        log.extend(b"\x01\xff/\n:\0");
        log.extend(b"\x01c2\0");
        log.extend(format!("\u{1}c3\0\n:100644 000000 {A} {ZERO} D\0a b\0").bytes());
        log.extend(format!(":100644 100755 {A} {A} M\0:x\0").bytes());
        log
    }

    #[test]
    fn paths_of_any_bytes_are_parsed() {
        let transactions = parsed(&log(), 100).unwrap();
        let put = |key: &'static [u8]| Change::put(key, A);
        assert_eq!(transactions[0].changes, [put(b"a b"), put(b"\x01\xff/\n:")]);
        assert_eq!(transactions[1].changes, [], "an empty commit");
        assert_eq!(transactions[2].changes, [Change::delete("a b"), put(b":x")]);
        let positions: Vec<_> = transactions.iter().map(|t| t.position.as_str()).collect();
        assert_eq!(positions, ["c1", "c2", "c3"]);
    }

    #[test]
    fn limit_counts_commits() {
        assert_eq!(parsed(&log(), 2).unwrap().len(), 2);
        assert_eq!(parsed(b"", 2).unwrap(), []);
    }

    #[test]
    fn malformed_log_is_refused() {
        let wrong: [&[u8]; 4] = [
            b"hello\0",
            b"\x01c\0:100644 x\0p\0",
            b":1 2 3 4 A\0p\0",
            b"\0",
        ];
        for text in wrong {
            let error = parsed(text, 9).unwrap_err();
            assert!(error.to_string().contains("--changes"), "{error}");
        }
        let cut = log();
        parsed(&cut[..cut.len() - 3], 9).unwrap_err();
    }
}
