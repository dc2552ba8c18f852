//! Every decoder fed with bytes made from good ones: no panic, no endless loop, and what comes out is what the
//! decoder promises. `RIVULET_FUZZ_SECONDS=600 cargo test --release --test decoders` feeds each for that long.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "../fuzz/targets.rs"]
mod targets;

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

/// Inputs of each decoder where no time is given.
const CASES: usize = 3000;

#[derive(Clone, Debug)]
enum Change {
    Overwrite(Index, Vec<u8>),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
    Cut(Index),
}

/// What numbers and separators of text are made of, and bytes at the ends of their ranges.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let interesting =
        prop::sample::select(&b"0123456789-+.,;:e\"'[]{}()= \t\r\n/#\\\x00\x01\x7f\x80\xff\xb7\xc0\xdb"[..]);
    prop_oneof![
        prop::collection::vec(interesting, 1..8),
        prop::collection::vec(any::<u8>(), 1..12),
        prop::sample::select(vec![
            "1e308",
            "-1e-400",
            "NaN",
            "inf",
            "9223372036854775808",
            "2024-02-30T25:61",
            "\u{feff}",
            "é"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (any::<Index>(), piece()).prop_map(|(at, with)| Change::Overwrite(at, with)),
        3 => (any::<Index>(), piece()).prop_map(|(at, with)| Change::Insert(at, with)),
        2 => (any::<Index>(), 1..9_usize).prop_map(|(at, count)| Change::Remove(at, count)),
        1 => (any::<Index>(), 1..40_usize).prop_map(|(at, count)| Change::Repeat(at, count)),
        1 => any::<Index>().prop_map(Change::Cut),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let at = |at: &Index| at.index(bytes.len() + 1);
        match change {
            Change::Overwrite(place, with) => {
                let end = (at(place) + with.len()).min(bytes.len());
                bytes.splice(at(place)..end, with.iter().copied());
            }
            Change::Insert(place, with) => drop(bytes.splice(at(place)..at(place), with.iter().copied())),
            Change::Remove(place, count) => {
                drop(bytes.drain(at(place)..(at(place) + count).min(bytes.len())))
            }
            Change::Repeat(place, count) => {
                let piece = bytes[at(place)..(at(place) + count).min(bytes.len())].to_vec();
                bytes.splice(at(place)..at(place), piece);
            }
            Change::Cut(place) => bytes.truncate(at(place)),
        }
    }
    bytes
}

#[test]
fn no_bytes_upset_a_decoder() {
    let seconds = std::env::var("RIVULET_FUZZ_SECONDS").ok().map(|text| text.parse().unwrap());
    let only = std::env::var("RIVULET_FUZZ_TARGET").ok();
    for target in targets::ALL.iter().filter(|target| only.as_deref().is_none_or(|only| only == target.name))
    {
        let mut seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no good input", target.name);
        seeds.iter().for_each(|seed| (target.feed)(seed));
        seeds.push(Vec::new());
        let inputs = (any::<Index>(), prop::collection::vec(change(), 1..6));
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
        let start = Instant::now();
        let mut cases = 0_usize;
        while seconds.map_or(cases < CASES, |seconds| start.elapsed() < Duration::from_secs(seconds)) {
            let (seed, changes) = inputs.new_tree(&mut runner).unwrap().current();
            let bytes = changed(seeds[seed.index(seeds.len())].clone(), &changes);
            let fed = std::panic::catch_unwind(|| (target.feed)(&bytes));
            assert!(fed.is_ok(), "{} upset by {:?}", target.name, bytes.escape_ascii().to_string());
            cases += 1;
        }
        println!("{}: {cases} inputs in {:.0} s", target.name, start.elapsed().as_secs_f64());
    }
}
