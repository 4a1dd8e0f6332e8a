//! The checked-in code matches the `.proto` files.

use std::fs;

use kvwatch_proto::{checked_in, generate};

#[test]
fn checked_in_code_matches_the_proto_files() {
    let scratch = tempfile::tempdir().unwrap();
    for (name, text) in generate(scratch.path()).unwrap() {
        let found = fs::read_to_string(checked_in().join(&name)).unwrap_or_default();
        assert!(
            found == text,
            "etcd/src/wire/{name} does not match etcd/proto: run `make proto`"
        );
    }
}
