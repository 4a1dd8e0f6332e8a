//! Runs the corpus of the fuzz targets.

use std::path::Path;

use kvwatch_tests::fuzz;

/// Runs every input of a target, and returns their number.
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
fn selectors_match_as_the_naive_ones_do_for_the_corpus() {
    assert!(replay("selectors", fuzz::selectors) > 10);
}

#[test]
fn engine_and_model_agree_for_the_corpus() {
    assert!(replay("operations", fuzz::operations) > 10);
}
