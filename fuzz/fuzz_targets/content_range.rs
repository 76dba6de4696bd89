//! The check `content_range` on new inputs.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::run("content_range", data));
