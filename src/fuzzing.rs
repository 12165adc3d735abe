//! Doors for the fuzzers in `tests/fuzz`, in their build only.

pub use crate::host::lxc::fuzz as host;
pub use crate::journal::fuzz as record;
