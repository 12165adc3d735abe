//! The directions in which modules may look.

use std::fs;
use std::path::{Path, PathBuf};

/// What each module may import of the crate; `cli` wires everything.
const MAY_IMPORT: [(&str, &[&str]); 9] = [
    ("domain", &[]),
    ("config", &["domain"]),
    ("steps", &["domain"]),
    ("plan", &["domain", "steps"]),
    ("host", &["domain"]),
    ("journal", &["domain"]),
    ("beside", &["domain", "journal"]),
    ("report", &["domain", "plan", "steps", "engine", "journal"]),
    ("engine", &["domain", "steps", "plan", "host", "journal"]),
];

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn modules_look_in_one_direction() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (module, allowed) in MAY_IMPORT {
        let mut files = Vec::new();
        rust_files(&src.join(module), &mut files);
        assert!(!files.is_empty(), "{module} has no files");
        for file in files {
            let text = fs::read_to_string(&file).expect("a source file");
            for part in text.split("crate::").skip(1) {
                let name: String = part
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                assert!(
                    name == module || allowed.contains(&name.as_str()),
                    "{} looks at {name}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn the_pure_core_touches_nothing() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for module in ["domain", "steps", "plan"] {
        rust_files(&src.join(module), &mut files);
    }
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file");
        let code = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        for forbidden in [
            "std::fs",
            "std::process",
            "std::env",
            "std::thread",
            "Instant::now",
            "Utc::now",
            "now_v7",
        ] {
            assert!(
                !code.contains(forbidden),
                "{} uses {forbidden}",
                file.display()
            );
        }
    }
}

/// Events of a run are made in one place, which takes the secrets out of them.
#[test]
fn the_engine_makes_events_in_one_place() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut made = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file");
        let lines = text
            .lines()
            .filter(|line| line.trim_end().ends_with("Draft {"));
        let makes = |line: &&str| !line.contains("let Draft {") && !line.contains("-> Draft {");
        let count = lines.filter(makes).count();
        made.extend(std::iter::repeat_n(
            file.file_name().map(ToOwned::to_owned),
            count,
        ));
    }
    assert_eq!(made, [Some("mod.rs".into())]);
}
