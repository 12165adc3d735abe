//! The record decoder: any bytes are a record or none, with a wrong hash and with the right one.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| phoenix::fuzzing::record(data));
