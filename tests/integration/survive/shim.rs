//! `disk.c`, made with the system's C compiler: a disk that lies, fails or remembers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::tool;

/// Why it cannot be made here.
pub(super) fn obstacle() -> Option<String> {
    library()
        .is_none()
        .then(|| "a C compiler is needed (apt-get install gcc libc6-dev)".to_owned())
}

/// The library to preload.
fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    LIBRARY.get_or_init(compile).as_deref()
}

fn compile() -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/survive/disk.c");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    // Another test process may do the same.
    let (new, library) = (
        dir.join(format!("disk.{}.so", std::process::id())),
        dir.join("disk.so"),
    );
    let made = tool(
        "cc",
        &[
            "-shared".as_ref(),
            "-fPIC".as_ref(),
            "-O1".as_ref(),
            "-Wall".as_ref(),
            "-Werror".as_ref(),
            "-o".as_ref(),
            new.as_os_str(),
            source.as_os_str(),
            "-ldl".as_ref(),
        ],
    );
    made.then(|| {
        std::fs::rename(&new, &library).expect("renamed");
        library
    })
}

/// Puts it under a command, for what lies below a directory.
pub(super) fn put<'a>(command: &'a mut Command, dir: &Path, mode: &str) -> &'a mut Command {
    let library = library().expect("a C compiler");
    command
        .env("LD_PRELOAD", library)
        .env("DISK_DIR", dir)
        .env("DISK_MODE", mode)
}
