//! Scripts and health checks.
//!
//! A script is put into a private directory of the container, runs there with the container's
//! id as its first argument and a clean environment, and leaves its receipt in the same
//! execution: the shell that waited for it writes it. That shell lives on when phoenix is
//! killed, so that a script is not cut off; its output goes to a file for the same reason.

use std::time::Duration;

use super::super::process::Job;
use super::super::run::{self, DOCUMENT, RECEIPTS, RUN, RUNS};
use super::super::{Applied, Call, HostError};
use super::failure::transient;
use super::inside::{Inside, Push};
use super::work::Work;
use crate::domain::desired::{HealthCheck, Place, Script, ScriptKind};

/// How long a script may run.
const SCRIPT: Duration = Duration::from_secs(3600);
/// How much of its output is kept.
const TAIL: i64 = 4096;

/// On the host nothing but the exit code tells how it ended.
const RUN_ON_HOST: &str = r#""$@" </dev/null"#;

impl Work<'_> {
    /// Runs a script where it is to run.
    pub(super) fn run_script(
        &self,
        call: &Call<'_>,
        script: &Script,
    ) -> Result<Applied, HostError> {
        let content = run::content(script)?;
        match script.place {
            Place::Host => self.run_on_host(script),
            Place::Container => self.run_inside(call, script, &content),
        }
    }

    fn run_on_host(&self, script: &Script) -> Result<Applied, HostError> {
        let job = Job::new(["sh", "-c", RUN_ON_HOST, "phoenix-script"]).with([&script.path]);
        let job = job.with([self.ctid.to_string()]).with(&script.arguments);
        let done = job.stdin(self.lock()).deadline(SCRIPT).run();
        let output = done.map_err(|error| run::named(script, error))?;
        Ok(Applied {
            output: output.tail,
        })
    }

    fn run_inside(
        &self,
        call: &Call<'_>,
        script: &Script,
        content: &[u8],
    ) -> Result<Applied, HostError> {
        let guest = self.config()?;
        let init = self.instance()?.init;
        let inside = Inside::of(init, guest.root())
            .map_err(|_| transient("the container has just stopped"))?;
        inside.sweep();
        let run = run::directory(call);
        let path = format!("{RUNS}/{run}");
        let dir = inside.make(&path, 0o700)?;
        inside.make(RECEIPTS, 0o755)?;
        let pushed = inside
            .put(
                &dir,
                &Push {
                    name: "script",
                    content,
                    mode: 0o700,
                },
            )
            .and_then(|()| match script.kind {
                ScriptKind::Feature => Ok(()),
                ScriptKind::Application => {
                    let document = call.document.expose().as_bytes();
                    inside.put(
                        &dir,
                        &Push {
                            name: DOCUMENT,
                            content: document,
                            mode: 0o600,
                        },
                    )
                }
            });
        drop(dir);
        let ran = pushed.and_then(|()| self.shell(call, script, &path));
        let ran = ran.map_err(|error| {
            // What was stopped has not printed its output.
            let said = inside.tail(&path, "output", TAIL);
            let output = said.filter(|_| error.output.is_empty());
            HostError {
                output: output.unwrap_or(error.output),
                ..error
            }
        });
        inside.remove(RUNS, &run);
        let path = self.layout().receipts(self.ctid);
        self.remember(&path, inside.receipts().as_ref())?;
        ran
    }

    fn shell(&self, call: &Call<'_>, script: &Script, path: &str) -> Result<Applied, HostError> {
        let job = self.inside(["sh", "-c", RUN, "phoenix-script"]);
        let done = job
            .with(run::arguments(call, script, path)?)
            .stdin(self.lock())
            .deadline(SCRIPT)
            .run();
        let output = done.map_err(|error| run::named(script, error))?;
        Ok(Applied {
            output: output.tail,
        })
    }

    /// Asks until it answers or was asked often enough.
    pub(super) fn check_health(&self, check: &HealthCheck) -> Result<Applied, HostError> {
        run::ask(check, |limit| {
            let output = self.inside(&check.command).deadline(limit).run()?;
            Ok(Applied {
                output: output.tail,
            })
        })
    }
}
