//! What has to come out, by the library.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use rivulet::codec::{Decoder, Encoder, FrameRun, RvqDecoder, RvqEncoder};
use rivulet::signal::{ChannelInfo, Chunk, Position, SampleType, StreamInfo, StreamKey};
use rivulet::window::{Framer, FramerConfig};

use crate::kafka::ecg_model;
use crate::{read_wfdb_212, root};

/// The first channel of the shipped excerpt.
pub fn excerpt() -> Vec<i16> {
    let [lead, _] = read_wfdb_212(&root().join("pipelines/data/mitdb_100_60s.dat"));
    lead.into_iter().map(|sample| sample as i16).collect()
}

/// A folder of recordings, if there is one: `$RIVULET_RECORDINGS`, or `shared/data` beside the project.
pub fn recording_folder() -> Option<PathBuf> {
    let named = std::env::var_os("RIVULET_RECORDINGS").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| root().join("../shared/data"));
    folder.is_dir().then_some(folder)
}

/// Runs of samples with gaps between them, cut, encoded and decoded again.
pub fn decoded(runs: &[&[i16]]) -> Vec<f64> {
    let model = ecg_model();
    let info = Arc::new(StreamInfo {
        key: StreamKey::new("expected"),
        sample_rate_hz: 360.0,
        sample_type: SampleType::I16,
        stored_bits: 16,
        channels: vec![ChannelInfo::unscaled("")],
    });
    let mut framer = Framer::new(FramerConfig {
        frame_size: model.architecture().frame_size,
        channels: 1,
        max_gap_ns: None,
        max_streams: 1,
    })
    .expect("a framer");
    framer.add_stream(&info).expect("a stream");
    let mut encoder = RvqEncoder::new(model, NonZeroUsize::MIN).expect("the model runs");
    let mut decoder = RvqDecoder::new(model).expect("the model runs");
    let mut samples = Vec::new();
    for run in runs {
        let chunk = Chunk {
            origin: 0,
            stream: 0,
            position: Position::None,
            arrival_ns: None,
            time_ns: None,
            after_gap: true,
            samples: run.iter().map(|sample| f64::from(*sample)).collect(),
        };
        let mut frames = Vec::new();
        framer.push(&chunk, &mut frames).expect("whole rows");
        framer.close(&mut frames);
        let packets = frames.chunks(16).map(|frames| FrameRun { stream: &info, frames });
        for packet in encoder.encode(&packets.collect::<Vec<_>>()).expect("frames of the model's size") {
            samples.extend(decoder.decode(&packet).expect("a packet of the model"));
        }
    }
    samples
}
