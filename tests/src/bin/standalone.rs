//! The example `standalone` as a program that tests can start, kill and start again.

fn main() -> std::process::ExitCode {
    kvwatch_examples::standalone::main()
}
