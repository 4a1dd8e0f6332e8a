//! Clients of other languages, by their public face.

use std::path::Path;
use std::process::Command;

use kvwatch_tests::etcd::Standalone;

#[test]
fn a_python_client_finds_what_it_expects() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let server = Standalone::start(env!("CARGO_BIN_EXE_server"), &[]);
    let (_, port) = server.address().rsplit_once(':').unwrap();
    let python = Command::new(tests.join("../target/python/bin/python"))
        .arg(tests.join("clients/python.py"))
        .arg(port)
        .output()
        .expect("python with aetcd: run `make python`");
    let said = String::from_utf8_lossy(&python.stderr);
    assert!(python.status.success(), "{said}");
}

#[test]
fn the_rust_client_finds_what_it_expects() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let server = Standalone::start(env!("CARGO_BIN_EXE_server"), &[]);
    let client = Command::new(tests.join("../target/etcd-client/debug/kvwatch-etcd-client"))
        .arg(server.address())
        .output()
        .expect("the crate etcd-client, built: run `make rust-client`");
    let said = String::from_utf8_lossy(&client.stderr);
    assert!(client.status.success(), "{said}");
}
