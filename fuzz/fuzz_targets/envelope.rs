//! See [`cmtp_fuzz::envelope`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cmtp_fuzz::envelope(data));
