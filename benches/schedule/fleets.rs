//! Fleets to schedule, as configurations: the real one's shape, random ones, and clones of one
//! container.

use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::fleet::{basic, configuration, id, with};

/// What a fleet looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// The shape of docs/examples/fleet: templates derived from one, and services cloned from
    /// those which need a few that come before them.
    Real,
    /// Everything is drawn: sources, needs, scripts, disks.
    Random(u64),
    /// Many short ones, all cloned from one container.
    Clones,
}

/// Numbers that look random, the same ones for the same seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound.max(1) as u64).unwrap_or(0)
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

/// Writes the configuration of so many containers.
///
/// # Errors
/// When it cannot be written.
pub fn write(shape: Shape, count: usize, dir: &Path) -> io::Result<()> {
    let mut dice = Dice(match shape {
        Shape::Random(seed) => seed,
        Shape::Real | Shape::Clones => 15,
    });
    let mut all = Map::new();
    for index in 0..count {
        let more = match shape {
            Shape::Real => real(index, count, &mut dice),
            Shape::Random(_) => random(index, &mut dice, &all),
            Shape::Clones => clones(index),
        };
        all.insert(id(index), with(basic(index), more));
    }
    let scripts = ["features/one.sh", "features/two.sh", "app.sh"];
    configuration(dir, &scripts, all)
}

fn template() -> Value {
    json!({
        "template": "local:vztmpl/debian-12.tar.zst",
        "template_snapshot_name": "ready",
        "features": ["one"],
    })
}

fn service(source: usize, needs: &[usize]) -> Value {
    let needs: Vec<String> = needs.iter().copied().map(id).collect();
    json!({
        "clone_from_ctid": id(source),
        "dependencies": needs,
        "features": ["two"],
        "application_script": "app.sh",
        "health_check": { "command": "true" },
        "start_at_boot": true,
    })
}

/// A base, a template in fifteen or so derived from it, and services that need up to three of the
/// twenty before them, as in the example.
fn real(index: usize, count: usize, dice: &mut Dice) -> Value {
    let derived = 3.max(count / 15);
    if index == 0 {
        return template();
    }
    if index <= derived {
        return json!({
            "clone_from_ctid": id(0),
            "template_snapshot_name": "ready",
            "features": ["two"],
        });
    }
    let first = index.saturating_sub(20).max(derived + 1);
    let mut needs: Vec<usize> = (0..dice.below(4))
        .filter(|_| index > first)
        .map(|_| first + dice.below(index - first))
        .collect();
    needs.sort_unstable();
    needs.dedup();
    let mut service = service(1 + dice.below(derived), &needs);
    if dice.one_in(15) {
        service["storage_size_gb"] = json!(32);
    }
    service
}

fn random(index: usize, dice: &mut Dice, all: &Map<String, Value>) -> Value {
    if index == 0 || dice.one_in(12) {
        return template();
    }
    // Only a template has a snapshot to clone.
    let templates: Vec<usize> = (0..index)
        .filter(|other| all[&id(*other)].get("template_snapshot_name").is_some())
        .collect();
    let reach = 1 + dice.below(index);
    let mut needs: Vec<usize> = (0..dice.below(4))
        .map(|_| index - 1 - dice.below(reach))
        .collect();
    needs.sort_unstable();
    needs.dedup();
    let mut drawn = service(templates[dice.below(templates.len())], &needs);
    let features = [json!([]), json!(["one"]), json!(["one", "two"])];
    drawn["features"] = features[dice.below(3)].clone();
    if dice.one_in(2) {
        drawn["application_script"] = Value::Null;
        drawn["health_check"] = Value::Null;
    }
    if dice.one_in(6) {
        drawn["template_snapshot_name"] = json!("ready");
        drawn["application_script"] = Value::Null;
    }
    // A disk only grows: it is as large as its source's, or larger.
    let source = drawn["clone_from_ctid"].as_str().unwrap_or_default();
    let least = all[source]["storage_size_gb"].as_u64().unwrap_or(8);
    drawn["storage_size_gb"] = json!(least + u64::from(dice.one_in(8)));
    drawn
}

fn clones(index: usize) -> Value {
    match index {
        0 => template(),
        _ => json!({ "clone_from_ctid": id(0) }),
    }
}
