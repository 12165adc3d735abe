//! The pure model of a host.
