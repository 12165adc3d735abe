//! The pure model of a host.

use super::action::Action;
use super::ids::{Ctid, RunId};
use super::observed::ObservedWorld;
use super::refusal::Refusal;

/// placeholder
pub enum Effect {
    /// nothing
    Nothing,
}

/// placeholder
pub fn after(_: &ObservedWorld, _: Ctid, _: &Action, _: RunId) -> Result<Effect, Refusal> {
    Ok(Effect::Nothing)
}

impl ObservedWorld {
    /// placeholder
    pub fn absorb(&mut self, _: Ctid, _: Effect) {}
}
