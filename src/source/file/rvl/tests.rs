use super::*;
use crate::model::ModelDirectory;
use crate::packet::rvl::Writer;
use crate::packet::{ChannelSide, Header};
use crate::signal::{ChannelInfo, SampleType, StreamKey};
use crate::source::file::open_all;

const FRAME: u32 = 512;
/// A frame takes a second.
const RATE_HZ: f64 = 512.0;

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

fn info(rate_hz: f64) -> StreamInfo {
    StreamInfo {
        key: StreamKey::new("bed1/a"),
        sample_rate_hz: rate_hz,
        sample_type: SampleType::I16,
        stored_bits: 16,
        channels: vec![ChannelInfo::unscaled("")],
    }
}

/// A packet: its first frame, its frames, and the second at which it begins. The frames hold their numbers.
type Frames = (u64, u32, Option<i64>);

/// A packet file with a stream of these packets.
fn file(rate_hz: f64, packets: &[Frames]) -> Vec<u8> {
    file_of(&[(rate_hz, packets)])
}

/// A packet file with streams of one key and these packets, one after another.
fn file_of(streams: &[(f64, &[Frames])]) -> Vec<u8> {
    let model = ModelDirectory::load(&models().join("ecg-16x")).unwrap();
    let mut writer = Writer::new(Vec::new()).unwrap();
    for (rate_hz, packets) in streams.iter().copied() {
        let stream = writer.add_stream(&info(rate_hz)).unwrap();
        for (first_frame, frames, second) in packets.iter().copied() {
            let header = Header {
                model: model.id(),
                key_packet: true,
                after_gap: false,
                sample_type: SampleType::I16,
                channels: 1,
                sample_rate_hz: rate_hz,
                frame_size: FRAME,
                first_frame,
                time_ns: second.map(|second| second * 1_000_000_000),
                frames,
                last_valid: FRAME,
            };
            let side =
                (first_frame..).take(frames as usize).map(|number| ChannelSide::Constant(number as f64));
            let packet = Packet { header, side: side.collect(), layers: Vec::new() };
            writer.write_packet(stream, &packet.to_bytes().unwrap()).unwrap();
        }
    }
    writer.finish().unwrap().0
}

/// What the source of these files says: streams, frames (`|` before one behind a gap) and dead letters.
fn told(files: &[Vec<u8>]) -> Result<Vec<String>, SourceError> {
    let folder = tempfile::tempdir().unwrap();
    for (number, bytes) in files.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{number}.rvl")), bytes).unwrap();
    }
    let options = FileOptions { models: vec![models()], ..FileOptions::default() };
    let mut source = open_all(&[folder.path().join("*.rvl")], &options)?;
    let mut told = Vec::new();
    loop {
        match source.next_event()? {
            SourceEvent::Stream { info, .. } => told.push(format!("+{}", info.key)),
            SourceEvent::Chunk(chunk) => {
                for (place, frame) in chunk.samples.chunks(FRAME as usize).enumerate() {
                    let gap = if chunk.after_gap && place == 0 { "|" } else { "" };
                    told.push(format!("{}:{gap}{}", chunk.stream, frame[0]));
                }
            }
            SourceEvent::DeadLetter { letter, .. } => told.push(format!("!{}", letter.reason)),
            SourceEvent::End => return Ok(told),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn frames_that_later_segments_repeat_are_left_out() {
    let segments = [
        file(RATE_HZ, &[(0, 2, Some(0)), (2, 1, Some(2))]),
        file(RATE_HZ, &[(1, 2, Some(1)), (3, 1, Some(3))]),
        file(RATE_HZ, &[(3, 2, Some(3))]),
    ];
    assert_eq!(told(&segments).unwrap(), ["+bed1/a", "0:0", "0:1", "0:2", "0:3", "0:4"]);
}

#[test]
fn frames_that_are_missing_between_segments_are_told() {
    let told = told(&[file(RATE_HZ, &[(0, 1, Some(0))]), file(RATE_HZ, &[(3, 1, Some(3))])]).unwrap();
    assert_eq!(told[..2], ["+bed1/a", "0:0"]);
    assert!(told[2].ends_with("stream 'bed1/a': 2 frames before frame 3 are missing"), "{told:?}");
    assert_eq!(told[3..], ["0:|3"]);
}

#[test]
fn segments_that_count_anew_stand_behind_a_gap() {
    let segments =
        [file(RATE_HZ, &[(0, 2, Some(0))]), file(RATE_HZ, &[(0, 2, Some(100)), (2, 1, Some(102))])];
    assert_eq!(told(&segments).unwrap(), ["+bed1/a", "0:0", "0:1", "0:|0", "0:1", "0:2"]);
}

#[test]
fn segments_in_another_order_than_they_were_recorded_are_told() {
    let told = told(&[file(RATE_HZ, &[(2, 1, Some(2))]), file(RATE_HZ, &[(0, 1, Some(0)), (1, 1, Some(1))])]);
    let told = told.unwrap();
    assert_eq!(told[..2], ["+bed1/a", "0:2"]);
    assert_eq!(told.len(), 4);
    assert!(told[2].contains("frames 0 to 0 come behind later ones"), "{told:?}");
}

#[test]
fn repeats_that_no_time_shows_to_be_such_are_told_once() {
    let told = told(&[file(RATE_HZ, &[(0, 2, None)]), file(RATE_HZ, &[(0, 1, None), (1, 2, None)])]).unwrap();
    assert_eq!(told[..3], ["+bed1/a", "0:0", "0:1"]);
    assert!(told[3].contains("carry no time"), "{told:?}");
    assert_eq!(told[4..], ["0:2"]);
}

#[test]
fn a_stream_that_comes_again_in_a_file_goes_on() {
    let joined: [(f64, &[Frames]); 3] =
        [(RATE_HZ, &[(0, 2, Some(0))]), (RATE_HZ, &[(1, 2, Some(1))]), (RATE_HZ, &[(0, 1, Some(100))])];
    assert_eq!(told(&[file_of(&joined)]).unwrap(), ["+bed1/a", "0:0", "0:1", "0:2", "0:|0"]);
}

#[test]
fn a_key_that_comes_again_for_another_stream_is_refused() {
    let joined = file_of(&[(RATE_HZ, &[(0, 1, Some(0))]), (250.0, &[(0, 1, Some(1))])]);
    let error = told(&[joined]).unwrap_err().to_string();
    assert!(error.contains("0.rvl: stream 'bed1/a': ") && error.contains("split the file"), "{error}");
}

#[test]
fn another_stream_of_a_key_in_another_file_is_one_of_its_own() {
    let segments = [
        file(RATE_HZ, &[(0, 2, Some(0))]),
        file(250.0, &[(0, 1, Some(0))]),
        file(RATE_HZ, &[(1, 2, Some(1))]),
    ];
    assert_eq!(told(&segments).unwrap(), ["+bed1/a", "0:0", "0:1", "+1/bed1/a", "1:0", "0:2"]);
}
