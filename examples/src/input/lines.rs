//! A file with one change in JSON per line: `{"tx":1,"put":"app/a","value":"1"}` or
//! `{"tx":1,"delete":"app/a"}`. Adjacent lines with the same `tx` are one transaction.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use kvwatch::Change;
use serde::Deserialize;

use super::{InputError, Transaction};

const EXPECTED: &str = r#"expected {"tx":1,"put":"key","value":"text"} or {"tx":1,"delete":"key"}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    tx: u64,
    put: Option<String>,
    value: Option<String>,
    delete: Option<String>,
}

impl Line {
    fn change(self) -> Result<Change, String> {
        match (self.put, self.value, self.delete) {
            (Some(key), Some(value), None) => Ok(Change::put(key, value)),
            (None, None, Some(key)) => Ok(Change::delete(key)),
            (Some(_), None, None) => Err(format!("a put without a value; {EXPECTED}")),
            (None, None, None) => Err(format!("neither a put nor a delete; {EXPECTED}")),
            _ => Err(format!("a put and a delete in one line; {EXPECTED}")),
        }
    }
}

/// The transactions of a file, after the one at position `after`. Skips empty lines.
///
/// # Errors
/// [`InputError::File`], [`InputError::Line`], and [`InputError::OtherInput`] if `after` is
/// not in the file.
pub fn read_lines(path: &Path, after: Option<&str>) -> Result<Vec<Transaction>, InputError> {
    let unreadable = |error| InputError::File {
        path: path.to_owned(),
        error,
    };
    let file = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut transactions: Vec<Transaction> = Vec::new();
    let mut last = None;
    for (number, line) in file.lines().enumerate() {
        let wrong = |message| InputError::Line {
            path: path.to_owned(),
            line: number + 1,
            message,
        };
        let line = line.map_err(|error| wrong(format!("{error}; {EXPECTED}")))?;
        if line.trim().is_empty() {
            continue;
        }
        let line: Line =
            serde_json::from_str(&line).map_err(|error| wrong(format!("{error}; {EXPECTED}")))?;
        let tx = line.tx;
        let change = line.change().map_err(wrong)?;
        if let Some(last) = last.filter(|last| tx < *last) {
            let message = format!("tx {tx} after tx {last}: the numbers must not decrease");
            return Err(wrong(message));
        }
        match transactions.last_mut().filter(|_| last == Some(tx)) {
            Some(transaction) => transaction.changes.push(change),
            None => transactions.push(Transaction {
                position: format!("tx {tx}"),
                changes: vec![change],
            }),
        }
        last = Some(tx);
    }
    let Some(after) = after else {
        return Ok(transactions);
    };
    match transactions.iter().position(|tx| tx.position == after) {
        Some(at) => Ok(transactions.split_off(at + 1)),
        None => Err(InputError::OtherInput {
            position: after.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, after: Option<&str>) -> Result<Vec<Transaction>, InputError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("changes.jsonl");
        std::fs::write(&path, text).unwrap();
        read_lines(&path, after)
    }

    const THREE: &str = r#"{"tx":1,"put":"a","value":"1"}
{"tx":1,"delete":"b"}

{"tx":5,"put":"a","value":""}
"#;

    #[test]
    fn adjacent_lines_with_the_same_tx_are_one_transaction() {
        let transactions = read(THREE, None).unwrap();
        let changes = [Change::put("a", "1"), Change::delete("b")];
        assert_eq!(transactions[0].changes, changes);
        assert_eq!(transactions[1].changes, [Change::put("a", "")]);
        assert_eq!(transactions.len(), 2);
    }

    #[test]
    fn later_run_continues_after_the_last_transaction() {
        assert_eq!(read(THREE, Some("tx 1")).unwrap().len(), 1);
        assert_eq!(read(THREE, Some("tx 5")).unwrap().len(), 0);
        let other = read(THREE, Some("tx 4")).unwrap_err();
        assert!(matches!(other, InputError::OtherInput { .. }), "{other}");
    }

    #[test]
    fn malformed_line_is_named_with_the_expected_form() {
        let wrong = [
            ("nonsense", "expected"),
            (r#"{"tx":1}"#, "neither"),
            (r#"{"tx":1,"put":"a"}"#, "without a value"),
            (
                r#"{"tx":1,"put":"a","value":"1","delete":"a"}"#,
                "in one line",
            ),
            (r#"{"put":"a","value":"1"}"#, "tx"),
            (r#"{"tx":0,"delete":"a","when":3}"#, "when"),
            (r#"{"tx":0,"delete":"a"}"#, "must not decrease"),
        ];
        for (line, what) in wrong {
            let text = format!("{THREE}{line}\n");
            let error = read(&text, None).unwrap_err().to_string();
            assert!(error.contains("line 5"), "{error}");
            assert!(error.contains(what), "{error}");
        }
        let missing = read_lines(Path::new("not/there.jsonl"), None).unwrap_err();
        assert!(missing.to_string().contains("not/there.jsonl"), "{missing}");
    }
}
