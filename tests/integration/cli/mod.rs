//! The contract of the program: exit codes, documents, what is changed and what is not.

mod contract;
mod destroy;
mod interruption;
mod journal;
mod mistakes;
mod private;
mod run;
mod secrets;
mod usage;
