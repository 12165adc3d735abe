//! Events and actions without secrets: what is written and shown of them.
//!
//! Only free text is changed: output, messages, commands, arguments, lines of `lxc.*` keys. Of a
//! line that sets a variable only the name is kept (`NAME=***`), whether its value is known to be
//! secret or not: it may be an old one, or somebody else's.

use super::super::action::Action;
use super::super::desired::{DesiredContainer, HealthCheck, Script};
use super::super::event::{Event, Failure, Owned};
use super::super::ids::Digest;
use super::super::observed::{ObservedContainer, ReceiptKey};
use super::super::setting::{Changes, Key, Settings, Value};
use super::{MARK, Secrets, names};

/// The key whose lines are the environment of a container.
const ENVIRONMENT: &str = "lxc.environment";

impl Secrets {
    /// Takes the secrets out of an event. What is written is what is folded, in the process that
    /// writes it as in every later one.
    pub fn redact(&self, event: &mut Event) {
        match event {
            Event::StepStarted {
                actions, claims, ..
            } => {
                self.redact_actions(actions);
                claims.iter_mut().for_each(|claim| self.owned(claim));
            }
            Event::OwnershipReleased { owned } => {
                owned.iter_mut().for_each(|owned| self.owned(owned));
            }
            Event::ActionDone { output, .. } => self.scrub_in(output),
            Event::StepFailed { failure, .. } => self.failure(failure),
            Event::RunInterrupted { reason } => self.scrub_in(reason),
            _ => {}
        }
    }

    /// Takes the secrets out of actions, which cannot be done any more then.
    pub fn redact_actions(&self, actions: &mut [Action]) {
        actions.iter_mut().for_each(|action| self.action(action));
    }

    /// A container's declaration without its secrets: what a digest may be made of.
    #[must_use]
    pub fn redacted(&self, container: &DesiredContainer) -> DesiredContainer {
        let mut open = container.clone();
        self.settings(&mut open.settings);
        let scripts = open.features.iter_mut().chain(&mut open.application);
        scripts.for_each(|script| self.script(script));
        if let Some(check) = &mut open.health {
            self.check(check);
        }
        open
    }

    /// A container as it is seen, without secrets and the digests of such: what a digest that the
    /// journal keeps may be made of.
    #[must_use]
    pub fn redacted_seen(&self, container: &ObservedContainer) -> ObservedContainer {
        let mut open = container.clone();
        self.settings(&mut open.settings);
        self.changes(&mut open.pending);
        let receipts = open.receipts.iter_mut().flat_map(|all| all.values_mut());
        receipts.for_each(|receipt| receipt.inputs = Digest::of(b""));
        for snapshot in &mut open.snapshots {
            self.settings(&mut snapshot.settings);
            let receipts = snapshot.receipts.values_mut();
            receipts.for_each(|receipt| receipt.inputs = Digest::of(b""));
        }
        open
    }

    fn failure(&self, failure: &mut Failure) {
        self.scrub_in(&mut failure.message);
        self.scrub_in(&mut failure.output);
        let texts = failure.command.iter_mut().chain(&mut failure.help);
        texts.for_each(|text| self.scrub_in(text));
    }

    fn owned(&self, owned: &mut Owned) {
        if let Owned::Line(key, line) = owned {
            self.line(key, line);
        }
    }

    fn action(&self, action: &mut Action) {
        match action {
            Action::Create(spec) => self.settings(&mut spec.settings),
            Action::Configure { changes, was } => {
                self.settings(was);
                self.changes(changes);
            }
            Action::RunScript(script) => self.script(script),
            Action::CheckHealth(check) => self.check(check),
            _ => {}
        }
    }

    fn changes(&self, changes: &mut Changes) {
        for (key, change) in changes {
            change.iter_mut().for_each(|value| self.value(key, value));
        }
    }

    fn settings(&self, settings: &mut Settings) {
        for (key, value) in settings {
            self.value(key, value);
        }
    }

    fn value(&self, key: &Key, value: &mut Value) {
        if let Value::Lines(lines) = value {
            lines.iter_mut().for_each(|line| self.line(key, line));
        }
    }

    fn line(&self, key: &Key, line: &mut String) {
        if let Some(redacted) = redacted_line(key, line) {
            *line = redacted;
        }
        self.scrub_in(line);
    }

    fn script(&self, script: &mut Script) {
        let arguments = &mut script.arguments;
        arguments.iter_mut().for_each(|text| self.scrub_in(text));
        script.inputs = script.open_inputs.take().unwrap_or(script.inputs);
    }

    fn check(&self, check: &mut HealthCheck) {
        let words = check.command.iter_mut();
        words.for_each(|word| self.scrub_in(word));
        check.open_digest = None;
    }

    /// The health check without its secrets; none: it has none.
    #[must_use]
    pub fn open_check(&self, check: &HealthCheck) -> Option<HealthCheck> {
        let mut open = check.clone();
        self.check(&mut open);
        (open.command != check.command).then_some(open)
    }

    /// Recorded actions with their secrets, as far as these are what is declared now, or what is
    /// there: only so can be told whether they had their effect. A secret that has changed since
    /// stays out, and is nowhere to be seen: what was to set it is done again.
    #[must_use]
    pub fn restored(
        &self,
        actions: &[Action],
        desired: &DesiredContainer,
        seen: Option<&ObservedContainer>,
    ) -> Vec<Action> {
        let restore = |action: &Action| {
            let mut action = action.clone();
            match &mut action {
                Action::Configure { changes, .. } => {
                    for (key, value) in changes {
                        if let Some(Value::Lines(lines)) = value {
                            let lines = lines.iter_mut().filter(|line| line.contains(MARK));
                            lines.for_each(|line| self.restore(key, line, desired, seen));
                        }
                    }
                }
                Action::RunScript(script) => {
                    let key = ReceiptKey::of(script);
                    let declared = desired.features.iter().chain(&desired.application);
                    for declared in declared.filter(|declared| ReceiptKey::of(declared) == key) {
                        if declared.open_inputs == Some(script.inputs) {
                            script.inputs = declared.inputs;
                        }
                    }
                }
                _ => {}
            }
            action
        };
        actions.iter().map(restore).collect()
    }

    /// The declared line that is recorded so; else one that is there, which is somebody else's.
    fn restore(
        &self,
        key: &Key,
        line: &mut String,
        desired: &DesiredContainer,
        seen: Option<&ObservedContainer>,
    ) {
        let same = |known: &&String| {
            let mut known = (*known).clone();
            self.line(key, &mut known);
            known == *line
        };
        let eventual = seen.and_then(|seen| seen.eventual(key));
        let declared = lines(desired.settings.get(key));
        let found = declared.iter().find(same);
        let found = found.or_else(|| lines(eventual.as_ref()).iter().find(same));
        if let Some(found) = found.cloned() {
            *line = found;
        }
    }
}

fn lines(value: Option<&Value>) -> &[String] {
    match value {
        Some(Value::Lines(lines)) => lines,
        _ => &[],
    }
}

/// A line of an `lxc.*` key without what its own form calls secret; none: nothing is.
#[must_use]
pub fn redacted_line(key: &Key, line: &str) -> Option<String> {
    let secret = match key {
        Key::Lxc(name) if name == ENVIRONMENT => names::of_variable(line).into_iter().collect(),
        _ => names::in_text(line),
    };
    let mut redacted = line.to_owned();
    for at in super::merged(secret).into_iter().rev() {
        redacted.replace_range(at, MARK);
    }
    (redacted != line).then_some(redacted)
}

/// Whether two lines of a key are the same but for what their own form calls secret.
#[must_use]
pub fn differ_in_secrets(key: &Key, one: &str, other: &str) -> bool {
    let (one, other) = (redacted_line(key, one), redacted_line(key, other));
    one.is_some() && one == other
}

/// Whether a line is one that was recorded without its secrets: the same but for what stands in
/// the place of the marks. A record of which nothing else is left says of no line that it is ours.
#[must_use]
pub fn covers(recorded: &str, line: &str) -> bool {
    if recorded == line {
        return true;
    }
    let parts: Vec<&str> = recorded.split(MARK).collect();
    let [first, middle @ .., last] = parts.as_slice() else {
        return false;
    };
    if !parts
        .iter()
        .any(|part| part.contains(char::is_alphanumeric))
    {
        return false;
    }
    let inner = line.strip_prefix(first);
    let Some(mut rest) = inner.and_then(|rest| rest.strip_suffix(last)) else {
        return false;
    };
    for part in middle {
        // At least one character is in the place of each mark.
        let Some((_, behind)) = after_one(rest).and_then(|rest| rest.split_once(part)) else {
            return false;
        };
        rest = behind;
    }
    !rest.is_empty()
}

fn after_one(text: &str) -> Option<&str> {
    let mut signs = text.chars();
    signs.next().map(|_| signs.as_str())
}
