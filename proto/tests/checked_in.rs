//! The generated code that is checked in is what the .proto files say.

use std::fs;

use kvwatch_proto::{checked_in, generate};

#[test]
fn the_generated_code_is_that_of_the_proto_files() {
    let scratch = tempfile::tempdir().unwrap();
    for (name, text) in generate(scratch.path()).unwrap() {
        let found = fs::read_to_string(checked_in().join(&name)).unwrap_or_default();
        assert!(
            found == text,
            "etcd/src/wire/{name} is not what etcd/proto says: run `make proto`"
        );
    }
}
