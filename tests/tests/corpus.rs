//! The inputs that the fuzzers found worth keeping, run again.

use std::path::Path;

use kvwatch_tests::fuzz;

/// Runs every input of a target; returns how many there are.
fn replay(target: &str, run: fn(&[u8])) -> usize {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let entries =
        std::fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
    let mut inputs = 0;
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        let input = std::fs::read(&path).expect("a readable file");
        println!("{}", path.display());
        run(&input);
        inputs += 1;
    }
    inputs
}

#[test]
fn selectors_match_as_the_naive_ones_do() {
    assert!(replay("selectors", fuzz::selectors) > 10);
}

#[test]
fn operations_do_what_the_model_does() {
    assert!(replay("operations", fuzz::operations) > 10);
}
