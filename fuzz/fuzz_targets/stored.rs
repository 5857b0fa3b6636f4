//! See [`cmtp_fuzz::stored`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cmtp_fuzz::stored(data));
