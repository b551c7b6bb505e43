//! libFuzzer's door to the body of this name.
#![no_main]
agentsight_fuzz::target!("dns");
