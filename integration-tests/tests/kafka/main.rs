//! The daemon on Kafka, proved against a real broker.
//!
//! `cargo test --release -p integration-tests --test kafka` runs the short versions; `-- --ignored` the long ones.
//! A build without optimisation encodes a hundred times slower, and is given a twentieth of the messages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod broker;
mod crashes;
mod decode;
mod examples;
mod fencing;
mod garbage;
mod group;
mod outage;
mod replay;
mod scene;
mod security;
mod shutdown;
