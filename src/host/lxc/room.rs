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

impl Work<'_> {
    /// Explains a failure by a storage of these settings that is full, if one is. To be asked
    /// before what was half made is removed.
    pub(super) fn for_want_of_room(&self, settings: &Settings, error: HostError) -> HostError {
        let storages: BTreeSet<String> = volumes(settings)
            .into_iter()
            .map(|(_, volume, _)| volume.storage)
            .collect();
        let full = storages.into_iter().find_map(|storage| {
            let free = facts::free(&self.layout().storage(&storage))?;
            (free < DiskSize::bytes(FULL)).then_some((storage, free))
        });
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
