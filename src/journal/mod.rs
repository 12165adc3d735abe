//! (to be written)

/// placeholder until the journal lands
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub enum JournalError {
    /// closed
    Closed,
}
