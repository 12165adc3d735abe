//! The schedule beside what no schedule can be faster than, in virtual time: counts of
//! milliseconds that nobody waits for, the same on every machine. `cargo bench --bench schedule`
//! prints them.

#[path = "../../benches/fleet.rs"]
#[expect(dead_code, reason = "only a part of it is used here")]
mod fleet;
#[path = "../../benches/schedule/fleets.rs"]
pub mod fleets;
#[path = "../../benches/schedule/virtual_time.rs"]
mod virtual_time;

use std::path::Path;

use fleets::Shape;
use virtual_time::{Bound, Fleet, Least};

const JOBS: [usize; 3] = [4, 8, 16];
const LIMIT: f64 = 1.10;

fn drawn(shape: Shape, count: usize) -> Fleet {
    let dir = tempfile::tempdir().expect("a directory");
    fleets::write(shape, count, dir.path()).expect("written");
    Fleet::read(dir.path())
}

#[track_caller]
fn within(fleet: &Fleet, jobs: usize, bound: Least) {
    let ratio = fleet.ratio(jobs, bound);
    let bound = fleet.bound(jobs);
    // A bound that it falls below is none.
    assert!(
        (1.0..=LIMIT).contains(&ratio),
        "{jobs} jobs: {ratio}; {bound:?}"
    );
}

#[test]
fn a_fleet_of_the_examples_shape_is_made_in_little_more_than_the_least_time() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/fleet");
    let mut fleets = vec![Fleet::read(&example)];
    fleets.extend([15, 100, 1000].map(|count| drawn(Shape::Real, count)));
    for jobs in JOBS {
        fleets
            .iter()
            .for_each(|fleet| within(fleet, jobs, Bound::plain));
    }
}

#[test]
fn random_fleets_are_made_in_little_more_than_the_least_time() {
    for count in [15, 100, 1000] {
        let seeds = if count == 1000 { 3 } else { 10 };
        for seed in 0..seeds {
            let fleet = drawn(Shape::Random(seed), count);
            JOBS.iter()
                .for_each(|jobs| within(&fleet, *jobs, Bound::plain));
        }
    }
}

/// Clones of one container take turns. Before the first the source is made, and after the last
/// there is the rest of it: of few clones that is a good part of the time.
#[test]
fn clones_of_one_container_follow_each_other_without_a_gap() {
    for count in [15, 100, 1000] {
        let fleet = drawn(Shape::Clones, count);
        for jobs in [8, 16] {
            within(&fleet, jobs, Bound::tight);
        }
        if count >= 1000 {
            within(&fleet, 16, Bound::plain);
        }
    }
}
