//! Convergence of fleets of several sizes.

fn main() {}
