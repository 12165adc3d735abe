//! The eleven states of a container, in the order in which they are converged, and its end.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of the eleven states, or the end of a container.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Everything that can be known to fail is said before anything is changed.
    ValidateInputs,
    /// The container exists, whole, and is what the configuration means.
    EnsureContainerDefined,
    /// Memory, cores, network, features, raw options.
    ApplyConfigurations,
    /// Bind mounts of host directories.
    ApplySharedVolumes,
    /// Volumes of the container's own.
    ApplyDedicatedVolumes,
    /// The root disk has the declared size.
    EnsureContainerDiskSize,
    /// The container runs, and nothing that was declared waits for a restart.
    StartContainer,
    /// Feature scripts have run.
    ApplyFeatures,
    /// The application script has run.
    RunApplicationScript,
    /// The health check answered.
    RunHealthCheck,
    /// The snapshot that clones start from exists.
    CreateTemplateSnapshot,
    /// The container is no more. None of the eleven: only a person asks for it, by name.
    DestroyContainer,
}

impl Step {
    /// The eleven states, in order.
    pub const ALL: [Self; 11] = [
        Self::ValidateInputs,
        Self::EnsureContainerDefined,
        Self::ApplyConfigurations,
        Self::ApplySharedVolumes,
        Self::ApplyDedicatedVolumes,
        Self::EnsureContainerDiskSize,
        Self::StartContainer,
        Self::ApplyFeatures,
        Self::RunApplicationScript,
        Self::RunHealthCheck,
        Self::CreateTemplateSnapshot,
    ];

    /// Everything that work on a container can be about.
    pub fn every() -> impl Iterator<Item = Self> + Clone {
        Self::ALL.into_iter().chain([Self::DestroyContainer])
    }

    /// The name that the configuration's authors, the journal and the screen use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ValidateInputs => "validate_inputs",
            Self::EnsureContainerDefined => "ensure_container_defined",
            Self::ApplyConfigurations => "apply_configurations",
            Self::ApplySharedVolumes => "apply_shared_volumes",
            Self::ApplyDedicatedVolumes => "apply_dedicated_volumes",
            Self::EnsureContainerDiskSize => "ensure_container_disk_size",
            Self::StartContainer => "start_container",
            Self::ApplyFeatures => "apply_features",
            Self::RunApplicationScript => "run_application_script",
            Self::RunHealthCheck => "run_health_check",
            Self::CreateTemplateSnapshot => "create_template_snapshot",
            Self::DestroyContainer => "destroy_container",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No such state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not one of the eleven states")]
pub struct UnknownStep(String);

impl FromStr for Step {
    type Err = UnknownStep;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::every()
            .find(|step| step.name() == text)
            .ok_or_else(|| UnknownStep(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_agree_with_serde() {
        for step in Step::every() {
            assert_eq!(step.name().parse(), Ok(step));
            assert_eq!(serde_json::to_value(step).ok(), Some(step.name().into()));
        }
    }
}
