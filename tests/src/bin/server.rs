//! The program `kvwatch-server`, built with the tests, which start, kill and restart it.

fn main() -> std::process::ExitCode {
    kvwatch_server::main()
}
