//! `[encoder]`: how frames become packets.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::section::{Kind, Refused, Report, Section, read_kind};
use super::value::Value;

const MAX_FRAMES_PER_PACKET: usize = 4096;
const MAX_BATCH_SIZE: usize = 4096;
const MAX_THREADS: usize = 1024;
const DAY_MS: usize = 24 * 60 * 60 * 1000;

const DEFAULT_FRAMES_PER_PACKET: usize = 16;
const DEFAULT_BATCH_SIZE: usize = 32;

/// The encoder's type and its options.
#[derive(Clone, Debug, PartialEq)]
pub enum EncoderConfig {
    /// `rvq`: a convolutional encoder and residual vector quantisation.
    Rvq(RvqEncoderConfig),
}

/// Options of the `rvq` encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct RvqEncoderConfig {
    /// The model's directory.
    pub model: PathBuf,
    /// Consecutive frames of a stream that share a packet and its header, at most.
    pub frames_per_packet: NonZeroUsize,
    /// A packet leaves once its first frame has waited this long; none: it waits for the others.
    pub max_packet_delay: Option<Duration>,
    /// Frames, of any streams, that go through the network at once, at most.
    pub batch_size: NonZeroUsize,
    /// Threads that encode.
    pub threads: NonZeroUsize,
}

pub(super) const KINDS: &[Kind<EncoderConfig>] = &[Kind {
    name: "rvq",
    keys: &["type", "model", "frames_per_packet", "max_packet_delay_ms", "batch_size", "threads"],
    read: |section| read_rvq(section).map(EncoderConfig::Rvq),
}];

pub(super) fn read(value: Value, report: &Report<'_>) -> Result<EncoderConfig, Refused> {
    read_kind("encoder", value, KINDS, report)
}

fn read_rvq(section: &mut Section<'_>) -> Result<RvqEncoderConfig, Refused> {
    let model = section.path("model");
    let model = section.required("model", model);
    let frames_per_packet =
        section.count_or("frames_per_packet", 1..=MAX_FRAMES_PER_PACKET, DEFAULT_FRAMES_PER_PACKET);
    let max_packet_delay_ms = section.count("max_packet_delay_ms", 1..=DAY_MS);
    let batch_size = section.count_or("batch_size", 1..=MAX_BATCH_SIZE, DEFAULT_BATCH_SIZE);
    let threads = section.count_or("threads", 1..=MAX_THREADS, 1);
    Ok(RvqEncoderConfig {
        model: model?,
        frames_per_packet: frames_per_packet?,
        max_packet_delay: max_packet_delay_ms?.map(|ms| Duration::from_millis(ms.get() as u64)),
        batch_size: batch_size?,
        threads: threads?,
    })
}
