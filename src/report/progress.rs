//! Progress while a run works: one line per running container and totals on a terminal, plain
//! lines elsewhere.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::history::failure_details;
use super::text::{ADDED, BAD, CHANGED, FAINT, STRONG, count, duration, harmless, one_line, paint};
use crate::domain::action::Action;
use crate::domain::event::{Draft, Event, Failure, Verdict};
use crate::domain::ids::Ctid;
use crate::domain::step::Step;
use crate::engine::Watcher;

/// Follows the events of a run and says what a person wants to hear of them. Pure.
#[derive(Debug, Default)]
pub struct Tracker {
    names: BTreeMap<Ctid, String>,
    working: BTreeMap<Ctid, Work>,
    /// Containers that came to their end, whatever it was.
    pub settled: u64,
    /// Those that failed.
    pub failed: u64,
    /// Whether lines about what went well are left out.
    pub quiet: bool,
    /// What a person can do about those that failed, where that is known.
    pub helps: BTreeMap<Ctid, String>,
    /// Whether nobody wants to know what is being done just now.
    pub still: bool,
}

/// What is known of a container that is being worked on.
#[derive(Debug, Clone)]
struct Work {
    began: DateTime<Utc>,
    step: Option<Step>,
    attempt: u32,
    /// Actions of the open intent that change something.
    intended: u64,
    changes: u64,
}

/// What an event means to who watches.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Told {
    /// A line (or several) worth printing.
    pub line: Option<String>,
    /// What the container is doing now.
    pub doing: Option<String>,
    /// Whether it came to its end.
    pub ended: bool,
}

impl Tracker {
    /// For containers with these names.
    #[must_use]
    pub fn new(names: BTreeMap<Ctid, String>, quiet: bool) -> Self {
        Self {
            names,
            quiet,
            ..Self::default()
        }
    }

    /// How many containers are being worked on.
    #[must_use]
    pub fn working(&self) -> usize {
        self.working.len()
    }

    fn title(&self, ctid: Ctid) -> String {
        let name = self.names.get(&ctid).map_or("", String::as_str);
        format!("{ctid} {}", one_line(name)).trim_end().to_owned()
    }

    /// Takes in an event.
    pub fn take(&mut self, draft: &Draft) -> Told {
        let Some(ctid) = draft.ctid else {
            return Told::default();
        };
        let title = self.title(ctid);
        let work = self.working.entry(ctid).or_insert(Work {
            began: draft.at,
            step: None,
            attempt: 0,
            intended: 0,
            changes: 0,
        });
        let mut told = Told::default();
        match &draft.event {
            Event::StepStarted {
                step,
                attempt,
                actions,
                ..
            } => {
                work.step = Some(*step);
                work.attempt = *attempt;
                work.intended = actions.iter().filter(|action| action.mutates()).count() as u64;
                told.doing = (!self.still).then(|| doing(&title, work, actions));
            }
            Event::StepConverged { .. } => work.changes += work.intended,
            Event::IntentInspected { step, verdict, .. } => {
                let text = format!("{step}, cut off before: {}", found(*verdict));
                told.line = Some(format!("{title}  {}\n", paint(FAINT, &text)));
            }
            Event::StepFailed {
                step,
                attempt,
                failure,
                retry,
                ..
            } => {
                if let Some(help) = failure.help.as_ref().filter(|help| !help.is_empty()) {
                    self.helps.insert(ctid, help.clone());
                } else {
                    self.helps.remove(&ctid);
                }
                told.line = Some(if *retry {
                    let again = format!("{step}: attempt {attempt} failed, trying again");
                    let message = harmless(&failure.message);
                    format!("{title}  {}: {message}\n", paint(CHANGED, &again))
                } else {
                    failed(&title, *step, draft.at - work.began, failure)
                });
            }
            Event::ContainerConverged { took_ms } => {
                let changes = count(work.changes, "change");
                let head = paint(ADDED, "converged");
                let took = duration(*took_ms);
                told.line = Some(format!("{title}  {head} in {took} ({changes})\n"));
                told.ended = true;
            }
            Event::ContainerDestroyed { took_ms } => {
                let head = paint(BAD, "destroyed");
                told.line = Some(format!("{title}  {head} in {}\n", duration(*took_ms)));
                told.ended = true;
            }
            Event::ContainerSkipped { because } => {
                let head = paint(CHANGED, "skipped");
                told.line = Some(format!("{title}  {head}: {because} did not converge\n"));
                told.ended = true;
            }
            Event::ContainerFailed { .. } => {
                self.failed += 1;
                told.ended = true;
            }
            Event::ContainerUnchanged => told.ended = true,
            _ => {}
        }
        if told.ended {
            self.working.remove(&ctid);
            self.settled += 1;
        }
        if self.quiet && !matches!(&draft.event, Event::StepFailed { retry: false, .. }) {
            told.line = None;
        }
        told
    }
}

/// A failure with all that is known of it.
fn failed(title: &str, step: Step, passed: TimeDelta, failure: &Failure) -> String {
    let passed = duration(u64::try_from(passed.num_milliseconds()).unwrap_or(0));
    let head = paint(BAD.bold(), &format!("FAILED in {step} after {passed}"));
    let details = failure_details(failure, "    ");
    format!("{title}  {head}: {}\n{details}", harmless(&failure.message))
}

fn doing(title: &str, work: &Work, actions: &[Action]) -> String {
    let step = work.step.map_or("", Step::name);
    let first = actions.first();
    let first = first.map_or_else(String::new, |action| {
        harmless(&super::describe::summary(action))
    });
    let again = match work.attempt {
        0 | 1 => String::new(),
        attempt => format!(" (attempt {attempt})"),
    };
    format!("{}  {step}{again}: {first}", paint(STRONG, title))
}

fn found(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Adopted => "had its effect; nothing is done again",
        Verdict::Retried => "has not its whole effect; what is missing is done",
        Verdict::AmbiguousRetried => "nobody can tell whether the script ran; it is run again",
        Verdict::AmbiguousStopped => "nobody can tell whether the script ran; stopped",
    }
}

/// Where lines go.
pub type Sink = Box<dyn Fn(&str) + Send + Sync>;

/// Shows the progress of a run.
pub struct Progress {
    state: Mutex<(Tracker, BTreeMap<Ctid, ProgressBar>)>,
    bars: Option<(MultiProgress, ProgressBar)>,
    sink: Sink,
}

impl Progress {
    /// With moving lines on standard error where `moving`, and all other lines into the sink.
    #[must_use]
    pub fn new(mut tracker: Tracker, total: u64, moving: bool, sink: Sink) -> Self {
        tracker.still = !moving;
        let bars = moving.then(|| {
            let bars = MultiProgress::new();
            let totals = ProgressBar::new(total);
            totals.set_style(style("[{elapsed_precise}] {pos}/{len} containers{msg}"));
            let totals = bars.add(totals);
            (bars, totals)
        });
        Self {
            state: Mutex::new((tracker, BTreeMap::new())),
            bars,
            sink,
        }
    }

    /// Takes the moving lines away.
    pub fn finish(&self) {
        if let Some((bars, totals)) = &self.bars {
            totals.finish_and_clear();
            // What cannot be cleared (the terminal is gone) need not be.
            let _ = bars.clear();
        }
    }

    fn print(&self, line: &str) {
        match &self.bars {
            Some((bars, _)) => bars.suspend(|| (self.sink)(line)),
            None => (self.sink)(line),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Progress {
    /// What a person can do about the containers that failed, where that is known.
    #[must_use]
    pub fn helps(&self) -> BTreeMap<Ctid, String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.helps.clone()
    }
}

impl Watcher for Progress {
    fn recorded(&self, draft: &Draft) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (tracker, lines) = &mut *state;
        let told = tracker.take(draft);
        if let (Some((bars, totals)), Some(ctid)) = (&self.bars, draft.ctid) {
            if let Some(doing) = &told.doing {
                let bar = lines.entry(ctid).or_insert_with(|| {
                    let bar = bars.insert_before(totals, ProgressBar::new_spinner());
                    bar.set_style(style("{spinner} {wide_msg}"));
                    bar.enable_steady_tick(Duration::from_millis(120));
                    bar
                });
                bar.set_message(doing.clone());
            }
            if told.ended
                && let Some(bar) = lines.remove(&ctid)
            {
                bar.finish_and_clear();
                bars.remove(&bar);
            }
            totals.set_position(tracker.settled);
            totals.set_message(match tracker.failed {
                0 => format!(", {} working", tracker.working()),
                failed => format!(", {} working, {failed} failed", tracker.working()),
            });
        }
        if let Some(line) = &told.line {
            self.print(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Seen;
    use crate::domain::ids::RunId;
    use crate::domain::refusal::FailureKind;
    use crate::report::describe::tests as make;
    use crate::report::text::plain;

    fn draft(event: Event) -> Draft {
        Draft {
            at: DateTime::<Utc>::UNIX_EPOCH,
            run: RunId::NONE,
            ctid: Some(make::ctid(950)),
            event,
        }
    }

    fn tracker(quiet: bool) -> Tracker {
        Tracker::new(BTreeMap::from([(make::ctid(950), "web".to_owned())]), quiet)
    }

    fn started(attempt: u32) -> Event {
        Event::StepStarted {
            step: Step::StartContainer,
            attempt,
            actions: vec![Action::Start, make::check()],
            claims: Vec::new(),
            seen: Seen::Absent,
        }
    }

    fn failed(retry: bool) -> Event {
        Event::StepFailed {
            step: Step::StartContainer,
            attempt: 1,
            failure: Failure {
                kind: FailureKind::Transient,
                message: "CT is locked (backup)".to_owned(),
                command: Some("pct start 950".to_owned()),
                exit_code: Some(255),
                output: "line one\nline \x1b[2Jtwo\n".to_owned(),
                help: None,
            },
            retry,
            absent: false,
        }
    }

    fn line(told: Told) -> Option<String> {
        told.line.map(|line| plain(&line))
    }

    #[test]
    fn a_container_is_followed_from_its_first_attempt_to_its_end() {
        let mut tracker = tracker(false);
        let told = tracker.take(&draft(started(1)));
        assert_eq!(
            told.doing.as_deref().map(plain).as_deref(),
            Some("950 web  start_container: start")
        );
        assert_eq!(tracker.working(), 1);
        let again = line(tracker.take(&draft(failed(true))));
        let expected = "950 web  start_container: attempt 1 failed, trying again: \
                        CT is locked (backup)\n";
        assert_eq!(again.as_deref(), Some(expected));
        let told = tracker.take(&draft(started(2)));
        assert!(told.doing.is_some_and(|text| text.contains("(attempt 2)")));
        tracker.take(&draft(Event::StepConverged {
            step: Step::StartContainer,
            attempt: 2,
            took_ms: 5,
            seen: Seen::Absent,
        }));
        let told = tracker.take(&draft(Event::ContainerConverged { took_ms: 1_250 }));
        assert!(told.ended);
        assert_eq!(
            line(told).as_deref(),
            Some("950 web  converged in 1.2 s (1 change)\n"),
            "the check and the failed attempt are no changes"
        );
        assert_eq!((tracker.working(), tracker.settled), (0, 1));
    }

    #[test]
    fn a_failure_shows_all_that_is_known() {
        let mut tracker = tracker(true);
        let shown = line(tracker.take(&draft(failed(false))));
        let expected = "950 web  FAILED in start_container after 0 ms: CT is locked (backup)\n    \
                        command: pct start 950\n    exit code: 255\n    output:\n      \
                        line one\n      line two\n";
        assert_eq!(shown.as_deref(), Some(expected), "even when quiet");
        let step = Step::StartContainer;
        tracker.take(&draft(Event::ContainerFailed { step }));
        assert_eq!((tracker.settled, tracker.failed), (1, 1));
    }

    #[test]
    fn what_is_fine_is_not_mentioned() {
        let mut tracker = tracker(false);
        let told = tracker.take(&draft(Event::ContainerUnchanged));
        assert_eq!((told.line, told.ended), (None, true));
        let because = make::ctid(900);
        let told = tracker.take(&draft(Event::ContainerSkipped { because }));
        assert_eq!(
            line(told).as_deref(),
            Some("950 web  skipped: 900 did not converge\n")
        );
        let mut tracker = Tracker {
            quiet: true,
            ..Tracker::default()
        };
        let told = tracker.take(&draft(Event::ContainerSkipped { because }));
        assert_eq!(told.line, None);
    }

    #[test]
    fn lines_reach_the_sink_without_a_terminal() {
        let (send, receive) = std::sync::mpsc::channel();
        let sink = Box::new(move |line: &str| {
            let _ = send.send(line.to_owned());
        });
        let progress = Progress::new(tracker(false), 1, false, sink);
        progress.recorded(&draft(Event::ContainerConverged { took_ms: 1 }));
        progress.finish();
        let lines: Vec<String> = receive.try_iter().map(|line| plain(&line)).collect();
        assert_eq!(lines, ["950 web  converged in 1 ms (0 changes)\n"]);
    }
}
