//! Tests of the reader as a whole: every mistake has its place.

mod mistakes;
mod secrets;
mod values;

use std::path::Path;

use tempfile::TempDir;

use super::{Loaded, load};
use crate::domain::diagnostic::{Diagnostic, Severity};

const LXC: &str = include_str!("tests/lxc.json");
const HYPERVISOR: &str = include_str!("tests/hypervisor.json");
const VMS: &str = include_str!("tests/vms.json");

/// The fixture, changed: each change is a file (`l`, `h`, `v`), what to look for, and what to
/// write in its place.
fn changed(changes: &[(char, &str, &str)]) -> (TempDir, Loaded) {
    let [mut lxc, mut hypervisor, mut vms] = [LXC, HYPERVISOR, VMS].map(str::to_owned);
    for (file, from, to) in changes {
        let text = match file {
            'l' => &mut lxc,
            'h' => &mut hypervisor,
            _ => &mut vms,
        };
        assert!(text.contains(from), "the fixture has no '{from}'");
        *text = text.replacen(from, to, 1);
    }
    written(&lxc, &hypervisor, Some(&vms))
}

/// A directory with these files, loaded.
fn written(lxc: &str, hypervisor: &str, vms: Option<&str>) -> (TempDir, Loaded) {
    let dir = TempDir::new().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(path("etc")).expect("etc");
    std::fs::create_dir_all(path("bin/features")).expect("bin/features");
    std::fs::create_dir_all(path("bin/lxc_setup")).expect("bin/lxc_setup");
    for (name, text) in [
        ("etc/phoenix_lxc_configs.json", lxc),
        ("etc/phoenix_hypervisor_config.json", hypervisor),
        ("bin/app.sh", "#!/bin/sh\n"),
        ("bin/features/base.sh", "#!/bin/sh\n# base\n"),
        ("bin/features/docker.sh", "#!/bin/sh\n# docker\n"),
        (
            "bin/lxc_setup/phoenix_hypervisor_feature_install_gpu.sh",
            "#!/bin/sh\n# gpu\n",
        ),
        (
            "bin/lxc_setup/phoenix_hypervisor_feature_install_base.sh",
            "#!/bin/sh\n# on host\n",
        ),
    ] {
        std::fs::write(path(name), text).expect("a file");
    }
    if let Some(vms) = vms {
        std::fs::write(path("etc/phoenix_vm_configs.json"), vms).expect("a file");
    }
    let loaded = load(dir.path()).expect("the files are there");
    (dir, loaded)
}

/// `error lxc 27 lxc_configs.101.dependencies[0]`
fn place(found: &Diagnostic) -> String {
    let severity = match found.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let name = Path::new(&found.file)
        .file_name()
        .expect("a name")
        .to_string_lossy();
    let file = match name.as_ref() {
        "phoenix_lxc_configs.json" => "lxc",
        "phoenix_hypervisor_config.json" => "host",
        _ => "vm",
    };
    format!("{severity} {file} {} {}", found.line, found.path)
        .trim_end()
        .to_owned()
}

/// Errors and warnings.
fn serious(loaded: &Loaded) -> Vec<&Diagnostic> {
    let all = loaded.diagnostics.iter();
    all.filter(|found| found.severity != Severity::Note)
        .collect()
}
