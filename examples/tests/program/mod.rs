//! Runs an example's program within the test, with the arguments of its user.

use clap::Parser;
use kvwatch_examples::AnyError;

/// Runs a program with these arguments, the first of which is its name. Returns its output, or the
/// error.
pub(crate) fn output<Args: Parser>(
    arguments: &[&str],
    run: impl FnOnce(&Args, &mut Vec<u8>) -> Result<(), AnyError>,
) -> Result<String, String> {
    let args = Args::try_parse_from(arguments).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    let done = run(&args, &mut out);
    let out = String::from_utf8(out).expect("it prints text");
    println!("{out}");
    done.map(|()| out).map_err(|error| error.to_string())
}
