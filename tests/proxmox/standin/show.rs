//! What only looks.

use std::collections::{BTreeMap, BTreeSet};

use super::file::{File, Part};
use super::options::{Options, is_key};
use super::{Failure, Node, Outcome};
use phoenix::domain::ids::Ctid;

/// What Proxmox VE says at every reading of settings that it does not know.
pub fn warnings(ctid: Ctid, file: &File) -> Vec<String> {
    let known = ["parent", "snaptime", "snapstate", "delete"];
    let names = file.live.keys.keys();
    names
        .filter(|name| !is_key(name) && !known.contains(&name.as_str()))
        .map(|name| {
            format!("vm {ctid} - unable to parse value of '{name}' - unknown setting '{name}'")
        })
        .collect()
}

fn warn(ctid: Ctid, file: &File) {
    let lines = warnings(ctid, file);
    lines.iter().for_each(|line| eprintln!("{line}"));
}

fn read(node: &Node, options: &Options) -> Result<File, Failure> {
    let ctid = options.ctid()?;
    let file = node.read(ctid)?;
    warn(ctid, &file);
    Ok(file)
}

pub fn status(node: &Node, options: &Options) -> Outcome {
    read(node, options)?;
    println!("status: {}", node.status(options.ctid()?));
    Ok(())
}

pub fn list(node: &Node) -> Outcome {
    let row = |cells: [&str; 4]| {
        println!(
            "{:<10} {:<10} {:<12} {:<20}",
            cells[0], cells[1], cells[2], cells[3]
        );
    };
    let ids = node.ids();
    if !ids.is_empty() {
        row(["VMID", "Status", "Lock", "Name"]);
    }
    for ctid in ids {
        let file = node.read(ctid)?;
        warn(ctid, &file);
        let usual = format!("CT{ctid}");
        let name = file.live.get("hostname").unwrap_or(&usual);
        let lock = file.live.get("lock").unwrap_or_default();
        row([
            &ctid.to_string(),
            &node.status(ctid).to_string(),
            lock,
            name,
        ]);
    }
    Ok(())
}

fn snapshot<'a>(file: &'a File, name: &str) -> Result<&'a Part, Failure> {
    let missing = || Failure::new(255, format!("snapshot '{name}' does not exist"));
    file.snapshots.get(name).ok_or_else(missing)
}

pub fn config(node: &Node, options: &Options) -> Outcome {
    let file = read(node, options)?;
    let part = match options.get("snapshot") {
        Some(name) => snapshot(&file, name)?.clone(),
        None if options.flag("current") => file.live,
        None => file.eventual(),
    };
    print!("{}", part.listing());
    Ok(())
}

pub fn pending(node: &Node, options: &Options) -> Outcome {
    let file = read(node, options)?;
    let (live, waiting) = (file.live.shown(), file.pending.shown());
    let deleted = file.pending.deleted();
    let keys: BTreeSet<&String> = live.keys().chain(waiting.keys()).collect();
    for key in keys {
        match live.get(key) {
            Some(value) if deleted.contains(key) => println!("del {key}: {value}"),
            Some(value) => println!("cur {key}: {value}"),
            None => {}
        }
        if let Some(value) = waiting.get(key) {
            println!("new {key}: {value}");
        }
    }
    Ok(())
}

pub fn snapshots(node: &Node, options: &Options) -> Outcome {
    let file = read(node, options)?;
    let mut children: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
    let known = |parent: Option<&'_ str>| {
        parent
            .filter(|name| file.snapshots.contains_key(*name))
            .map(str::to_owned)
    };
    let time = |part: &Part| {
        part.get("snaptime")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0_i64)
    };
    let mut sorted: Vec<(&String, &Part)> = file.snapshots.iter().collect();
    sorted.sort_by_key(|(_, part)| time(part));
    let parents: Vec<(Option<String>, &str)> = sorted
        .iter()
        .map(|(name, part)| (known(part.get("parent")), name.as_str()))
        .chain([(known(file.live.get("parent")), "current")])
        .collect();
    for (parent, name) in &parents {
        children.entry(parent.as_deref()).or_default().push(name);
    }
    let mut waiting: Vec<(usize, &str)> = children
        .remove(&None)
        .into_iter()
        .flatten()
        .rev()
        .map(|name| (0, name))
        .collect();
    while let Some((depth, name)) = waiting.pop() {
        let part = file.snapshots.get(name);
        let description = part
            .and_then(|part| part.description.as_deref())
            .unwrap_or("no-description");
        let when = part.map(|part| shown_time(time(part))).unwrap_or_default();
        let first = match part {
            None => "You are here!",
            Some(_) => description.lines().next().unwrap_or_default(),
        };
        let prefix = format!("{}`->", " ".repeat(depth));
        let width = 30 - prefix.len();
        println!("{prefix} {name:<width$} {when:<23} {first}");
        let below = children.remove(&Some(name)).into_iter().flatten().rev();
        waiting.extend(below.map(|child| (depth + 1, child)));
    }
    Ok(())
}

fn shown_time(seconds: i64) -> String {
    let time = chrono::DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}
