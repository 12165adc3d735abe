//! Properties of the journal as a whole.

mod behaviour;
mod checkpoint;
mod damage;
mod full_disk;
mod old;
mod support;
