//! Writes the generated code of etcd's API: `make proto`.

use std::error::Error;
use std::fs;

use kvwatch_proto::{checked_in, generate};

fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    for (name, text) in generate(scratch.path())? {
        let file = checked_in().join(&name);
        fs::write(&file, text)?;
        println!("wrote {name}");
    }
    Ok(())
}
