#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kvwatch_tests::fuzz::selectors(input));
