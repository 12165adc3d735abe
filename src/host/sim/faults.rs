//! A plan of what goes wrong, and at which call.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use super::SimError;
use crate::domain::action::Action;
use crate::domain::ids::Ctid;

/// What goes wrong on a simulated host: a list of faults, counted by each process for itself.
#[derive(Debug, Default)]
pub struct FaultPlan {
    faults: Vec<(Fault, AtomicU64)>,
}

/// One fault of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The kind of action it meets, `observe`, or `any` (every action, but no observation).
    pub kind: String,
    /// Only for this container.
    #[serde(default)]
    pub ctid: Option<Ctid>,
    /// Which of the calls that it could meet, counted from 1.
    #[serde(default = "first")]
    pub n: u64,
    /// Again at every so many calls after that.
    #[serde(default)]
    pub every: Option<u64>,
    /// What happens.
    pub fault: FaultKind,
    /// The error's text.
    #[serde(default)]
    pub message: Option<String>,
    /// How long a `hang` takes.
    #[serde(default)]
    pub seconds: Option<u64>,
}

fn first() -> u64 {
    1
}

/// What a fault does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Refuses, without effect; trying again can help.
    Transient,
    /// Refuses, without effect; trying again cannot help.
    Permanent,
    /// Waits, then goes on as if nothing had been.
    Hang,
    /// Says that nobody knows; there was no effect.
    UnknownBefore,
    /// Says that nobody knows; the effect is there.
    UnknownAfter,
    /// Ends the process at once, before the effect.
    ExitBefore,
    /// Ends the process at once, after the effect.
    ExitAfter,
    /// Ends the process after the effect, at the end of the next look at the host: what was done
    /// has been seen, and nothing says so yet.
    ExitSeen,
    /// Ends the process at once and leaves what a killed create, clone or snapshot leaves.
    ExitMiddle,
}

/// The name under which a plan meets observations.
pub(super) const OBSERVE: &str = "observe";

/// The kinds of action that leave something half done when they are killed.
const WITH_MIDDLE: [&str; 5] = ["create", "clone", "snapshot", "destroy", "any"];

impl FaultPlan {
    /// A plan of these faults.
    ///
    /// # Errors
    /// When one of them can never happen.
    pub fn new(faults: Vec<Fault>) -> Result<Self, String> {
        for (index, fault) in faults.iter().enumerate() {
            fault
                .check()
                .map_err(|problem| format!("fault {}: {problem}", index + 1))?;
        }
        let faults = faults
            .into_iter()
            .map(|fault| (fault, AtomicU64::new(0)))
            .collect();
        Ok(Self { faults })
    }

    /// Reads a plan: a JSON list of faults.
    ///
    /// # Errors
    /// When it cannot be read or names what does not exist.
    pub fn read(path: &Path) -> Result<Self, SimError> {
        const WHAT: &str = "fault plan of the simulated host";
        let faults = super::read_json(path, WHAT)?;
        Self::new(faults).map_err(|problem| SimError::Invalid {
            what: WHAT,
            path: path.to_owned(),
            problem,
        })
    }

    /// Counts a call, and tells the fault that meets it.
    pub(super) fn next(&self, kind: &str, ctid: Option<Ctid>) -> Option<&Fault> {
        let mut found = None;
        for (fault, count) in &self.faults {
            if fault.meets(kind, ctid) {
                let call = count.fetch_add(1, Ordering::SeqCst) + 1;
                if fault.fires_at(call) && found.is_none() {
                    found = Some(fault);
                }
            }
        }
        found
    }
}

impl Fault {
    fn check(&self) -> Result<(), String> {
        let kind = self.kind.as_str();
        if !Action::KINDS.contains(&kind) && !["any", OBSERVE].contains(&kind) {
            let known = Action::KINDS.join(", ");
            return Err(format!(
                "'{kind}' is no kind of call ({known}, observe, any)"
            ));
        }
        if self.n == 0 || self.every == Some(0) {
            return Err("calls are counted from 1".to_owned());
        }
        if (self.fault == FaultKind::Hang) != self.seconds.is_some() {
            return Err("'seconds' belongs to the fault 'hang', and must be there".to_owned());
        }
        let effectless = [
            FaultKind::UnknownBefore,
            FaultKind::UnknownAfter,
            FaultKind::ExitSeen,
        ];
        if kind == OBSERVE && (effectless.contains(&self.fault) || self.ctid.is_some()) {
            let problem = "an observation has no effect, and is of no single container";
            return Err(problem.to_owned());
        }
        if self.fault == FaultKind::ExitMiddle && !WITH_MIDDLE.contains(&kind) {
            return Err(format!("'exit-middle' is for {}", WITH_MIDDLE.join(", ")));
        }
        Ok(())
    }

    fn meets(&self, kind: &str, ctid: Option<Ctid>) -> bool {
        let any = self.kind == "any" && kind != OBSERVE;
        (any || self.kind == kind) && (self.ctid.is_none() || self.ctid == ctid)
    }

    fn fires_at(&self, call: u64) -> bool {
        match (call.checked_sub(self.n), self.every) {
            (Some(0), _) => true,
            (Some(since), Some(every)) => since.is_multiple_of(every),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<FaultPlan, String> {
        let faults = serde_json::from_str(text).map_err(|error| error.to_string())?;
        FaultPlan::new(faults)
    }

    fn fired(plan: &FaultPlan, kind: &str, ctid: u32, calls: u32) -> Vec<u32> {
        let ctid = Ctid::try_from(ctid).ok();
        (1..=calls)
            .filter(|_| plan.next(kind, ctid).is_some())
            .collect()
    }

    #[test]
    fn a_fault_meets_the_calls_it_names() {
        let plan = plan(
            r#"[{"kind":"start","ctid":100,"n":2,"every":3,"fault":"transient"},
                {"kind":"any","n":100,"fault":"permanent"}]"#,
        )
        .expect("a plan");
        assert_eq!(fired(&plan, "start", 100, 9), [2, 5, 8]);
        assert_eq!(fired(&plan, "start", 101, 9), [0_u32; 0]);
        assert_eq!(fired(&plan, "clone", 101, 100), [82]);
        assert_eq!(fired(&plan, "observe", 101, 200), [0_u32; 0]);
    }

    #[test]
    fn a_plan_that_can_never_happen_is_refused() {
        for (text, part) in [
            (
                r#"[{"kind":"strat","fault":"transient"}]"#,
                "'strat' is no kind of call",
            ),
            (r#"[{"kind":"start","fault":"explode"}]"#, "explode"),
            (
                r#"[{"kind":"start","fault":"transient","x":1}]"#,
                "unknown field `x`",
            ),
            (r#"[{"kind":"start","fault":"hang"}]"#, "seconds"),
            (r#"[{"kind":"start","n":0,"fault":"transient"}]"#, "from 1"),
            (r#"[{"kind":"start","fault":"exit-middle"}]"#, "exit-middle"),
            (
                r#"[{"kind":"observe","fault":"unknown-after"}]"#,
                "observation",
            ),
            (r#"[{"kind":"observe","fault":"exit-seen"}]"#, "observation"),
        ] {
            let problem = plan(text).expect_err(text);
            assert!(problem.contains(part), "{problem}");
        }
    }
}
