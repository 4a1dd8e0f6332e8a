//! The program `kvwatch-server`; its library has the rest.

fn main() -> std::process::ExitCode {
    kvwatch_server::main()
}
