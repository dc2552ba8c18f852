//! Rivulet compresses continuous sensor telemetry with a neural codec and proves, while it runs, how
//! faithful the result is.
//!
//! ```text
//! source  ->  window  ->  encode  ->  sinks
//! ```
//!
//! [`source`] reads chunks of samples, [`window`] cuts them into frames, [`codec`] turns frames into
//! [`packet`]s with a [`model`], and sinks write packets or, as the mirror, decode them again and measure
//! their [`fidelity`]. The [`pipeline`] owns threads and queues; everything else is plain functions over
//! bytes and arrays.

mod back_off;
pub mod cli;
pub mod codec;
pub mod config;
pub mod fidelity;
pub mod kafka;
pub mod model;
pub mod packet;
pub mod pipeline;
pub mod signal;
pub mod sink;
pub mod source;
pub mod telemetry;
#[cfg(feature = "train")]
pub mod train;
pub mod window;
