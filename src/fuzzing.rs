//! Doors for the fuzzers in `tests/fuzz`, in their build only.

pub use crate::journal::fuzz as record;

/// Reads any bytes as what a machine, or a node, says.
pub fn host(bytes: &[u8]) {
    crate::host::pct::fuzz(bytes);
    crate::host::lxc::fuzz(&String::from_utf8_lossy(bytes));
}
