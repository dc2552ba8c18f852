use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::signal::{ChannelInfo, Chunk, Frame, Position, SampleType, StreamInfo};

/// Milliseconds between samples, so that times are exact however samples are chunked.
const PERIOD_NS: i64 = 1_000_000;

fn config(frame_size: usize, channels: usize) -> FramerConfig {
    FramerConfig { frame_size, channels, max_gap_ns: None, max_streams: 100 }
}

fn stream(key: &str, channels: &[&str]) -> Arc<StreamInfo> {
    Arc::new(StreamInfo {
        key: StreamKey::new(key),
        sample_rate_hz: 1000.0,
        sample_type: SampleType::F64,
        stored_bits: 64,
        channels: channels.iter().map(|name| ChannelInfo::unscaled(*name)).collect(),
    })
}

fn chunk(stream: usize, samples: &[f64]) -> Chunk {
    let samples = samples.to_vec();
    Chunk {
        origin: 0,
        stream,
        position: Position::None,
        arrival_ns: None,
        time_ns: None,
        after_gap: false,
        samples,
    }
}

fn keys(streams: &[Arc<StreamInfo>]) -> Vec<&str> {
    streams.iter().map(|stream| stream.key.as_str()).collect()
}

/// Cuts chunks of one stream to the end.
fn cut(config: FramerConfig, info: &Arc<StreamInfo>, chunks: &[Chunk]) -> Vec<Frame> {
    let mut framer = Framer::new(config).unwrap();
    framer.add_stream(info).unwrap();
    let mut frames = Vec::new();
    for chunk in chunks {
        framer.push(chunk, &mut frames).unwrap();
    }
    framer.close(&mut frames);
    frames
}

#[test]
fn a_frame_of_several_channels_keeps_them_interleaved() {
    let frames =
        cut(config(2, 2), &stream("a", &["x", "y"]), &[chunk(0, &[1.0, -1.0, 2.0, -2.0, 3.0, -3.0])]);
    let summary: Vec<_> =
        frames.iter().map(|frame| (frame.number, frame.valid, frame.samples.clone())).collect();
    assert_eq!(summary, [(0, 2, vec![1.0, -1.0, 2.0, -2.0]), (1, 1, vec![3.0, -3.0, 3.0, -3.0])]);
}

#[test]
fn channels_become_streams_for_a_model_of_one() {
    let mut framer = Framer::new(config(2, 1)).unwrap();
    assert_eq!(keys(&framer.add_stream(&stream("a", &["MLII", ""])).unwrap()), ["a/MLII", "a/ch1"]);
    assert_eq!(keys(&framer.add_stream(&stream("b", &["V1"])).unwrap()), ["b/V1"]);
    assert_eq!(keys(&framer.add_stream(&stream("c", &[""])).unwrap()), ["c"]);
    assert_eq!(keys(&framer.add_stream(&stream("b/MLII", &["MLII"])).unwrap()), ["b/MLII"], "split before");
    let mut frames = Vec::new();
    framer.push(&chunk(2, &[7.0, 8.0]), &mut frames).unwrap();
    framer.push(&chunk(0, &[1.0, -1.0, 2.0, -2.0]), &mut frames).unwrap();
    let summary: Vec<_> = frames.iter().map(|frame| (frame.stream, frame.samples.clone())).collect();
    assert_eq!(summary, [(3, vec![7.0, 8.0]), (0, vec![1.0, 2.0]), (1, vec![-1.0, -2.0])]);
}

#[test]
fn what_the_source_says_is_missing_closes_the_frame() {
    let info = stream("a", &[""]);
    let late = Chunk { after_gap: true, ..chunk(0, &[3.0, 4.0, 5.0, 6.0]) };
    let frames = cut(config(4, 1), &info, &[chunk(0, &[1.0, 2.0]), late.clone(), late]);
    let summary: Vec<_> = frames
        .iter()
        .map(|frame| (frame.number, frame.valid, frame.after_gap, frame.samples.clone()))
        .collect();
    let full = vec![3.0, 4.0, 5.0, 6.0];
    assert_eq!(
        summary,
        [(0, 2, false, vec![1.0, 2.0, 2.0, 2.0]), (1, 4, true, full.clone()), (2, 4, true, full)]
    );
}

#[test]
fn time_stamps_that_run_ahead_close_the_frame() {
    let info = stream("a", &[""]);
    let at = |milliseconds: i64, samples: &[f64]| Chunk {
        time_ns: Some(milliseconds * PERIOD_NS),
        ..chunk(0, samples)
    };
    let chunks = [at(0, &[1.0, 2.0]), at(12, &[3.0]), at(23, &[4.0, 5.0]), at(0, &[6.0])];
    let allowed = FramerConfig { max_gap_ns: Some(10 * PERIOD_NS), ..config(4, 1) };
    let frames = cut(allowed, &info, &chunks);
    let summary: Vec<_> = frames.iter().map(|frame| (frame.time_ns, frame.valid, frame.after_gap)).collect();
    assert_eq!(summary, [(Some(0), 4, false), (Some(24 * PERIOD_NS), 2, false)]);

    let strict = FramerConfig { max_gap_ns: Some(10 * PERIOD_NS - 1), ..config(4, 1) };
    let frames = cut(strict, &info, &chunks);
    let summary: Vec<_> = frames.iter().map(|frame| (frame.time_ns, frame.valid, frame.after_gap)).collect();
    assert_eq!(
        summary,
        [(Some(0), 2, false), (Some(12 * PERIOD_NS), 1, true), (Some(23 * PERIOD_NS), 3, true)]
    );
    assert_eq!(cut(config(4, 1), &info, &chunks).len(), 2, "without max_gap_ns the source alone says it");
}

#[test]
fn a_stream_can_be_closed_and_go_on() {
    let mut framer = Framer::new(config(4, 1)).unwrap();
    framer.add_stream(&stream("a", &[""])).unwrap();
    let mut frames = Vec::new();
    framer.push(&chunk(0, &[1.0]), &mut frames).unwrap();
    framer.close_stream(0, &mut frames);
    framer.close_stream(0, &mut frames);
    framer.close_stream(9, &mut frames);
    framer.push(&chunk(0, &[2.0, 3.0]), &mut frames).unwrap();
    framer.close(&mut frames);
    let summary: Vec<_> = frames.iter().map(|frame| (frame.number, frame.valid, frame.after_gap)).collect();
    assert_eq!(summary, [(0, 1, false), (1, 2, false)]);
}

#[test]
fn streams_that_do_not_fit_are_refused() {
    let mut framer = Framer::new(FramerConfig { max_streams: 3, ..config(4, 2) }).unwrap();
    let refusal = |framer: &mut Framer, info| framer.add_stream(&info).unwrap_err().to_string();
    let message = refusal(&mut framer, stream("a", &["x", "y", "z"]));
    assert_eq!(message, "stream a has 3 channels, the model takes 2");
    assert!(refusal(&mut framer, stream("a", &["x"])).contains("1 channels"));
    assert!(refusal(&mut framer, stream("a", &[])).contains("0 channels"));
    framer.add_stream(&stream("a", &["x", "y"])).unwrap();
    assert!(refusal(&mut framer, stream("a", &["x", "y"])).contains("already"));
    let rate = Arc::new(StreamInfo { sample_rate_hz: 0.0, ..StreamInfo::clone(&stream("b", &["x", "y"])) });
    assert!(refusal(&mut framer, rate).contains("0 Hz"));

    let mut framer = Framer::new(FramerConfig { max_streams: 3, ..config(4, 1) }).unwrap();
    assert!(refusal(&mut framer, stream("a", &["x", "x"])).contains("a/x is there already"));
    assert!(refusal(&mut framer, stream("a", &[])).contains("0 channels"));
    framer.add_stream(&stream("a", &["x", "y"])).unwrap();
    assert!(refusal(&mut framer, stream("b", &["x", "y"])).contains("max_streams"));
    framer.add_stream(&stream("b", &["x"])).unwrap();

    let mut frames = Vec::new();
    let unknown = framer.push(&chunk(0, &[1.0]), &mut frames).unwrap_err();
    assert_eq!(unknown, WindowError::UnknownStream { index: 0 }, "it was refused");
    assert_eq!(
        framer.push(&chunk(99, &[1.0]), &mut frames).unwrap_err(),
        WindowError::UnknownStream { index: 99 }
    );
}

#[test]
fn frames_without_samples_or_channels_are_refused() {
    assert!(Framer::new(config(0, 1)).unwrap_err().to_string().contains("frame_size is 0"));
    assert!(Framer::new(config(1 << 40, 1)).unwrap_err().to_string().contains("frame_size"));
    assert!(Framer::new(config(4, 0)).unwrap_err().to_string().contains("channels is 0"));
}

#[test]
fn a_chunk_of_broken_rows_is_a_gap() {
    let mut framer = Framer::new(config(4, 2)).unwrap();
    framer.add_stream(&stream("a", &["x", "y"])).unwrap();
    let mut frames = Vec::new();
    framer.push(&chunk(0, &[1.0, 2.0]), &mut frames).unwrap();
    let error = framer.push(&chunk(0, &[1.0, 2.0, 3.0]), &mut frames).unwrap_err();
    assert!(error.to_string().contains("3 samples"), "{error}");
    framer.push(&chunk(0, &[3.0, 4.0]), &mut frames).unwrap();
    framer.close(&mut frames);
    let summary: Vec<_> = frames.iter().map(|frame| (frame.valid, frame.after_gap)).collect();
    assert_eq!(summary, [(1, false), (1, true)]);
}

#[test]
fn restored_streams_are_found_by_key() {
    let mut before = Framer::new(config(4, 1)).unwrap();
    before.add_stream(&stream("a", &[""])).unwrap();
    before.add_stream(&stream("b", &["x", "y"])).unwrap();
    let mut frames = Vec::new();
    before.push(&chunk(0, &[1.0, 2.0, 3.0, 4.0, 5.0]), &mut frames).unwrap();
    before.push(&chunk(1, &[0.1, 0.2]), &mut frames).unwrap();
    assert_eq!((before.open_samples(0), before.open_samples(1), before.open_samples(2)), (1, 1, 0));

    let mut after = Framer::new(config(4, 1)).unwrap();
    let older = before.snapshot(0, 6).unwrap();
    before.push(&chunk(0, &[6.0]), &mut frames).unwrap();
    for (snapshot, key, next) in
        [(older, "a", 6), (before.snapshot(1, 9).unwrap(), "b", 9), (before.snapshot(0, 7).unwrap(), "a", 7)]
    {
        assert_eq!(snapshot_position(&snapshot), Some(next));
        assert_eq!(snapshot_position(&snapshot[1..]), None);
        assert_eq!(after.restore(&snapshot).unwrap(), (StreamKey::new(key), next));
    }
    frames.clear();
    after.add_stream(&stream("c", &[""])).unwrap();
    after.add_stream(&stream("b", &["x", "y"])).unwrap();
    after.add_stream(&stream("a", &[""])).unwrap();
    assert!(after.restore(&before.snapshot(0, 7).unwrap()).is_err(), "the stream was added");
    after.close(&mut frames);
    let summary: Vec<_> =
        frames.iter().map(|frame| (frame.stream, frame.number, frame.samples.clone())).collect();
    assert_eq!(summary, [(1, 0, vec![0.1; 4]), (2, 0, vec![0.2; 4]), (3, 1, vec![5.0, 6.0, 6.0, 6.0])]);
}

#[test]
fn the_start_of_a_frame_holds_no_samples_of_it() {
    let mut before = Framer::new(config(4, 1)).unwrap();
    before.add_stream(&stream("a", &[""])).unwrap();
    let mut frames = Vec::new();
    let at = |time_ns, samples: &[f64]| Chunk { time_ns: Some(time_ns), ..chunk(0, samples) };
    before.push(&at(0, &[1.0, 2.0, 3.0, 4.0, 5.0]), &mut frames).unwrap();
    let mut after = Framer::new(config(4, 1)).unwrap();
    after.restore(&before.snapshot_of_start(0, 0).unwrap()).unwrap();
    after.add_stream(&stream("a", &[""])).unwrap();
    before.push(&chunk(0, &[6.0, 7.0, 8.0]), &mut frames).unwrap();
    let mut again = Vec::new();
    after.push(&chunk(0, &[5.0, 6.0, 7.0, 8.0]), &mut again).unwrap();
    assert_eq!(again, frames[1..]);
}

#[test]
fn a_snapshot_of_something_else_is_refused() {
    let mut framer = Framer::new(config(4, 1)).unwrap();
    framer.add_stream(&stream("a", &["x", "y"])).unwrap();
    framer.push(&chunk(0, &[1.0, 2.0]), &mut Vec::new()).unwrap();
    let snapshot = framer.snapshot(0, 0).unwrap();
    let refusal =
        |config, snapshot: &[u8]| Framer::new(config).unwrap().restore(snapshot).unwrap_err().to_string();
    assert!(refusal(config(8, 1), &snapshot).contains("they are now of 8 and 1"));
    assert!(refusal(config(4, 2), &snapshot).contains("they are now of 4 and 2"));
    assert!(refusal(FramerConfig { max_streams: 1, ..config(4, 1) }, &snapshot).contains("max_streams"));
    assert!(refusal(config(4, 1), &[2, 4, 1]).contains("version 2"));
    for length in 0..snapshot.len() {
        assert!(refusal(config(4, 1), &snapshot[..length]).contains("damaged"), "{length}");
    }
    assert!(refusal(config(4, 1), &[&snapshot[..], &[0]].concat()).contains("left over"));
    let mut restored = Framer::new(config(4, 1)).unwrap();
    restored.restore(&snapshot).unwrap();
    let faster =
        Arc::new(StreamInfo { sample_rate_hz: 2000.0, ..StreamInfo::clone(&stream("a", &["x", "y"])) });
    assert!(restored.add_stream(&faster).unwrap_err().to_string().contains("1000 Hz"));
}

/// A stream cut into chunks, some of them after a gap.
fn chunks(channels: usize) -> impl Strategy<Value = Vec<Chunk>> {
    let one = (prop::collection::vec(-1e6..1e6, 0..30_usize), any::<bool>(), 0..3_i64);
    prop::collection::vec(one, 0..12).prop_map(move |parts| {
        let mut time_ns = 0;
        parts
            .into_iter()
            .map(|(mut samples, gap, late)| {
                samples.truncate(samples.len() / channels * channels);
                let after_gap = gap && late == 0;
                // The largest step is more than the tests' longest gap, the next one is not.
                time_ns += [0, 5, 50][late as usize] * PERIOD_NS;
                let chunk = Chunk { time_ns: Some(time_ns), after_gap, ..chunk(0, &samples) };
                time_ns += (samples.len() / channels) as i64 * PERIOD_NS;
                chunk
            })
            .collect()
    })
}

/// The same samples in chunks of at most `rows` rows, of which only the first knows of a gap.
fn rechunk(chunks: &[Chunk], rows: usize, channels: usize) -> Vec<Chunk> {
    let mut small = Vec::new();
    for chunk in chunks {
        let mut after_gap = chunk.after_gap;
        let mut time_ns = chunk.time_ns;
        if chunk.samples.is_empty() {
            small.push(chunk.clone());
        }
        for samples in chunk.samples.chunks(rows * channels) {
            small.push(Chunk { after_gap, time_ns, samples: samples.to_vec(), ..*chunk });
            after_gap = false;
            time_ns = time_ns.map(|time| time + (samples.len() / channels) as i64 * PERIOD_NS);
        }
    }
    small
}

fn with_gaps(frame_size: usize, channels: usize) -> FramerConfig {
    FramerConfig { max_gap_ns: Some(10 * PERIOD_NS), ..config(frame_size, channels) }
}

proptest! {
    #[test]
    fn the_cut_does_not_depend_on_the_chunks(
        chunks in chunks(2),
        frame_size in 1_usize..20,
        model_channels in 1_usize..3,
        rows in 1_usize..10,
    ) {
        let info = stream("a", &["x", "y"]);
        let config = with_gaps(frame_size, model_channels);
        let mut expected = cut(config, &info, &chunks);
        let mut found = cut(config, &info, &rechunk(&chunks, rows, 2));
        // Frames of different channels may come in another order.
        expected.sort_by_key(|frame| (frame.stream, frame.number));
        found.sort_by_key(|frame| (frame.stream, frame.number));
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn valid_samples_are_the_input(chunks in chunks(3), frame_size in 1_usize..20, split in any::<bool>()) {
        let model_channels = if split { 1 } else { 3 };
        let frames = cut(with_gaps(frame_size, model_channels), &stream("a", &["x", "y", "z"]), &chunks);
        let input: Vec<f64> = chunks.iter().flat_map(|chunk| chunk.samples.iter().copied()).collect();
        for channel in 0..3 {
            let (stream, offset) = if split { (channel, 0) } else { (0, channel) };
            let found: Vec<f64> = frames
                .iter()
                .filter(|frame| frame.stream == stream)
                .flat_map(|frame| {
                    frame.samples.iter().skip(offset).step_by(model_channels).take(frame.valid as usize).copied()
                })
                .collect();
            let expected: Vec<f64> = input.iter().skip(channel).step_by(3).copied().collect();
            prop_assert_eq!(found, expected);
        }
        for stream in 0..if split { 3 } else { 1 } {
            let numbers = frames.iter().filter(|frame| frame.stream == stream).map(|frame| frame.number);
            prop_assert!(numbers.eq(0..frames.iter().filter(|frame| frame.stream == stream).count() as u64));
        }
        for frame in &frames {
            prop_assert_eq!(frame.samples.len(), frame_size * model_channels);
            let last = frame.valid as usize - 1;
            let rows: Vec<&[f64]> = frame.samples.chunks(model_channels).collect();
            prop_assert!(rows[last..].iter().all(|row| *row == rows[last]), "padding repeats the last sample");
        }
    }

    #[test]
    fn no_frame_spans_a_gap(chunks in chunks(1), frame_size in 1_usize..20) {
        let frames = cut(with_gaps(frame_size, 1), &stream("a", &[""]), &chunks);
        // Sample numbers before which something is missing.
        let mut gaps = Vec::new();
        let (mut samples, mut missing, mut expected_ns) = (0, false, None);
        for chunk in &chunks {
            let time_ns = chunk.time_ns.unwrap();
            missing |= chunk.after_gap || expected_ns.is_some_and(|expected| time_ns - expected > 10 * PERIOD_NS);
            if missing && !chunk.samples.is_empty() {
                gaps.push(samples);
                missing = false;
            }
            samples += chunk.samples.len();
            expected_ns = Some(time_ns + chunk.samples.len() as i64 * PERIOD_NS);
        }
        let mut starts = Vec::new();
        let mut first = 0;
        for frame in &frames {
            if frame.after_gap {
                starts.push(first);
            }
            prop_assert!(!gaps.iter().any(|gap| (first + 1..first + frame.valid as usize).contains(gap)));
            first += frame.valid as usize;
        }
        prop_assert_eq!(starts, gaps);
    }

    #[test]
    fn a_restored_framer_goes_on_as_if_nothing_had_happened(
        chunks in chunks(2),
        frame_size in 1_usize..20,
        model_channels in 1_usize..3,
        stop in 0_usize..12,
    ) {
        let info = stream("a", &["x", "y"]);
        let config = with_gaps(frame_size, model_channels);
        let expected = cut(config, &info, &chunks);

        let mut frames = Vec::new();
        let mut before = Framer::new(config).unwrap();
        before.add_stream(&info).unwrap();
        let (first, second) = chunks.split_at(stop.min(chunks.len()));
        for chunk in first {
            before.push(chunk, &mut frames).unwrap();
        }
        let snapshot = before.snapshot(0, 3).unwrap();
        drop(before);
        let mut after = Framer::new(config).unwrap();
        after.restore(&snapshot).unwrap();
        after.add_stream(&info).unwrap();
        prop_assert_eq!(after.snapshot(0, 3).unwrap(), snapshot);
        for chunk in second {
            after.push(chunk, &mut frames).unwrap();
        }
        after.close(&mut frames);
        prop_assert_eq!(frames, expected);
    }

    #[test]
    fn any_bytes_are_restored_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), head in any::<bool>()) {
        let bytes = if head { [&[1, 4, 1, 1, b'a'][..], &bytes].concat() } else { bytes };
        let mut framer = Framer::new(config(4, 1)).unwrap();
        if let Ok((key, _)) = framer.restore(&bytes) {
            // What was taken can be gone on with, or is refused as another stream.
            let _ = framer.add_stream(&stream(key.as_str(), &[""]));
        }
    }
}
