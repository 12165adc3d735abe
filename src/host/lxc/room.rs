//! A storage that ran full: whatever failed because of it, in whatever words, says so.

use std::collections::BTreeSet;

use super::super::HostError;
use super::facts;
use super::make::volumes;
use super::work::Work;
use crate::domain::refusal::FailureKind;
use crate::domain::setting::Settings;
use crate::domain::units::DiskSize;

/// A storage with less than this is full: what failed wanted more than that.
const FULL: u64 = 4 * 1024 * 1024;

/// What every tool says of a full file system (ENOSPC); they run without a locale.
const NO_SPACE: &str = "No space left on device";

impl Work<'_> {
    /// Explains a failure by the fullest storage of these settings, if it is full or the failure
    /// says that one was.
    pub(super) fn for_want_of_room(&self, settings: &Settings, error: HostError) -> HostError {
        let storages: BTreeSet<String> = volumes(settings)
            .into_iter()
            .map(|(_, volume, _)| volume.storage)
            .collect();
        let free = |storage: String| {
            let free = facts::free(&self.layout().storage(&storage))?;
            Some((storage, free))
        };
        // What was half made may be removed by now: the room that there is says little.
        let said = [&error.message, &error.output];
        let said = said.iter().any(|text| text.contains(NO_SPACE));
        let fullest = storages.into_iter().filter_map(free);
        let fullest = fullest.min_by_key(|(_, free)| *free);
        let full = fullest.filter(|(_, free)| said || *free < DiskSize::bytes(FULL));
        match full {
            Some((storage, free)) => HostError {
                kind: FailureKind::Permanent,
                message: format!(
                    "storage '{storage}' ran full ({}M free): {}; free space in it and run the \
                     same command again",
                    free.get() >> 20,
                    error.message
                ),
                ..error
            },
            None => error,
        }
    }
}
