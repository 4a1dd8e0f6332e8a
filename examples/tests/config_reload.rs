//! The example config_reload, run as by its user.

mod program;

use std::net::TcpListener;

use kvwatch_examples::config_reload::run;

/// Runs the example with these arguments. Returns its output, or the error.
fn config_reload(arguments: &[&str]) -> Result<String, String> {
    let program = &["config_reload"][..];
    program::output(&[program, arguments].concat(), run)
}

#[test]
fn changes_reach_every_connected_client() {
    let out = config_reload(&["--clients", "3", "--changes", "30"]).unwrap();
    assert!(out.contains("30 changes, each seen at once by 3 clients"));
    assert!(out.contains("the default is used: Welcome, you! -- server 30"));
    assert!(out.contains("config/limit is \"many\" and must be a whole number"));
    assert!(out.ends_with("every client saw every change\n"));
}

#[test]
fn second_run_uses_the_store_of_the_first() {
    let data = tempfile::tempdir().unwrap();
    let arguments = ["--changes", "3", "--data", data.path().to_str().unwrap()];
    for _ in 0..2 {
        config_reload(&arguments).unwrap();
    }
}

#[test]
fn invalid_arguments_are_named_in_the_error() {
    let none = config_reload(&["--clients", "0"]).unwrap_err();
    assert!(none.contains("1..=1000"), "{none}");
    let word = config_reload(&["--changes", "some"]).unwrap_err();
    assert!(word.contains("--changes"), "{word}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let error = config_reload(&["--port", &port]).unwrap_err();
    assert!(
        error.contains(&port) && error.contains("try another --port"),
        "{error}"
    );
}
