//! `phoenix plan`, and `apply --dry-run`.

use super::args::{Global, PlanArgs};
use super::error::CliError;
use super::exit::Exit;
use super::load;
use super::out::Out;
use crate::report::{self, undeclared};

pub(super) fn run(global: &Global, out: Out, args: &PlanArgs) -> Result<Exit, CliError> {
    load::few_targets(&args.targets.ctids)?;
    let loaded = load::configuration(global, out)?;
    let desired = &loaded.desired;
    let graph = load::selection(desired, &args.targets.ctids)?;
    let options = load::options(&args.wishes, desired, &args.targets.ctids)?;
    let view = load::view(global, out, desired, args.patience)?;
    let plan = view.plan(desired, &graph, &options);
    let left = undeclared::find(desired, &view.world, view.journal);
    let human = || report::plan::human(&plan, desired) + &undeclared::line(&left);
    let document = || {
        let mut document = report::json::plan(&plan, args.all);
        document["undeclared"] = undeclared::json(&left);
        document
    };
    if plan.has_problems() {
        if !out.json() {
            out.text(&human())?;
        }
        return Err(CliError::Invalid {
            diagnostics: load::problems(&plan, &loaded),
            document: Some(document()),
        });
    }
    out.either(document, human)?;
    if args.exit_code && plan.changes() > 0 {
        return Ok(Exit::Pending);
    }
    Ok(Exit::Done)
}
