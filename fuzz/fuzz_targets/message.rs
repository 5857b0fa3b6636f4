//! See [`cmtp_fuzz::message`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cmtp_fuzz::message(data));
