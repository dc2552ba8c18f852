//! The daemon on serial ports, which are pseudo-terminals here.
//!
//! `cargo test --release -p integration-tests --test serial`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod example;
mod overrun;
mod scene;
mod side_by_side;
mod trouble;
mod wire;
