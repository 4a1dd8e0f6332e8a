//! The journal: the commits since the file was last brought up to date, in a file of their own.
//!
//! ```text
//!   frame     length │ checksum │ number │ rows ...      one commit; numbers are consecutive
//!   journal   41 │ 42 │ 43 │ 44 (torn) │ 38 │ zeros      written from the start again when full
//! ```
//!
//! A durable commit of redb writes many pages across its file. The journal writes one run of bytes
//! into blocks that exist already, which is synced sooner and varies less. So a commit is durable
//! once its frame is synced; redb keeps the commit in memory and writes everything when the journal
//! is full.
//!
//! The file knows the number of its last commit. After a crash the frames with higher numbers run
//! again. Frames left over from an earlier pass over the journal have lower numbers.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::{Buf, BufMut};
use kvwatch::Revision;

/// The length in bytes at which the journal is full. A single longer commit makes it longer.
const FULL: u64 = 32 * 1024 * 1024;
/// The journal grows in steps of so many bytes, filled with zeros: writing into existing blocks
/// saves the file system an allocation for each commit.
const STEP: u64 = 1024 * 1024;
/// Length, checksum, number.
const HEAD: usize = 4 + 4 + 8;

/// One change that a commit makes to the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row<'r> {
    /// A key's record at a revision, and its position in the transaction. An empty record is a
    /// delete.
    Version {
        revision: Revision,
        position: u32,
        key: &'r [u8],
        record: &'r [u8],
    },
    Attach {
        lease: i64,
        key: &'r [u8],
    },
    Detach {
        lease: i64,
        key: &'r [u8],
    },
    Grant {
        lease: i64,
        ttl: i64,
    },
    Revoke {
        lease: i64,
    },
    Compact {
        revision: Revision,
    },
}

impl<'r> Row<'r> {
    pub(crate) fn encode(&self, rows: &mut Vec<u8>) {
        let bytes = |rows: &mut Vec<u8>, bytes: &[u8]| {
            rows.put_u32_le(bytes.len() as u32);
            rows.put_slice(bytes);
        };
        match *self {
            Self::Version {
                revision,
                position,
                key,
                record,
            } => {
                rows.put_u8(1);
                rows.put_u64_le(revision);
                rows.put_u32_le(position);
                bytes(rows, key);
                bytes(rows, record);
            }
            Self::Attach { lease, key } => {
                rows.put_u8(2);
                rows.put_i64_le(lease);
                bytes(rows, key);
            }
            Self::Detach { lease, key } => {
                rows.put_u8(3);
                rows.put_i64_le(lease);
                bytes(rows, key);
            }
            Self::Grant { lease, ttl } => {
                rows.put_u8(4);
                rows.put_i64_le(lease);
                rows.put_i64_le(ttl);
            }
            Self::Revoke { lease } => {
                rows.put_u8(5);
                rows.put_i64_le(lease);
            }
            Self::Compact { revision } => {
                rows.put_u8(6);
                rows.put_u64_le(revision);
            }
        }
    }

    /// Takes the next row off a frame. `None` if it is malformed, which the checksum rules out.
    pub(crate) fn decode(rows: &mut &'r [u8]) -> Option<Self> {
        fn bytes<'r>(rows: &mut &'r [u8]) -> Option<&'r [u8]> {
            let length = rows.try_get_u32_le().ok()? as usize;
            let (bytes, rest) = rows.split_at_checked(length)?;
            *rows = rest;
            Some(bytes)
        }
        Some(match rows.try_get_u8().ok()? {
            1 => Self::Version {
                revision: rows.try_get_u64_le().ok()?,
                position: rows.try_get_u32_le().ok()?,
                key: bytes(rows)?,
                record: bytes(rows)?,
            },
            2 => Self::Attach {
                lease: rows.try_get_i64_le().ok()?,
                key: bytes(rows)?,
            },
            3 => Self::Detach {
                lease: rows.try_get_i64_le().ok()?,
                key: bytes(rows)?,
            },
            4 => Self::Grant {
                lease: rows.try_get_i64_le().ok()?,
                ttl: rows.try_get_i64_le().ok()?,
            },
            5 => Self::Revoke {
                lease: rows.try_get_i64_le().ok()?,
            },
            6 => Self::Compact {
                revision: rows.try_get_u64_le().ok()?,
            },
            _ => return None,
        })
    }
}

/// The file and the write position.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    /// The length of the file: frames, then zeros.
    length: u64,
    /// The position of the next frame.
    offset: u64,
    frame: Vec<u8>,
}

impl Journal {
    /// Opens or creates the journal, and calls `replay` with the number and the rows of each frame
    /// after number `applied`, in order. The caller must make these commits durable before the
    /// first append.
    ///
    /// # Errors
    /// If the file cannot be used, `replay` fails, or a frame is missing between `applied` and the
    /// journal's first.
    pub(crate) fn recover<E: From<io::Error>>(
        path: &Path,
        applied: u64,
        mut replay: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path)?;
        let length = file.metadata()?.len();
        let mut content = vec![0; length as usize];
        file.read_exact_at(&mut content, 0)?;
        let mut rest = &content[..];
        let mut known = applied;
        let mut last = None;
        while let Some((number, rows)) = frame(&mut rest)
            && last.is_none_or(|last| number == last + 1)
        {
            if number > known + 1 {
                let gap =
                    format!("the journal goes on with {number}, and the file ends at {known}");
                return Err(io::Error::other(gap).into());
            }
            if number > known {
                replay(number, rows)?;
                known = number;
            }
            last = Some(number);
        }
        Ok(Self {
            file,
            length,
            offset: 0,
            frame: Vec::new(),
        })
    }

    /// Writes a commit and syncs it to disk.
    ///
    /// # Errors
    /// If the commit may not be durable. Nothing may be appended to this journal after that.
    pub(crate) fn append(&mut self, number: u64, rows: &[u8]) -> io::Result<()> {
        let length = u32::try_from(rows.len()).map_err(io::Error::other)?;
        self.frame.clear();
        self.frame.put_u32_le(length);
        self.frame.put_u32_le(checksum(number, rows));
        self.frame.put_u64_le(number);
        self.frame.put_slice(rows);
        let end = self.offset + self.frame.len() as u64;
        if end > self.length {
            let zeros = vec![0; (end - self.length).next_multiple_of(STEP) as usize];
            self.file.write_all_at(&zeros, self.length)?;
            self.length += zeros.len() as u64;
        }
        self.file.write_all_at(&self.frame, self.offset)?;
        self.file.sync_data()?;
        self.offset = end;
        if self.frame.capacity() > STEP as usize {
            self.frame = Vec::new();
        }
        Ok(())
    }

    /// Whether it is time to bring the file up to date and start over.
    pub(crate) fn is_full(&self) -> bool {
        self.offset >= FULL
    }

    /// Starts over at the front. The file must be up to date.
    pub(crate) fn start_over(&mut self) {
        self.offset = 0;
    }
}

/// Takes the next whole frame: its number and its rows. `None` if there is none.
fn frame<'f>(content: &mut &'f [u8]) -> Option<(u64, &'f [u8])> {
    let (mut head, rest) = content.split_at_checked(HEAD)?;
    let length = head.get_u32_le() as usize;
    let sum = head.get_u32_le();
    let number = head.get_u64_le();
    let (rows, rest) = rest.split_at_checked(length)?;
    if number == 0 || sum != checksum(number, rows) {
        return None;
    }
    *content = rest;
    Some((number, rows))
}

fn checksum(number: u64, rows: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(rows);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replayed(path: &Path, applied: u64) -> Vec<(u64, Vec<u8>)> {
        let mut frames = Vec::new();
        Journal::recover(path, applied, |number, rows| {
            frames.push((number, rows.to_vec()));
            Ok::<_, io::Error>(())
        })
        .unwrap();
        frames
    }

    fn numbers(path: &Path, applied: u64) -> Vec<u64> {
        let frames = replayed(path, applied);
        frames.into_iter().map(|frame| frame.0).collect()
    }

    #[test]
    fn a_row_decodes_as_it_was_encoded() {
        let (key, record) = (&b"key"[..], &b"record"[..]);
        let rows = [
            Row::Version {
                revision: 7,
                position: 2,
                key,
                record,
            },
            Row::Version {
                revision: 7,
                position: 3,
                key,
                record: b"",
            },
            Row::Attach { lease: -1, key },
            Row::Detach { lease: 9, key },
            Row::Grant { lease: 9, ttl: 60 },
            Row::Revoke { lease: 9 },
            Row::Compact { revision: 6 },
        ];
        let mut bytes = Vec::new();
        rows.iter().for_each(|row| row.encode(&mut bytes));
        let mut rest = &bytes[..];
        for row in rows {
            assert_eq!(Row::decode(&mut rest), Some(row));
        }
        assert_eq!(Row::decode(&mut rest), None);
    }

    #[test]
    fn commits_that_the_file_has_are_not_replayed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::recover(&path, 0, |_, _| Ok::<_, io::Error>(())).unwrap();
        for number in 1..=5 {
            journal.append(number, &[number as u8; 100]).unwrap();
        }
        assert_eq!(numbers(&path, 0), [1, 2, 3, 4, 5]);
        assert_eq!(replayed(&path, 4), [(5, vec![5; 100])]);
        // In the second pass, frames of the first one follow the new ones.
        journal.start_over();
        for number in 6..=8 {
            journal.append(number, b"shorter").unwrap();
        }
        assert_eq!(numbers(&path, 5), [6, 7, 8]);
        assert!(numbers(&path, 8).is_empty());
        journal.start_over();
        journal.append(9, &[9; 3 * (HEAD + 100) - HEAD]).unwrap();
        assert_eq!(numbers(&path, 8), [9], "frame 4 follows directly");
    }

    #[test]
    fn a_torn_frame_is_ignored_and_a_missing_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::recover(&path, 0, |_, _| Ok::<_, io::Error>(())).unwrap();
        for number in 1..=3 {
            journal.append(number, &[1; 100]).unwrap();
        }
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[2], 3 * (HEAD as u64 + 100) - 1)
            .unwrap();
        assert_eq!(numbers(&path, 0), [1, 2]);
        file.set_len(2 * (HEAD as u64 + 100) - 1).unwrap();
        assert_eq!(numbers(&path, 0), [1]);
        let mut journal = Journal::recover(&path, 1, |_, _| Ok::<_, io::Error>(())).unwrap();
        journal.append(7, b"from nowhere").unwrap();
        let opened = Journal::recover(&path, 1, |_, _| Ok::<_, io::Error>(()));
        assert!(opened.unwrap_err().to_string().contains("goes on with 7"));
    }

    #[test]
    fn a_commit_longer_than_a_full_journal_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::recover(&path, 0, |_, _| Ok::<_, io::Error>(())).unwrap();
        let rows = vec![1; FULL as usize + 1];
        journal.append(1, &rows).unwrap();
        assert!(journal.is_full());
        assert!(replayed(&path, 0) == [(1, rows)]);
    }
}
