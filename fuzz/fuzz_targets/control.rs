//! The check `control` on new inputs.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::run("control", data));
