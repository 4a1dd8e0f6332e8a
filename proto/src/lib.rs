//! Generates the Rust code of etcd's API from `etcd/proto`, without `protoc`.
//!
//! The generated code is checked in, so that users of kvwatch-etcd need neither this package nor
//! `protoc`. `make proto` writes the code again; a test fails when that is due.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// A generated file: its name and its text.
pub type Generated = (String, String);

/// The folder of package `kvwatch-etcd`.
fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../etcd")
}

/// The folder of the checked-in code.
#[must_use]
pub fn checked_in() -> PathBuf {
    package().join("src/wire")
}

/// Generates the code into the empty folder `scratch` and returns it.
///
/// # Errors
/// If a `.proto` file does not compile, or the folder cannot be used.
pub fn generate(scratch: &Path) -> Result<Vec<Generated>, Box<dyn Error>> {
    let folder = package().join("proto");
    let descriptors = protox::compile(["rpc.proto"], [&folder])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .bytes(".")
        .server_mod_attribute("etcdserverpb", "#[cfg(feature = \"server\")]")
        .client_mod_attribute("etcdserverpb", "#[cfg(feature = \"client\")]")
        .codec_path("crate::wire::codec::Codec")
        .out_dir(scratch)
        .compile_fds(descriptors)?;
    let mut files = Vec::new();
    for entry in fs::read_dir(scratch)? {
        let path = entry?.path();
        let name = path.file_name().ok_or("a file without a name")?;
        let text = fs::read_to_string(&path)?;
        files.push((name.to_string_lossy().into_owned(), text));
    }
    files.sort();
    Ok(files)
}
