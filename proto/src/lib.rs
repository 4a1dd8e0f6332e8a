//! Makes the Rust code of the etcd services out of `etcd/proto`, without `protoc`.
//!
//! The code is checked in, so that users of kvwatch need none of this. `make proto` writes it
//! anew; a test says when that is due.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// A generated file: its name and what is in it.
pub type Generated = (String, String);

/// The root of package `kvwatch-etcd`.
fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../etcd")
}

/// Where the generated code is checked in.
#[must_use]
pub fn checked_in() -> PathBuf {
    package().join("src/wire")
}

/// Generates the code into an empty folder and reads it.
///
/// # Errors
/// If a .proto file is wrong, or the folder cannot be used.
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
