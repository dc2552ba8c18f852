//! One fuzzer for every decoder: `RIVULET_FUZZ_TARGET` names the one that is fed.
//!
//! ```text
//! RIVULET_FUZZ_TARGET=packet cargo +nightly fuzz run -s none decoders -- -max_total_time=600
//! ```
//!
//! One program, because each takes minutes to link. The tests of the project feed the same targets with bytes made
//! from good ones (`tests/decoders.rs`).

#![no_main]

#[path = "targets.rs"]
mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("RIVULET_FUZZ_TARGET").unwrap_or_default();
    let found = targets::ALL.iter().find(|target| target.name == name);
    let Some(target) = found else {
        let names: Vec<_> = targets::ALL.iter().map(|target| target.name).collect();
        panic!("RIVULET_FUZZ_TARGET={name:?} is none of {}", names.join(", "));
    };
    target.feed
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));
