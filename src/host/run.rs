//! Scripts and health checks: what the hosts with real containers share.
//!
//! A script runs in a private directory of the container, with the container's id as its first
//! argument, and leaves its receipt in the same execution: the shell that waited for it writes
//! it. That shell lives on when phoenix is killed, so that a script is not cut off; its output
//! goes to a file for the same reason.

use std::fs;
use std::thread;
use std::time::Duration;

use super::{Applied, Call, HostError};
use crate::domain::desired::{HealthCheck, Script};
use crate::domain::ids::Digest;
use crate::domain::observed::{Receipt, ReceiptKey};
use crate::domain::refusal::FailureKind;

/// Where receipts are, in the container.
pub(super) const RECEIPTS: &str = "var/lib/phoenix/receipts";
/// Where scripts are put for as long as they run, in the container.
pub(super) const RUNS: &str = "var/lib/phoenix/run";
/// What an application finds beside its script.
pub(super) const DOCUMENT: &str = "phoenix_lxc_configs.json";
/// The exit code of a script that succeeded and whose receipt cannot be written.
const NO_RECEIPT: i32 = 97;

/// Runs a script that was put into a directory: `$1` the directory, `$2` that of the receipts,
/// `$3` the receipt's name, `$4` the receipt; then the script's own arguments. Standard input is
/// phoenix's lock: nothing that the script starts may have it. Of the output comes one byte more
/// than is kept, so that it is known when it was cut.
pub(super) const RUN: &str = r#"
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
tail -c 4097 "$run/output" 2>/dev/null || cat "$run/output"
rm -rf "$run"
exit "$code"
"#;

/// A receipt as it stands on the disk.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Stored {
    pub(super) script: ReceiptKey,
    #[serde(flatten)]
    pub(super) receipt: Receipt,
}

/// The name of a receipt's file.
pub(super) fn file_name(key: &ReceiptKey) -> String {
    key.to_string().replace('/', "+")
}

/// The arguments of [`RUN`] for a script that stands in a directory.
pub(super) fn arguments(
    call: &Call<'_>,
    script: &Script,
    directory: &str,
) -> Result<Vec<String>, HostError> {
    let key = ReceiptKey::of(script);
    let name = file_name(&key);
    let receipt = Receipt {
        ctid: call.ctid,
        content: script.content,
        inputs: script.inputs,
        run: call.run,
    };
    let stored = Stored {
        script: key,
        receipt,
    };
    let receipt = serde_json::to_string(&stored).map_err(|error| {
        HostError::new(
            FailureKind::Permanent,
            format!("cannot write a receipt: {error}"),
        )
    })?;
    let fixed = [
        format!("/{directory}"),
        format!("/{RECEIPTS}"),
        name,
        receipt,
        call.ctid.to_string(),
    ];
    Ok(fixed.into_iter().chain(script.arguments.clone()).collect())
}

/// The private directory of one execution.
pub(super) fn directory(call: &Call<'_>) -> String {
    format!("{}-{}-{}", call.run, call.intent, call.attempt)
}

/// The script's content, as it was when the configuration was read.
pub(super) fn content(script: &Script) -> Result<Vec<u8>, HostError> {
    let permanent = |message| HostError::new(FailureKind::Permanent, message);
    let path = script.path.display();
    let content = fs::read(&script.path)
        .map_err(|error| permanent(format!("cannot read the script {path}: {error}")))?;
    if Digest::of(&content) == script.content {
        return Ok(content);
    }
    Err(permanent(format!(
        "the script {path} changed since the configuration was read; run the same command again"
    )))
}

/// The failure of a script, by its name and not by that of the shell around it.
pub(super) fn named(script: &Script, error: HostError) -> HostError {
    let name = &script.name;
    let message = match (error.kind, error.exit_code) {
        (FailureKind::Transient, _) => error.message.clone(),
        (_, Some(NO_RECEIPT)) => {
            format!("the script {name} succeeded, but its receipt cannot be written")
        }
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

/// Asks until it answers or was asked often enough.
pub(super) fn ask(
    check: &HealthCheck,
    once: impl Fn(Duration) -> Result<Applied, HostError>,
) -> Result<Applied, HostError> {
    let limit = Duration::from_secs(check.timeout_s.into());
    let mut tries = 0;
    loop {
        tries += 1;
        match once(limit) {
            Ok(applied) => return Ok(applied),
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
