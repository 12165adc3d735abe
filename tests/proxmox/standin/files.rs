//! The programs by which directories are made: the real ones, each of them a call at which a test
//! can strike.

use std::path::Path;

use super::call::command;
use super::{Failure, Outcome};

/// What a script looks for in the node's `bin` before it looks elsewhere.
pub const PROGRAMS: [&str; 5] = ["mkdir", "rmdir", "chown", "chmod", "mv"];

/// The real one does it, and says what it has to say by itself.
pub fn run(program: &str, words: &[&str]) -> Outcome {
    let real = Path::new("/bin").join(program);
    let status = command(&real).args(words).status().expect("it starts");
    match status.code() {
        Some(0) => Ok(()),
        code => Err(Failure::new(code.unwrap_or(255), "")),
    }
}
