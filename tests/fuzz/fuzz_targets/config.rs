//! The configuration reader: any two files are read or refused, and never bring it down.

#![no_main]

use std::fs;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

fn directory() -> &'static tempfile::TempDir {
    static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
    DIR.get_or_init(|| {
        let memory = std::path::Path::new("/dev/shm");
        let made = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        made.expect("a directory")
    })
}

// The files stand one after the other, a zero byte between them.
fuzz_target!(|data: &[u8]| {
    let mut files = data.splitn(2, |byte| *byte == 0);
    let dir = directory().path();
    for name in ["phoenix_hypervisor_config.json", "phoenix_lxc_configs.json"] {
        fs::write(dir.join(name), files.next().unwrap_or(b"{}")).expect("written");
    }
    let _ = phoenix::config::load(dir);
});
