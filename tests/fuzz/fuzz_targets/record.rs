//! See `targets.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| planfleet_fuzz::record(bytes));
