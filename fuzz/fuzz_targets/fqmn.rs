//! See [`cmtp_fuzz::fqmn`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cmtp_fuzz::fqmn(data));
