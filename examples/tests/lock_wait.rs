//! The example lock_wait, run as by its user.

mod program;

use std::thread;
use std::time::{Duration, Instant};

use kvwatch_examples::lock_wait::{LockError, Locks, run};
use kvwatch_examples::store::Store;

/// Runs the example with these arguments. Returns its output, or the error.
fn lock_wait(arguments: &[&str]) -> Result<String, String> {
    let program = &["lock_wait"][..];
    program::output(&[program, arguments].concat(), run)
}

#[test]
fn workers_get_the_lock_one_at_a_time() {
    let out = lock_wait(&["--workers", "8", "--rounds", "10", "--hold", "0"]).unwrap();
    assert!(out.contains("80 turns, one at a time and in order; 0 tickets"));
}

#[test]
fn worker_that_times_out_does_not_block_the_others() {
    let out = lock_wait(&["--workers", "3", "--timeout", "1", "--hold", "30"]).unwrap();
    assert!(out.contains("gave up"));
    assert!(!out.contains("; 0 tickets were given back unused"));
}

#[test]
fn lock_waits_until_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let locks = Locks::new(Store::open(&dir.path().join("locks.redb"), 10).unwrap());
    let far = || Instant::now() + Duration::from_secs(60);
    let guard = locks.lock("a", far()).unwrap();
    let soon = Instant::now() + Duration::from_millis(20);
    let refused = locks.lock("a", soon).unwrap_err();
    assert!(matches!(refused, LockError::Timeout { .. }), "{refused}");
    assert!(Instant::now() >= soon);
    // Another lock is independent.
    drop(locks.lock("b", far()).unwrap());
    thread::scope(|scope| {
        let next = scope.spawn(|| locks.lock("a", far()).map(drop));
        guard.release().unwrap();
        next.join().unwrap().unwrap();
    });
}

#[test]
fn tickets_of_a_crashed_run_are_deleted() {
    let data = tempfile::tempdir().unwrap();
    let locks = Locks::new(Store::open(&data.path().join("lock_wait.redb"), 10).unwrap());
    let guard = locks.lock("printer", Instant::now()).unwrap();
    std::mem::forget(guard);
    locks.into_store().shut_down().unwrap();
    let arguments = ["--data", data.path().to_str().unwrap(), "--rounds", "1"];
    let out = lock_wait(&arguments).unwrap();
    assert!(out.contains("1 tickets of an earlier run"), "{out}");
    assert!(!lock_wait(&arguments).unwrap().contains("earlier run"));
}

#[test]
fn invalid_arguments_are_named_in_the_error() {
    let none = lock_wait(&["--workers", "0"]).unwrap_err();
    assert!(none.contains("1..=1000"), "{none}");
    let word = lock_wait(&["--timeout", "much"]).unwrap_err();
    assert!(word.contains("--timeout"), "{word}");
}
