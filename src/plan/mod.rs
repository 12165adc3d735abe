//! What would be done, without doing it. Pure.

mod container;
mod fleet;
mod order;
mod removal;
mod schedule;

pub use container::{ContainerPlan, StepPlan};
pub use fleet::{FleetPlan, Planner, plan_fleet, problems_of_fleet};
pub use order::{Graph, Priority, UnknownTarget};
pub use removal::{Known, Needed, removal};
pub use schedule::{Pending, Schedule, Turn};
