//! `phoenix status`

use super::args::{Global, StatusArgs};
use super::error::CliError;
use super::exit::Exit;
use super::load;
use super::out::Out;
use crate::report::{overview, undeclared};
use crate::steps::Options;

pub(super) fn run(global: &Global, out: Out, args: &StatusArgs) -> Result<Exit, CliError> {
    let targets = &args.targets;
    let loaded = load::configuration(global, out)?;
    let desired = &loaded.desired;
    let graph = load::selection(desired, &targets.ctids)?;
    let view = load::view(global, out, desired, args.patience)?;
    let (record, journal) = (&view.record, view.journal);
    let options = Options::default();
    let plan = view.plan(desired, &graph, &options);
    let mut rows = overview::standings(&plan, &view.world, record);
    let left = undeclared::find(desired, &view.world, journal);
    rows.extend(overview::undeclared(&left, &view.world, record));
    rows.sort_by_key(|row| row.ctid);
    // What they depend on was needed for the plan; it was not asked for.
    rows.retain(|row| targets.ctids.is_empty() || targets.ctids.contains(&row.ctid));
    out.either(
        || overview::status_json(&rows),
        || overview::status_table(&rows),
    )?;
    Ok(Exit::Done)
}
