//! The first SIGINT, SIGTERM or SIGHUP asks the run to stop; a SIGINT or SIGTERM after it ends the
//! process. Another SIGHUP does not: when a session is lost, its shell and the kernel both send one.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use super::error::CliError;
use super::out::to_stderr;

/// The flag that a signal sets.
pub(super) fn stop_flag() -> Result<Arc<AtomicBool>, CliError> {
    let stop = Arc::new(AtomicBool::new(false));
    let trouble = |source| CliError::System {
        what: "signals cannot be waited for",
        source,
    };
    for signal in [SIGINT, SIGTERM] {
        // In this order: the flag is still unset when the first signal comes.
        flag::register_conditional_default(signal, Arc::clone(&stop)).map_err(trouble)?;
        flag::register(signal, Arc::clone(&stop)).map_err(trouble)?;
    }
    let mut heard = vec![SIGINT, SIGTERM];
    if !hangup_is_ignored() {
        flag::register(SIGHUP, Arc::clone(&stop)).map_err(trouble)?;
        heard.push(SIGHUP);
    }
    let mut signals = Signals::new(heard).map_err(trouble)?;
    // It ends with the process.
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            to_stderr(
                "Stopping: what is being done is finished first. A second signal ends phoenix \
                 at once; `phoenix resume` goes on after either.\n",
            );
        }
    });
    Ok(stop)
}

/// Whether phoenix was started so that it outlives its session (`nohup`). Where that cannot be
/// told, nothing is changed about the signal.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask >> (SIGHUP - 1) & 1 == 1)
}
