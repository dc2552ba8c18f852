//! What the library makes of samples.

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use rivulet::codec::{Decoder, Encoder, FrameRun, RvqDecoder, RvqEncoder};
use rivulet::model::ModelDirectory;
use rivulet::signal::{ChannelInfo, Chunk, Frame, Position, SampleType, StreamInfo, StreamKey};
use rivulet::window::{Framer, FramerConfig};

use crate::root;

/// The shipped ECG model.
pub(crate) fn ecg_model() -> &'static ModelDirectory {
    static MODEL: OnceLock<ModelDirectory> = OnceLock::new();
    MODEL.get_or_init(|| ModelDirectory::load(&root().join("models/ecg-16x")).expect("the shipped model"))
}

/// A stream of counts of 16 bits at 360 Hz.
pub(crate) fn stream_info(key: &str) -> StreamInfo {
    StreamInfo {
        key: StreamKey::new(key),
        sample_rate_hz: 360.0,
        sample_type: SampleType::I16,
        stored_bits: 16,
        channels: vec![ChannelInfo::unscaled("")],
    }
}

/// A framer with one stream, for the shipped model.
pub(crate) fn framer(info: &StreamInfo) -> Framer {
    let architecture = ecg_model().architecture();
    let mut framer = Framer::new(FramerConfig {
        frame_size: architecture.frame_size,
        channels: architecture.in_ch,
        max_gap_ns: None,
        max_streams: 1,
    })
    .expect("a framer");
    framer.add_stream(&Arc::new(info.clone())).expect("a stream");
    framer
}

/// Samples of the framer's stream.
pub(crate) fn chunk(samples: &[i16], after_gap: bool) -> Chunk {
    Chunk {
        origin: 0,
        stream: 0,
        position: Position::None,
        arrival_ns: None,
        time_ns: None,
        after_gap,
        samples: samples.iter().map(|sample| f64::from(*sample)).collect(),
    }
}

/// Packets of frames, encoded and decoded again.
pub(crate) fn decoded<'a>(info: &StreamInfo, packets: impl Iterator<Item = &'a [Frame]>) -> Vec<f64> {
    let mut encoder = RvqEncoder::new(ecg_model(), NonZeroUsize::MIN).expect("the model runs");
    let mut decoder = RvqDecoder::new(ecg_model()).expect("the model runs");
    let runs: Vec<FrameRun<'_>> = packets.map(|frames| FrameRun { stream: info, frames }).collect();
    let packets = encoder.encode(&runs).expect("frames of the model's size");
    packets.iter().flat_map(|packet| decoder.decode(packet).expect("a packet of the model")).collect()
}
