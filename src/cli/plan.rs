//! `phoenix plan`, and `apply --dry-run`.

use super::args::{Global, PlanArgs};
use super::error::CliError;
use super::exit::Exit;
use super::load;
use super::out::Out;
use crate::report;

pub(super) fn run(global: &Global, out: Out, args: &PlanArgs) -> Result<Exit, CliError> {
    let loaded = load::configuration(global, out)?;
    let desired = &loaded.desired;
    let graph = load::selection(desired, &args.targets.ctids)?;
    let options = load::options(&args.wishes, desired, &args.targets.ctids)?;
    let view = load::view(global, out, desired, args.patience)?;
    let (record, journal) = (&view.record, view.journal);
    let plan = load::plan(desired, &graph, record, journal, &options, &view.world);
    if plan.has_problems() {
        if !out.json() {
            out.text(&report::plan::human(&plan, desired))?;
        }
        return Err(CliError::Invalid {
            diagnostics: load::problems(&plan, &loaded),
            document: Some(report::json::plan(&plan, args.all)),
        });
    }
    out.either(
        || report::json::plan(&plan, args.all),
        || report::plan::human(&plan, desired),
    )?;
    if args.exit_code && plan.changes() > 0 {
        return Ok(Exit::Pending);
    }
    Ok(Exit::Done)
}
