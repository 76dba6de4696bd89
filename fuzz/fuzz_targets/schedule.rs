//! The check `schedule` on new inputs.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::run("schedule", data));
