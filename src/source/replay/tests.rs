use std::num::NonZeroUsize;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::signal::{ChannelInfo, SampleType, StreamInfo, StreamKey, duration_ns};

fn recording(name: &str, rows: usize, channels: usize, sample_rate_hz: f64) -> Recording {
    let info = StreamInfo {
        key: StreamKey::new(name),
        sample_rate_hz,
        sample_type: SampleType::I32,
        stored_bits: 32,
        channels: (0..channels).map(|channel| ChannelInfo::unscaled(format!("c{channel}"))).collect(),
    };
    Recording { info, samples: (0..rows * channels).map(|sample| sample as f64).collect() }
}

fn options(speed: Speed, streams: usize, once: bool) -> PlayOptions {
    PlayOptions { speed, streams: NonZeroUsize::new(streams), chunk_rows: None, once }
}

/// A clock that stands still but for sleeping, and what it was asked to sleep.
#[derive(Clone, Default)]
struct TestClock(Arc<Mutex<(i64, Vec<Duration>)>>);

const START_UNIX_NS: i64 = 1_700_000_000_000_000_000;

impl TestClock {
    fn pass(&self, ns: i64) {
        self.0.lock().unwrap().0 += ns;
    }
}

impl Clock for TestClock {
    fn start(&mut self) {
        self.0.lock().unwrap().0 = 0;
    }

    fn now_ns(&self) -> i64 {
        self.0.lock().unwrap().0
    }

    fn start_unix_ns(&self) -> i64 {
        START_UNIX_NS
    }

    fn sleep(&mut self, wait: Duration) {
        let mut state = self.0.lock().unwrap();
        state.0 += wait.as_nanos() as i64;
        state.1.push(wait);
    }
}

fn source(player: Player, duration: Option<Duration>) -> (ReplaySource<TestClock>, TestClock, Arc<Meter>) {
    let (clock, meter) = (TestClock::default(), Arc::<Meter>::default());
    let source = ReplaySource::new(player, clock.clone(), duration, "t", Arc::clone(&meter));
    (source, clock, meter)
}

/// The next event that is not idle.
fn next(source: &mut ReplaySource<TestClock>) -> SourceEvent {
    loop {
        match source.next_event().unwrap() {
            SourceEvent::Idle => {}
            event => return event,
        }
    }
}

fn next_chunk(source: &mut ReplaySource<TestClock>) -> Chunk {
    loop {
        match next(source) {
            SourceEvent::Open(_) | SourceEvent::Stream { .. } => {}
            SourceEvent::Chunk(chunk) => return chunk,
            event => panic!("{event:?} is no chunk"),
        }
    }
}

#[test]
fn chunks_are_due_when_their_last_sample_comes_into_being() {
    let play = |speed| {
        let mut player = Player::new(vec![recording("a", 1_000, 1, 360.0)], &options(speed, 2, false));
        (0..4).map(|_| player.take().unwrap()).collect::<Vec<_>>()
    };
    // 18 samples at 360 Hz are 50 ms; the second stream comes half a chunk later.
    let due = |chunks: &[PlayedChunk]| {
        chunks.iter().map(|chunk| (chunk.stream, chunk.due_ns / 1_000)).collect::<Vec<_>>()
    };
    let real_time = play(Speed::Times(1.0));
    assert_eq!(due(&real_time), [(0, 50_000), (1, 75_000), (0, 100_000), (1, 125_000)]);
    assert_eq!(due(&play(Speed::Times(10.0))), [(0, 5_000), (1, 7_500), (0, 10_000), (1, 12_500)]);
    // Signal time is the same at any speed.
    let times = |chunks: &[PlayedChunk]| chunks.iter().map(|chunk| chunk.time_ns).collect::<Vec<_>>();
    assert_eq!(times(&real_time), [0, 25_000_000, 50_000_000, 75_000_000]);
    assert_eq!(times(&real_time), times(&play(Speed::Times(10.0))));
}

#[test]
fn the_schedule_does_not_drift() {
    let options = PlayOptions { chunk_rows: NonZeroUsize::new(1), ..options(Speed::Times(1.0), 1, false) };
    let mut player = Player::new(vec![recording("a", 7, 1, 360.0)], &options);
    let last = (0..360 * 100).map(|_| player.take().unwrap()).last().unwrap();
    assert_eq!(last.due_ns, 100_000_000_000);
}

#[test]
fn streams_share_recordings_with_phases_spread_over_them() {
    let recordings = vec![recording("a", 100, 1, 100.0), recording("b", 50, 2, 100.0)];
    let mut player = Player::new(recordings, &options(Speed::Max, 5, true));
    assert_eq!(player.total_samples(), Some(500));
    let keys: Vec<_> = (0..5).map(|stream| player.stream_info(stream).unwrap().key.to_string()).collect();
    assert_eq!(keys, ["a#0", "b#1", "a#2", "b#3", "a#4"]);
    let mut first = [None; 5];
    while let Some(chunk) = player.take() {
        first[chunk.stream].get_or_insert(chunk.samples[0]);
    }
    assert_eq!(first.map(Option::unwrap), [0.0, 0.0, 33.0, 50.0, 66.0]);
}

#[test]
fn a_chunk_that_comes_late_keeps_the_time_at_which_it_was_due() {
    let player = Player::new(vec![recording("a", 100, 1, 100.0)], &options(Speed::Times(1.0), 1, false));
    let (mut source, clock, meter) = source(player, None);
    assert!(matches!(next(&mut source), SourceEvent::Open(_)));
    assert!(matches!(next(&mut source), SourceEvent::Stream { .. }));
    let first = next_chunk(&mut source);
    assert_eq!(first.arrival_ns, Some(START_UNIX_NS + 50_000_000));
    assert_eq!(meter.behind_seconds(), 0.0);
    // The pipeline has no room for a second.
    clock.pass(1_000_000_000);
    for late in 2..=20 {
        let chunk = next_chunk(&mut source);
        assert_eq!(chunk.arrival_ns, Some(START_UNIX_NS + late * 50_000_000));
    }
    assert!((meter.max_behind_seconds() - 0.95).abs() < 1e-9, "{meter:?}");
    // It has caught up by then, and waits again.
    next_chunk(&mut source);
    next_chunk(&mut source);
    assert_eq!(meter.behind_seconds(), 0.0);
}

#[test]
fn what_is_due_leaves_before_the_source_sleeps_and_sleeps_are_short() {
    let player = Player::new(vec![recording("a", 10, 1, 0.5)], &options(Speed::Times(1.0), 1, false));
    let (mut source, clock, _) = source(player, None);
    next_chunk(&mut source);
    let before = clock.now_ns();
    assert!(matches!(source.next_event().unwrap(), SourceEvent::Idle));
    assert_eq!(clock.now_ns(), before, "nothing slept before the batch could leave");
    assert!(matches!(source.next_event().unwrap(), SourceEvent::Idle));
    let sleeps = clock.0.lock().unwrap().1.clone();
    assert!(
        !sleeps.is_empty() && sleeps.iter().all(|sleep| *sleep <= STEP && !sleep.is_zero()),
        "{sleeps:?}"
    );
}

#[test]
fn a_play_ends_after_its_duration() {
    let player = Player::new(vec![recording("a", 10, 1, 100.0)], &options(Speed::Times(2.0), 3, false));
    let (mut source, _, meter) = source(player, Some(Duration::from_millis(500)));
    assert_eq!(source.total_samples(), None);
    let mut samples = 0;
    loop {
        match next(&mut source) {
            SourceEvent::Chunk(chunk) => samples += chunk.samples.len() as u64,
            SourceEvent::End => break,
            _ => {}
        }
    }
    assert!(matches!(source.next_event().unwrap(), SourceEvent::End));
    // Half a second at twice the speed is a second of 100 Hz; a stream's last chunk may be due at the end itself.
    assert!((270..=300).contains(&samples), "{samples}");
    assert_eq!(meter.samples(), samples);
    assert_eq!(meter.elapsed_seconds(), 0.5);
}

#[test]
fn what_is_not_paced_has_no_latency_and_is_played_once() {
    let player = Player::new(vec![recording("a", 101, 2, 100.0)], &options(Speed::Max, 3, true));
    let (mut source, clock, meter) = source(player, None);
    assert_eq!(source.total_samples(), Some(606));
    let mut positions = Vec::new();
    loop {
        match source.next_event().unwrap() {
            SourceEvent::Chunk(chunk) => {
                assert_eq!(chunk.arrival_ns, None);
                positions.push(chunk.position);
            }
            SourceEvent::End => break,
            SourceEvent::Idle => panic!("there is always something to take"),
            _ => {}
        }
    }
    let expected: Vec<_> = (0..positions.len() as i64).map(Position::Offset).collect();
    assert_eq!(positions, expected);
    assert_eq!(meter.samples(), 606);
    assert!(clock.0.lock().unwrap().1.is_empty());
    assert!((meter.signal_seconds() - 3.03).abs() < 1e-9);
}

#[test]
fn a_stopped_play_says_how_long_it_was() {
    let player = Player::new(vec![recording("a", 10, 1, 100.0)], &options(Speed::Times(1.0), 1, false));
    let (mut source, clock, meter) = source(player, None);
    next_chunk(&mut source);
    clock.pass(450_000_000);
    assert!(source.stop().unwrap().is_none());
    assert!((meter.elapsed_seconds() - 0.5).abs() < 1e-9);
    assert!(matches!(source.next_event().unwrap(), SourceEvent::End));
}

proptest! {
    /// Over a whole play every stream is its recording, turned by its phase.
    #[test]
    fn every_stream_is_its_recording_turned_by_its_phase(
        rows in prop::collection::vec(1_usize..200, 1..4),
        channels in 1_usize..4,
        streams in 1_usize..9,
        chunk_rows in 1_usize..70,
        rate_hz in 1.0_f64..1_000.0,
        rounds in 1_usize..4,
    ) {
        let recordings: Vec<_> = rows
            .iter()
            .enumerate()
            .map(|(i, rows)| recording(&format!("r{i}"), *rows, channels, rate_hz))
            .collect();
        for once in [true, false] {
            let options = PlayOptions {
                speed: Speed::Times(3.0),
                streams: NonZeroUsize::new(streams),
                chunk_rows: NonZeroUsize::new(chunk_rows),
                once,
            };
            let mut player = Player::new(recordings.clone(), &options);
            let mut played = vec![Vec::new(); streams];
            let mut last_due_ns = 0;
            let longest = rows.iter().max().unwrap() * rounds * channels;
            while let Some(chunk) = player.take() {
                prop_assert!(chunk.due_ns >= last_due_ns, "chunks come in the order in which they are due");
                last_due_ns = chunk.due_ns;
                let samples: &mut Vec<f64> = &mut played[chunk.stream];
                let before_ns = duration_ns(rate_hz, (samples.len() / channels) as u64);
                prop_assert!(chunk.time_ns - before_ns < duration_ns(rate_hz, chunk_rows as u64));
                samples.extend(chunk.samples);
                if !once && played.iter().all(|samples| samples.len() >= longest) {
                    break;
                }
            }
            for (stream, samples) in played.iter().enumerate() {
                let place = stream % recordings.len();
                let copies = (streams - place).div_ceil(recordings.len());
                let phase = (stream / recordings.len()) * rows[place] / copies;
                let mut turned = recordings[place].samples.clone();
                turned.rotate_left(phase * channels);
                if once {
                    prop_assert_eq!(samples, &turned);
                } else {
                    let endless = turned.iter().cycle();
                    prop_assert!(samples.iter().zip(endless).all(|(a, b)| a == b));
                }
            }
        }
    }
}
