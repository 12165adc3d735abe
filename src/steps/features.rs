//! State 8, `apply_features`: each feature script has run, once per content and arguments.

use super::{Context, Problems, Work};
use crate::domain::action::Action;
use crate::domain::desired::{Place, Script, ScriptKind};
use crate::domain::diagnostic::Problem;
use crate::domain::observed::{Receipt, ReceiptKey};

pub(super) fn compare(cx: &Context<'_>) -> Result<Work, Problems> {
    cx.existing()?;
    let mut actions = Vec::new();
    for script in &cx.desired.features {
        actions.extend(run(cx, script)?);
    }
    Ok(Work::of(actions))
}

/// The action that runs a script, unless it has run.
pub(super) fn run(cx: &Context<'_>, script: &Script) -> Result<Option<Action>, Problems> {
    let key = ReceiptKey::of(script);
    let (receipt, on_disk) = receipt(cx, script, &key);
    let again = cx.options.reruns(cx.desired.ctid, &script.name);
    if cx.record.ambiguous.contains(&key) && !again {
        return Err(vec![Problem::new(
            "on_unknown",
            format!(
                "nobody knows whether {} ran to its end on the host when phoenix was interrupted",
                script.name
            ),
            format!(
                "look at the container, then `phoenix apply {} --rerun {}`",
                cx.desired.ctid, script.name
            ),
        )]);
    }
    let same_inputs = |receipt: &Receipt| match on_disk {
        true => receipt.inputs == script.inputs,
        false => script.has_recorded_inputs(receipt.inputs),
    };
    let holds = receipt.is_some_and(|receipt| {
        receipt.content == script.content
            && same_inputs(receipt)
            && (script.kind == ScriptKind::Feature || receipt.ctid == cx.desired.ctid)
            && (!again || receipt.run == cx.run)
    });
    Ok((!holds).then(|| Action::RunScript(Box::new(script.clone()))))
}

/// The receipt on the disk is the observation; the journal decides where the disk cannot be
/// read, and for scripts that ran on the host, which leave none. True: it is the disk's.
fn receipt<'a>(cx: &Context<'a>, script: &Script, key: &ReceiptKey) -> (Option<&'a Receipt>, bool) {
    let on_disk = cx.observed.and_then(|seen| seen.receipts.as_ref());
    match (script.place, on_disk) {
        (Place::Container, Some(receipts)) => (receipts.get(key), true),
        _ => (cx.record.scripts.get(key), false),
    }
}
