//! Entropy coding by context mixing: adaptive probabilities of bits, joined in the logistic domain and handed to a binary
//! range coder (Mahoney, "Adaptive weighing of context models for lossless data compression", 2005).
//!
//! Everything that a probability depends on is a whole number, and every kernel gives the same ones, so what one machine
//! writes another one reads.
//!
//! A model of something (codes, coefficients, residuals) is a function that is generic over its [`BitCoder`]: run with
//! a [`RangeEncoder`] it writes, with a [`RangeDecoder`] it reads, with a [`BitCost`] it counts. What it has learnt is in a
//! [`Mixer`], which starts from a trained [`Start`].

mod kernel;
mod mixer;
mod range;
mod start;
mod tables;

pub use kernel::{Kernel, Work};
pub use mixer::{Changes, Mixer, MixerShape};
pub use range::{BitCoder, BitCost, RangeDecoder, RangeEncoder};
pub use start::{Start, StartError};
pub use tables::log_class;
