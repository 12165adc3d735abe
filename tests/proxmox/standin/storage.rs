//! `pvesm` and `pveam`.

use std::fs;

use phoenix::domain::ids::Ctid;

use super::call::Call;
use super::{Failure, Node, Outcome, tree};

pub fn pvesm(node: &Node, words: &[&str]) -> Outcome {
    match words {
        ["status"] => {
            status(node);
            Ok(())
        }
        ["status", "--storage", name] => match node.storages().contains_key(*name) {
            true => Ok(()),
            false => {
                let text = "400 Parameter verification failed.\nstorage: No such storage.\npvesm status  [OPTIONS]";
                Err(Failure::new(255, text))
            }
        },
        ["list", storage, rest @ ..] => list(node, storage, rest),
        ["path", volid] => {
            let path = node
                .volume(volid)
                .ok_or_else(|| Failure::new(255, "no such volume"))?;
            println!(
                "/{}",
                path.strip_prefix(&node.root).expect("within").display()
            );
            Ok(())
        }
        _ => Err(Failure::new(255, "the stand-in does not know this")),
    }
}

fn status(node: &Node) {
    println!(
        "{:<7}{:>10} {:>10} {:>15} {:>15} {:>15} {:>8}",
        "Name", "Type", "Status", "Total", "Used", "Available", "%"
    );
    for (name, (kind, _)) in node.storages() {
        println!(
            "{name:<7}{kind:>10} {:>10} {:>15} {:>15} {:>15} {:>8}",
            "active", 8_264_212_084_u64, 15_086_616, 8_080_199_272_u64, "0.18%"
        );
    }
}

fn list(node: &Node, storage: &str, rest: &[&str]) -> Outcome {
    let wanted = match rest {
        ["--vmid", id] => Some(*id),
        _ => None,
    };
    let mut rows = Vec::new();
    for ctid in owners(node, storage) {
        let file = node.read(ctid).unwrap_or_default();
        for path in tree::all(node, ctid) {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let volid = format!("{storage}:{ctid}/{name}");
            let own = wanted.is_none_or(|id| id == ctid.to_string());
            if own && !name.contains('@') && node.volume(&volid).as_ref() == Some(&path) {
                let used = file.text().contains(&volid);
                let kind = if used { "rootdir" } else { "images" };
                let format = if name.ends_with(".raw") {
                    "raw"
                } else {
                    "subvol"
                };
                rows.push([
                    volid,
                    format.to_owned(),
                    kind.to_owned(),
                    tree::size(&path).to_string(),
                    ctid.to_string(),
                ]);
            }
        }
    }
    let head = ["Volid", "Format", "Type", "Size", "VMID"].map(str::to_owned);
    let width = |at: usize| {
        rows.iter()
            .chain([&head])
            .map(|row| row[at].len())
            .max()
            .unwrap_or(0)
    };
    let widths = [width(0), width(1).max(7), width(2).max(7), width(3) + 2];
    for row in [&head].into_iter().chain(&rows) {
        println!(
            "{:<a$} {:<b$} {:<c$} {:>d$} {}",
            row[0],
            row[1],
            row[2],
            row[3],
            row[4],
            a = widths[0],
            b = widths[1],
            c = widths[2],
            d = widths[3],
        );
    }
    Ok(())
}

/// Whose volumes there are.
fn owners(node: &Node, storage: &str) -> Vec<Ctid> {
    let folder = node.volume(&format!("{storage}:"));
    let entries = folder.into_iter().flat_map(fs::read_dir).flatten();
    let mut ids: Vec<Ctid> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    ids.sort();
    ids
}

pub fn pveam(node: &Node, call: &Call, words: &[&str]) -> Outcome {
    match words {
        ["update"] => Ok(()),
        ["available", ..] => {
            for line in node.knob("available").unwrap_or_default().lines() {
                println!("{:<15} {line}", "system");
            }
            Ok(())
        }
        ["download", storage, file] => {
            let known = node.knob("available").unwrap_or_default();
            if !known.lines().any(|line| line == *file) {
                let text = "400 Parameter verification failed.\ntemplate: no such template\npveam download <storage> <template>";
                return Err(Failure::new(255, text));
            }
            let path = node.volume(&format!("{storage}:vztmpl/{file}"));
            let path = path
                .ok_or_else(|| Failure::new(255, format!("storage '{storage}' does not exist")))?;
            call.middle(node);
            fs::write(path, "an archive").expect("written");
            call.effect(node, "download", file);
            println!("download of template finished");
            Ok(())
        }
        _ => Err(Failure::new(255, "the stand-in does not know this")),
    }
}
