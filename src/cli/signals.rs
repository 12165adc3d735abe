//! The first SIGINT or SIGTERM asks the run to stop, the second ends the process.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
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
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(trouble)?;
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
