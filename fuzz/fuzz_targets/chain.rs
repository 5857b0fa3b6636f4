//! See [`cmtp_fuzz::chain`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cmtp_fuzz::chain(data));
