//! Writes a configuration of any number of containers, to try phoenix on:
//!
//! `cargo bench --bench fleet -- 10000 /tmp/fleet`
//!
//! One container in a hundred is a template; the others are cloned from it, have a volume, a
//! feature, an application script and a health check, and nine in ten need their neighbour.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

const FIRST: usize = 1000;
const PER_TEMPLATE: usize = 100;

/// The container of this index, as files name it.
pub fn id(index: usize) -> String {
    (FIRST + index).to_string()
}

/// What every container has; it still needs a template, or a source to be cloned from.
pub fn basic(index: usize) -> Value {
    let (high, middle, low) = (index / 62_500, index / 250 % 250, index % 250 + 1);
    json!({
        "name": format!("ct{}", FIRST + index),
        "memory_mb": 512,
        "cores": 1,
        "storage_pool": "tank",
        "storage_size_gb": 8,
        "network_config": {
            "name": "eth0",
            "bridge": "vmbr0",
            "ip": format!("10.{high}.{middle}.{low}/16"),
            "gw": format!("10.{high}.255.254"),
        },
        "unprivileged": true,
    })
}

fn container(index: usize) -> Value {
    let mut container = basic(index);
    let more = if index.is_multiple_of(PER_TEMPLATE) {
        json!({
            "template": "local:vztmpl/debian-12.tar.zst",
            "template_snapshot_name": "ready",
            "features": ["base"],
        })
    } else {
        let dependencies: Vec<String> = (!index.is_multiple_of(10))
            .then(|| id(index - 1))
            .into_iter()
            .collect();
        json!({
            "clone_from_ctid": id(index / PER_TEMPLATE * PER_TEMPLATE),
            "dependencies": dependencies,
            "features": ["web"],
            "application_script": "app.sh",
            "health_check": { "command": "true" },
            "volumes": [{ "name": "data", "pool": "tank", "size_gb": 1, "mount_point": "/data" }],
        })
    };
    container["mac_address"] = json!(format!(
        "02:00:00:{:02X}:{:02X}:{:02X}",
        index >> 16,
        index >> 8 & 255,
        index & 255
    ));
    container["start_at_boot"] = json!(true);
    with(container, more)
}

/// A container that declares more.
pub fn with(mut container: Value, more: Value) -> Value {
    if let (Value::Object(container), Value::Object(more)) = (&mut container, more) {
        container.extend(more);
    }
    container
}

/// Writes a configuration of so many containers.
///
/// # Errors
/// When the files cannot be written.
pub fn write(count: usize, dir: &Path) -> io::Result<()> {
    let containers = (0..count).map(|index| (id(index), container(index)));
    let scripts = ["features/base.sh", "features/web.sh", "app.sh"];
    configuration(dir, &scripts, containers.collect())
}

/// Writes a configuration of these containers, with these scripts.
///
/// # Errors
/// When the files cannot be written.
pub fn configuration(
    dir: &Path,
    scripts: &[&str],
    containers: Map<String, Value>,
) -> io::Result<()> {
    let (etc, bin) = (dir.join("etc"), dir.join("bin"));
    fs::create_dir_all(&etc)?;
    fs::create_dir_all(bin.join("features"))?;
    for script in scripts {
        fs::write(bin.join(script), format!("#!/bin/sh\necho {script}\n"))?;
    }
    let lxc = json!({ "lxc_configs": containers });
    fs::write(
        etc.join("phoenix_lxc_configs.json"),
        serde_json::to_vec_pretty(&lxc)?,
    )?;
    let hypervisor = json!({ "version": "1.0.0", "mount_point_base": "/mnt" });
    fs::write(
        etc.join("phoenix_hypervisor_config.json"),
        serde_json::to_vec_pretty(&hypervisor)?,
    )
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    match words.as_slice() {
        [count, dir] => {
            let count = count
                .parse()
                .map_err(|_| io::Error::other("the first word is a number"))?;
            write(count, Path::new(dir))
        }
        // `cargo bench` runs every bench: this one has nothing to measure.
        _ => Ok(()),
    }
}
