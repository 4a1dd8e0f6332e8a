//! A single-node server for etcd's clients, on a redb file. `--help` says more;
//! `src/standalone.rs` has the whole of it.

fn main() -> std::process::ExitCode {
    kvwatch_examples::standalone::main()
}
