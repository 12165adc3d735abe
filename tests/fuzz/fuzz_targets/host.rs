//! What a host says: any text is understood or not, and never brings phoenix down.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| phoenix::fuzzing::host(data));
