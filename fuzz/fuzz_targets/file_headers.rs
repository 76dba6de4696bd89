//! The check `file_headers` on new inputs.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::run("file_headers", data));
