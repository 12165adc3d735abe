//! Scripts and health checks.
//!
//! A script is put into a private directory of the container, runs there with the container's
//! id as its first argument and a clean environment, and leaves its receipt in the same
//! execution: the shell that waited for it writes it. That shell lives on when phoenix is
//! killed, so that a script is not cut off; its output goes to a file for the same reason.

use std::fs;
use std::thread;
use std::time::Duration;

use super::super::process::Job;
use super::super::{Applied, Call, HostError};
use super::failure::{at, permanent, transient};
use super::inside::{Inside, Push, RECEIPTS, RUNS, Stored, file_name};
use super::work::Work;
use crate::domain::desired::{HealthCheck, Place, Script, ScriptKind};
use crate::domain::ids::Digest;
use crate::domain::observed::{Receipt, ReceiptKey};
use crate::domain::refusal::FailureKind;

/// How long a script may run.
const SCRIPT: Duration = Duration::from_secs(3600);
/// How much of its output is kept.
const TAIL: i64 = 4096;
/// What an application finds beside its script.
const DOCUMENT: &str = "phoenix_lxc_configs.json";

/// `$1` the private directory, `$2` the directory of receipts, `$3` the receipt's name, `$4` the
/// receipt; then the script's own arguments. Standard input is phoenix's lock: nothing that the
/// script starts may have it.
const RUN: &str = r#"
umask 022
cd /
run=$1 receipts=$2 name=$3 receipt=$4
shift 4
"$run/script" "$@" </dev/null >"$run/output" 2>&1
code=$?
if [ "$code" = 0 ]; then
    { mkdir -p "$receipts" && printf '%s\n' "$receipt" >"$receipts/.$name" \
        && mv -f "$receipts/.$name" "$receipts/$name" && sync; } >>"$run/output" 2>&1 || code=97
fi
tail -c 4096 "$run/output" 2>/dev/null || cat "$run/output"
rm -rf "$run"
exit "$code"
"#;

/// On the host nothing but the exit code tells how it ended.
const RUN_ON_HOST: &str = r#""$@" </dev/null"#;

impl Work<'_> {
    /// Runs a script where it is to run.
    pub(super) fn run_script(
        &self,
        call: &Call<'_>,
        script: &Script,
    ) -> Result<Applied, HostError> {
        let content = fs::read(&script.path)
            .map_err(|error| at("cannot read the script", &script.path, &error))?;
        if Digest::of(&content) != script.content {
            return Err(permanent(format!(
                "the script {} changed since the configuration was read; run the same command \
                 again",
                script.path.display()
            )));
        }
        match script.place {
            Place::Host => self.run_on_host(script),
            Place::Container => self.run_inside(call, script, &content),
        }
    }

    fn run_on_host(&self, script: &Script) -> Result<Applied, HostError> {
        let job = Job::new(["sh", "-c", RUN_ON_HOST, "phoenix-script"]).with([&script.path]);
        let job = job.with([self.ctid.to_string()]).with(&script.arguments);
        let done = job.stdin(self.lock()).deadline(SCRIPT).run();
        let output = done.map_err(|error| named(script, error))?;
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
        let run = format!("{}-{}-{}", call.run, call.intent, call.attempt);
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
                    let document = call.document.as_bytes();
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
        let key = ReceiptKey::of(script);
        let name = file_name(&key);
        let receipt = Receipt {
            ctid: self.ctid,
            content: script.content,
            inputs: script.inputs,
            run: call.run,
        };
        let receipt = serde_json::to_string(&Stored {
            script: key,
            receipt,
        })
        .map_err(|error| permanent(format!("cannot write a receipt: {error}")))?;
        let job = self.inside(["sh", "-c", RUN, "phoenix-script"]);
        let done = job
            .with([format!("/{path}"), format!("/{RECEIPTS}"), name, receipt])
            .with([self.ctid.to_string()])
            .with(&script.arguments)
            .stdin(self.lock())
            .deadline(SCRIPT)
            .run();
        let output = done.map_err(|error| named(script, error))?;
        Ok(Applied {
            output: output.tail,
        })
    }

    /// Asks until it answers or was asked often enough.
    pub(super) fn check_health(&self, check: &HealthCheck) -> Result<Applied, HostError> {
        let limit = Duration::from_secs(check.timeout_s.into());
        let mut tries = 0;
        loop {
            tries += 1;
            match self.inside(&check.command).deadline(limit).run() {
                Ok(output) => {
                    return Ok(Applied {
                        output: output.tail,
                    });
                }
                Err(error) if tries >= check.retries.max(1) => {
                    return Err(HostError {
                        // Nothing was changed by asking, and asking again is what was just done.
                        kind: FailureKind::Permanent,
                        message: format!("not healthy after {tries} tries: {}", error.message),
                        ..error
                    });
                }
                Err(_) => thread::sleep(Duration::from_secs(check.interval_s.into())),
            }
        }
    }
}

/// The failure of a script, by its name and not by that of the shell around it.
fn named(script: &Script, error: HostError) -> HostError {
    let name = &script.name;
    let message = match (error.kind, error.exit_code) {
        (_, Some(97)) => format!("the script {name} succeeded, but its receipt cannot be written"),
        (_, Some(code)) => format!("the script {name} failed (exit code {code})"),
        (FailureKind::UnknownOutcome, None) => {
            format!(
                "the script {name} did not come to its end: {}",
                error.message
            )
        }
        (_, None) => error.message.clone(),
    };
    HostError { message, ..error }
}
