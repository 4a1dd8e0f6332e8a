//! Clients of other languages and libraries, through their public APIs.

use std::path::Path;
use std::process::Command;

use kvwatch_tests::etcd::ServerProcess;

#[test]
fn a_python_client_receives_the_answers_it_expects() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let server = ServerProcess::start(env!("CARGO_BIN_EXE_server"), &[]);
    let (_, port) = server.address().rsplit_once(':').unwrap();
    let python = Command::new(tests.join("../target/python/bin/python"))
        .arg(tests.join("clients/python.py"))
        .arg(port)
        .output()
        .expect("python with aetcd: run `make python`");
    let errors = String::from_utf8_lossy(&python.stderr);
    assert!(python.status.success(), "{errors}");
}

#[test]
fn the_rust_client_receives_the_answers_it_expects() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let server = ServerProcess::start(env!("CARGO_BIN_EXE_server"), &[]);
    let client = Command::new(tests.join("../target/etcd-client/debug/kvwatch-etcd-client"))
        .arg(server.address())
        .output()
        .expect("the crate etcd-client, built: run `make rust-client`");
    let errors = String::from_utf8_lossy(&client.stderr);
    assert!(client.status.success(), "{errors}");
}
