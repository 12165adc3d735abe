//! A plan for a person.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::describe::{self, Symbol};
use super::text::{ADDED, BAD, CHANGED, FAINT, STRONG, count, harmless, one_line, paint};
use crate::domain::action::Action;
use crate::domain::desired::{DesiredState, Origin};
use crate::domain::ids::Ctid;
use crate::domain::step::Step;
use crate::plan::{ContainerPlan, FleetPlan};

/// The plan, in full: only what changes, and what a person should know.
#[must_use]
pub fn human(plan: &FleetPlan, desired: &DesiredState) -> String {
    let mut shown = String::new();
    for container in &plan.containers {
        block(&mut shown, container, desired);
    }
    unmanaged(&mut shown, plan);
    shown.push_str(&summary(plan));
    shown.push('\n');
    shown
}

fn block(shown: &mut String, plan: &ContainerPlan, desired: &DesiredState) {
    let blocked = plan.blocked_by.is_some();
    if plan.steps.is_empty() && plan.problems.is_empty() && plan.notes.is_empty() && !blocked {
        return;
    }
    let mut header = format!("# {} {}", plan.ctid, one_line(&plan.name));
    let create = plan
        .steps
        .iter()
        .flat_map(|step| &step.work.actions)
        .any(makes);
    if create && let Some(desired) = desired.containers.get(&plan.ctid) {
        match &desired.origin {
            Origin::Template(template) => {
                let _ = write!(header, " (new, from {})", one_line(&template.file));
            }
            Origin::Clone { source, snapshot } => {
                let _ = write!(header, " (new, clone of {source}@{})", one_line(snapshot));
            }
            Origin::Nothing => {}
        }
    }
    let _ = writeln!(shown, "{}", paint(STRONG, &header));
    for step in &plan.steps {
        let name = format!("{:<26}", step.step.name());
        let mut lines = Vec::new();
        for action in &step.work.actions {
            lines.extend(describe::lines(action));
        }
        for (index, (symbol, text)) in lines.into_iter().enumerate() {
            let label = if index == 0 { name.as_str() } else { "" };
            line(shown, symbol, label, &harmless(&text));
        }
    }
    for (step, problem) in &plan.problems {
        let _ = writeln!(
            shown,
            "  {} {}: {}",
            paint(BAD, "x"),
            step.name(),
            harmless(&problem.message)
        );
    }
    if let Some(blocker) = plan.blocked_by {
        let _ = writeln!(
            shown,
            "  {} waits for {blocker}, which has a problem",
            paint(BAD, "x")
        );
    }
    for note in &plan.notes {
        let _ = writeln!(
            shown,
            "    {}",
            paint(FAINT, &format!("note: {}", harmless(note)))
        );
    }
    shown.push('\n');
}

fn line(shown: &mut String, symbol: Symbol, label: &str, text: &str) {
    let _ = writeln!(
        shown,
        "  {} {}  {text}",
        paint(symbol.style(), symbol.sign()),
        paint(FAINT, &format!("{label:<26}"))
    );
}

/// Keys that are declared and that nobody acts on, once for all containers.
fn unmanaged(shown: &mut String, plan: &FleetPlan) {
    let mut keys: BTreeMap<&str, Vec<Ctid>> = BTreeMap::new();
    for container in &plan.containers {
        for key in &container.unmanaged {
            keys.entry(key).or_default().push(container.ctid);
        }
    }
    if keys.is_empty() {
        return;
    }
    let parts: Vec<String> = keys
        .into_iter()
        .map(|(key, mut ctids)| {
            ctids.sort_unstable();
            format!("{} ({})", one_line(key), some_of(&ctids))
        })
        .collect();
    let text = format!("Declared, but not managed by phoenix: {}", parts.join(", "));
    let _ = writeln!(shown, "{}\n", paint(FAINT, &text));
}

/// The first few ids of a list, and how many more there are.
#[must_use]
pub fn some_of(ctids: &[Ctid]) -> String {
    const SHOWN: usize = 5;
    let first: Vec<String> = ctids.iter().take(SHOWN).map(Ctid::to_string).collect();
    match ctids.len().saturating_sub(SHOWN) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

fn makes(action: &Action) -> bool {
    matches!(action, Action::Create(_) | Action::Clone(_))
}

/// Counts of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Containers to be made.
    pub create: u64,
    /// Containers to be destroyed.
    pub destroy: u64,
    /// Containers that exist and are changed.
    pub change: u64,
    /// Containers of which only the health is asked.
    pub check: u64,
    /// Restarts.
    pub restarts: u64,
    /// Scripts to run.
    pub scripts: u64,
    /// Containers with a problem.
    pub problems: u64,
    /// Containers that wait for one with a problem.
    pub blocked: u64,
    /// Containers for which nothing is to be done.
    pub unchanged: u64,
}

impl Counts {
    /// Of a plan.
    #[must_use]
    pub fn of(plan: &FleetPlan) -> Self {
        let mut counts = Self::default();
        for container in &plan.containers {
            counts.add(container);
        }
        counts
    }

    fn add(&mut self, plan: &ContainerPlan) {
        let actions = || plan.steps.iter().flat_map(|step| &step.work.actions);
        let of = |wanted: fn(&Action) -> bool| actions().filter(|action| wanted(action)).count();
        self.restarts += of(|action| matches!(action, Action::Restart { .. })) as u64;
        self.scripts += of(|action| matches!(action, Action::RunScript(_))) as u64;
        let place = if !plan.problems.is_empty() {
            &mut self.problems
        } else if plan.blocked_by.is_some() {
            &mut self.blocked
        } else if plan
            .steps
            .iter()
            .any(|step| step.step == Step::DestroyContainer)
        {
            &mut self.destroy
        } else if actions().any(makes) {
            &mut self.create
        } else if actions().any(Action::mutates) {
            &mut self.change
        } else if actions().next().is_some() {
            &mut self.check
        } else {
            &mut self.unchanged
        };
        *place += 1;
    }
}

/// The last line of a plan.
#[must_use]
pub fn summary(plan: &FleetPlan) -> String {
    let counts = Counts::of(plan);
    if counts.unchanged == plan.containers.len() as u64 {
        return as_declared("No changes.", counts.unchanged);
    }
    if counts.destroy > 0 {
        let text = format!("{} to destroy", counts.destroy);
        return format!("Plan: {}.", paint(BAD, &text));
    }
    let mut parts = vec![
        paint(ADDED, &format!("{} to create", counts.create)),
        paint(CHANGED, &format!("{} to change", counts.change)),
        count(counts.restarts, "restart"),
        format!("{} to run", count(counts.scripts, "script")),
    ];
    if counts.check > 0 {
        parts.push(format!("{} to check", counts.check));
    }
    if counts.problems > 0 {
        let text = format!("{} with problems", counts.problems);
        parts.push(paint(BAD, &text));
    }
    if counts.blocked > 0 {
        parts.push(paint(BAD, &format!("{} blocked", counts.blocked)));
    }
    format!(
        "Plan: {}; {} unchanged.",
        parts.join(", "),
        counts.unchanged
    )
}

/// `No changes. 3 containers are as declared.`
#[must_use]
pub fn as_declared(lead: &str, containers: u64) -> String {
    let verb = if containers == 1 { "is" } else { "are" };
    format!(
        "{lead} {} {verb} as declared.",
        count(containers, "container")
    )
}

#[cfg(test)]
pub(super) mod tests {

    use super::*;
    use crate::domain::desired::{Place, ScriptKind};
    use crate::domain::diagnostic::Problem;
    use crate::plan::StepPlan;
    use crate::report::describe::tests as make;
    use crate::report::text::plain;
    use crate::steps::Work;

    pub(in crate::report) fn container(number: u32, name: &str) -> ContainerPlan {
        ContainerPlan {
            ctid: make::ctid(number),
            name: name.to_owned(),
            steps: Vec::new(),
            problems: Vec::new(),
            blocked_by: None,
            notes: Vec::new(),
            unmanaged: Vec::new(),
        }
    }

    fn step(step: Step, actions: Vec<Action>) -> StepPlan {
        StepPlan {
            step,
            work: Work {
                actions,
                ..Work::default()
            },
        }
    }

    pub(in crate::report) fn mixed() -> FleetPlan {
        let mut new = container(950, "web");
        new.steps = vec![
            step(Step::EnsureContainerDefined, vec![make::clone()]),
            step(
                Step::ApplyFeatures,
                vec![
                    make::script(ScriptKind::Feature, "docker", Place::Container),
                    make::script(ScriptKind::Feature, "node", Place::Container),
                ],
            ),
        ];
        new.unmanaged = vec!["firewall".to_owned()];
        let mut drifted = container(951, "db");
        let change = make::configure(&[("memory", Some("1024")), ("mp3", None)]);
        let settings = [("memory", "256"), ("mp3", "/srv/x,mp=/x")];
        let change = make::from(&settings, change);
        drifted.steps = vec![
            step(Step::ApplyConfigurations, vec![change]),
            step(
                Step::StartContainer,
                vec![Action::Restart {
                    keys: vec!["mp3".parse().expect("a key")],
                }],
            ),
        ];
        drifted.notes = vec!["unmanaged, left as it is: mp9: /a,mp=/b".to_owned()];
        drifted.unmanaged = vec!["firewall".to_owned()];
        let mut sick = container(952, "bad");
        sick.problems = vec![(
            Step::ValidateInputs,
            Problem::new("storage_pool", "the host has no storage 'x'", "create it"),
        )];
        let mut waiting = container(953, "after-bad");
        waiting.blocked_by = Some(make::ctid(952));
        let mut checked = container(954, "checked");
        checked.steps = vec![step(Step::RunHealthCheck, vec![make::check()])];
        FleetPlan {
            containers: vec![new, drifted, sick, waiting, checked, container(955, "fine")],
        }
    }

    #[test]
    fn a_plan_shows_only_what_changes() {
        let shown = plain(&human(&mixed(), &DesiredState::default()));
        let expected = "\
# 950 web
  + ensure_container_defined    clone 920@pre-configured to fast
  > apply_features              run feature docker
  >                             run feature node

# 951 db
  ~ apply_configurations        memory: 256 → 1024
  -                             mp3: /srv/x,mp=/x
  ! start_container             restart, for mp3
    note: unmanaged, left as it is: mp9: /a,mp=/b

# 952 bad
  x validate_inputs: the host has no storage 'x'

# 953 after-bad
  x waits for 952, which has a problem

# 954 checked
  ? run_health_check            check health: curl localhost

Declared, but not managed by phoenix: firewall (950, 951)

Plan: 1 to create, 1 to change, 1 restart, 2 scripts to run, 1 to check, 1 with problems, \
1 blocked; 1 unchanged.
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn an_empty_plan_is_one_line() {
        let one = FleetPlan {
            containers: vec![container(950, "web")],
        };
        assert_eq!(
            human(&one, &DesiredState::default()),
            "No changes. 1 container is as declared.\n"
        );
        let two = FleetPlan {
            containers: vec![container(950, "web"), container(951, "db")],
        };
        assert_eq!(summary(&two), "No changes. 2 containers are as declared.");
    }

    #[test]
    fn long_lists_are_cut() {
        let ctids: Vec<Ctid> = (900..908).map(make::ctid).collect();
        assert_eq!(some_of(&ctids), "900, 901, 902, 903, 904 and 3 more");
    }
}
