//! The lock as a user meets it.

mod program;

use std::thread;
use std::time::{Duration, Instant};

use kvwatch_examples::lock_wait::{LockError, Locks, run};
use kvwatch_examples::store::Store;

/// Runs it with these arguments; returns what it printed, or the error.
fn lock_wait(arguments: &[&str]) -> Result<String, String> {
    let program = &["lock_wait"][..];
    program::output(&[program, arguments].concat(), run)
}

#[test]
fn workers_take_turns() {
    let out = lock_wait(&["--workers", "8", "--turns", "10", "--hold", "0"]).unwrap();
    assert!(out.contains("80 turns, one at a time and in order; 0 tickets"));
}

#[test]
fn who_gives_up_holds_up_nobody() {
    let out = lock_wait(&["--workers", "3", "--patience", "1", "--hold", "30"]).unwrap();
    assert!(out.contains("gave up"));
    assert!(!out.contains("; 0 tickets were given back unused"));
}

#[test]
fn a_lock_is_waited_for_until_the_deadline_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let locks = Locks::new(Store::open(&dir.path().join("locks.redb"), 10).unwrap());
    let far = || Instant::now() + Duration::from_secs(60);
    let held = locks.lock("a", far()).unwrap();
    let soon = Instant::now() + Duration::from_millis(20);
    let refused = locks.lock("a", soon).unwrap_err();
    assert!(matches!(refused, LockError::Timeout { .. }), "{refused}");
    assert!(Instant::now() >= soon);
    // Another lock is another line.
    drop(locks.lock("b", far()).unwrap());
    thread::scope(|scope| {
        let next = scope.spawn(|| locks.lock("a", far()).map(drop));
        held.release().unwrap();
        next.join().unwrap().unwrap();
    });
}

#[test]
fn tickets_of_a_crashed_run_are_cleared() {
    let data = tempfile::tempdir().unwrap();
    let locks = Locks::new(Store::open(&data.path().join("lock_wait.redb"), 10).unwrap());
    let held = locks.lock("printer", Instant::now()).unwrap();
    std::mem::forget(held);
    locks.into_store().shut_down().unwrap();
    let arguments = ["--data", data.path().to_str().unwrap(), "--turns", "1"];
    let out = lock_wait(&arguments).unwrap();
    assert!(out.contains("1 tickets of an earlier run"), "{out}");
    assert!(!lock_wait(&arguments).unwrap().contains("earlier run"));
}

#[test]
fn bad_arguments_are_named() {
    let none = lock_wait(&["--workers", "0"]).unwrap_err();
    assert!(none.contains("1..=1000"), "{none}");
    let word = lock_wait(&["--patience", "much"]).unwrap_err();
    assert!(word.contains("--patience"), "{word}");
}
