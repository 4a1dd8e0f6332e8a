//! The example service_discovery, run as by its user.

mod program;

use kvwatch_examples::service_discovery::run;

/// Runs the example with these arguments. Returns its output, or the error. The limit for missing
/// heartbeats is longer than a busy machine delays a running server.
fn service_discovery(arguments: &[&str]) -> Result<String, String> {
    let program = &["service_discovery", "--silence", "2000"][..];
    program::output(&[program, arguments].concat(), run)
}

#[test]
fn requests_go_to_running_servers_only() {
    let out = service_discovery(&["--servers", "5", "--requests", "10"]).unwrap();
    assert!(out.contains("50 requests, the same number to each server"));
    assert!(out.contains("server-0 left: 40 requests"));
    assert!(out.contains("server-1 crashed") && out.contains("30 requests to the others"));
    assert!(out.contains("server-2 moved: 30 requests"));
    assert!(out.ends_with("every request went to a running server\n"));
}

#[test]
fn entries_of_an_earlier_run_are_deleted() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().to_str().unwrap();
    // The first run leaves the entries of its servers. One of them is not running in the second.
    service_discovery(&["--data", folder, "--servers", "6"]).unwrap();
    service_discovery(&["--data", folder, "--servers", "5"]).unwrap();
}

#[test]
fn invalid_arguments_are_named_in_the_error() {
    let few = service_discovery(&["--servers", "2"]).unwrap_err();
    assert!(few.contains("3..=100"), "{few}");
    let none = service_discovery(&["--requests", "0"]).unwrap_err();
    assert!(none.contains("--requests"), "{none}");
}
