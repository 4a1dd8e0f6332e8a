//! Servers that come and go, as a user meets them.

mod program;

use kvwatch_examples::service_discovery::run;

/// Runs it with these arguments; returns what it printed, or the error. On a machine that is busy
/// with other tests nobody is silent for long without having crashed.
fn service_discovery(arguments: &[&str]) -> Result<String, String> {
    let program = &["service_discovery", "--silence", "2000"][..];
    program::output(&[program, arguments].concat(), run)
}

#[test]
fn requests_go_to_those_that_are_there() {
    let out = service_discovery(&["--servers", "5", "--requests", "10"]).unwrap();
    assert!(out.contains("50 requests, the same number to each server"));
    assert!(out.contains("server-0 left: 40 requests"));
    assert!(out.contains("server-1 crashed") && out.contains("30 requests to the others"));
    assert!(out.contains("server-2 moved: 30 requests"));
    assert!(out.ends_with("every request went to a server that was there\n"));
}

#[test]
fn what_an_earlier_run_left_behind_is_found_out() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().to_str().unwrap();
    // The first run ends with its servers in the catalogue; one of them is not in the second.
    service_discovery(&["--data", folder, "--servers", "6"]).unwrap();
    service_discovery(&["--data", folder, "--servers", "5"]).unwrap();
}

#[test]
fn bad_arguments_are_named() {
    let few = service_discovery(&["--servers", "2"]).unwrap_err();
    assert!(few.contains("3..=100"), "{few}");
    let none = service_discovery(&["--requests", "0"]).unwrap_err();
    assert!(none.contains("--requests"), "{none}");
}
