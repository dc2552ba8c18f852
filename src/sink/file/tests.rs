//! Segments: when they roll, what they are called, and what is in them whatever befalls their writer.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::ModelId;
use crate::packet::rvl::{Event, Reader};
use crate::packet::{ChannelSide, Header, Packet};
use crate::signal::{ChannelInfo, Checkpoint, SampleType, StreamIndex};
use crate::sink::Outgoing;
use crate::telemetry::Telemetry;

const SECOND_NS: i64 = 1_000_000_000;
const HOUR_NS: i64 = 3600 * SECOND_NS;

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(0) };
}

fn now() -> i64 {
    NOW.get()
}

/// A folder with a sink that writes to it.
struct Scene {
    folder: tempfile::TempDir,
    options: FileSinkOptions,
    telemetry: Telemetry,
}

impl Scene {
    fn new(path: &str, roll: Roll, read_again: ReadAgain) -> Self {
        NOW.set(0);
        let folder = tempfile::tempdir().unwrap();
        let path = PathTemplate::parse(&format!("{}/{path}", folder.path().display())).unwrap();
        let options = FileSinkOptions {
            path: path.of_pipeline("ecg"),
            roll,
            // Forcing thousands of files to disk proves nothing here.
            sync: Some(SyncPolicy::Never),
            max_open_segments: NonZeroUsize::new(256).unwrap(),
            read_again,
        };
        Self { folder, options, telemetry: Telemetry::new() }
    }

    fn sink(&self, keys: usize) -> SegmentSink {
        self.try_sink(keys).unwrap()
    }

    fn try_sink(&self, keys: usize) -> Result<SegmentSink, SinkError> {
        let telemetry = self.telemetry.pipeline("ecg");
        let mut sink = SegmentSink::with_clock(self.options.clone(), telemetry, now)?;
        let origin = match self.options.read_again {
            ReadAgain::All => Origin::Whole,
            ReadAgain::Uncommitted => Origin::Partition { topic: "t".into(), partition: 3 },
            ReadAgain::Nothing => Origin::Port { path: "/dev/x".into(), since_ms: 0 },
        };
        for stream in 0..keys {
            sink.add_stream(stream, &info(stream), &origin).unwrap();
        }
        Ok(sink)
    }

    /// The names of the files.
    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        collect(self.folder.path(), &mut files);
        let name = |path: &PathBuf| path.strip_prefix(self.folder.path()).unwrap().display().to_string();
        let mut names: Vec<String> = files.iter().map(name).collect();
        names.sort();
        names
    }

    /// The first frames and numbers of frames of each stream's packets, in the order of the files' names.
    fn packets(&self) -> BTreeMap<String, Vec<(u64, u32)>> {
        let mut packets = BTreeMap::<String, Vec<_>>::new();
        for name in self.files() {
            for (key, packet) in read(&self.folder.path().join(name)) {
                packets.entry(key).or_default().push(packet);
            }
        }
        packets
    }

    fn metric(&self, name: &str) -> String {
        let text = self.telemetry.openmetrics().unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("rivulet_{name}"))).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

/// The packets of a file, which has to be whole.
fn read(path: &Path) -> Vec<(String, (u64, u32))> {
    let mut reader = Reader::new(std::fs::File::open(path).unwrap());
    let mut keys = BTreeMap::new();
    let mut packets = Vec::new();
    loop {
        match reader.next_event().unwrap() {
            Event::Stream { number, info, recovered } => {
                assert!(!recovered);
                keys.insert(number, info.key.to_string());
            }
            Event::Packet { stream, packet, .. } => {
                packets.push((keys[&stream].clone(), (packet.header.first_frame, packet.header.frames)));
            }
            Event::Damage { error, .. } => panic!("{}: {error}", path.display()),
            Event::End { torn_bytes, closed } => {
                assert!(closed && torn_bytes == 0, "{}", path.display());
                return packets;
            }
        }
    }
}

fn info(stream: StreamIndex) -> Arc<StreamInfo> {
    Arc::new(StreamInfo {
        key: StreamKey::new(format!("k/{stream}")),
        sample_rate_hz: 4.0,
        sample_type: SampleType::I16,
        stored_bits: 16,
        channels: vec![ChannelInfo::unscaled("")],
    })
}

fn outgoing(stream: StreamIndex, first_frame: u64, frames: u32, time_ns: Option<i64>) -> Outgoing {
    let packet = Packet {
        header: Header {
            model: ModelId([7; 8]),
            key_packet: true,
            after_gap: false,
            sample_type: SampleType::I16,
            channels: 1,
            sample_rate_hz: 4.0,
            frame_size: 4,
            first_frame,
            time_ns,
            frames,
            last_valid: 4,
        },
        side: vec![ChannelSide::Constant(1.0); frames as usize],
        layers: Vec::new(),
    };
    let bytes = packet.to_bytes().unwrap();
    Outgoing { stream, packet, bytes, frames: Vec::new() }
}

fn packets(count: u64) -> Roll {
    Roll { packets: NonZeroU64::new(count), ..Roll::default() }
}

#[test]
fn segments_roll_by_count_size_and_age() {
    let scene = Scene::new("{pipeline}-{number:03}.rvl", packets(2), ReadAgain::All);
    let mut sink = scene.sink(1);
    for frame in 0..5 {
        sink.write(&outgoing(0, frame, 1, None)).unwrap();
    }
    assert_eq!(scene.files(), ["ecg-000.rvl", "ecg-001.rvl", "ecg-002.rvl.partial"]);
    let report = Box::new(sink).finish().unwrap();
    assert_eq!(scene.files(), ["ecg-000.rvl", "ecg-001.rvl", "ecg-002.rvl"]);
    let sizes =
        scene.files().into_iter().map(|name| scene.folder.path().join(name).metadata().unwrap().len());
    assert_eq!(report.bytes_written, Some(sizes.sum()));
    assert_eq!(scene.packets()["k/0"], (0..5).map(|frame| (frame, 1)).collect::<Vec<_>>());
    assert_eq!(scene.metric("segments_total{pipeline=\"ecg\",event=\"named\"}"), "3");
    assert_eq!(scene.metric("segments_open{"), "0");

    let roll = Roll { bytes: NonZeroU64::new(300), ..Roll::default() };
    let scene = Scene::new("{number}.rvl", roll, ReadAgain::All);
    let mut sink = scene.sink(1);
    (0..30).for_each(|frame| sink.write(&outgoing(0, frame, 1, None)).unwrap());
    Box::new(sink).finish().unwrap();
    assert!(scene.files().len() > 2, "{:?}", scene.files());
    assert_eq!(scene.packets()["k/0"].len(), 30);

    let roll = Roll { secs: NonZeroU64::new(10), ..Roll::default() };
    let scene = Scene::new("{number}.rvl", roll, ReadAgain::Nothing);
    let mut sink = scene.sink(1);
    for second in 0..25 {
        NOW.set(second * SECOND_NS);
        sink.write(&outgoing(0, second as u64, 1, None)).unwrap();
    }
    assert_eq!(scene.files(), ["0.rvl", "1.rvl", "2.rvl.partial"]);
    NOW.set(29 * SECOND_NS);
    sink.idle().unwrap();
    assert_eq!(scene.files()[2], "2.rvl.partial");
    NOW.set(30 * SECOND_NS);
    sink.idle().unwrap();
    assert_eq!(scene.files(), ["0.rvl", "1.rvl", "2.rvl"]);
}

#[test]
fn segments_roll_with_the_time_of_their_packets() {
    let scene = Scene::new("{start:%Y/%jT%H}.rvl", Roll::default(), ReadAgain::All);
    let mut sink = scene.sink(2);
    let minute = 60 * SECOND_NS;
    for (frame, (stream, minutes)) in
        [(0, 0), (0, 59), (1, 61), (0, 59), (1, 119), (0, 120), (0, 24 * 60)].into_iter().enumerate()
    {
        sink.write(&outgoing(stream, frame as u64, 1, Some(minutes * minute))).unwrap();
    }
    Box::new(sink).finish().unwrap();
    assert_eq!(scene.files(), ["1970/001T00.rvl", "1970/001T01.rvl", "1970/001T02.rvl", "1970/002T00.rvl"]);
    let sizes: Vec<_> =
        scene.files().iter().map(|name| read(&scene.folder.path().join(name)).len()).collect();
    assert_eq!(sizes, [2, 3, 1, 1], "what is late goes where the segment is");
}

#[test]
fn nothing_is_overwritten() {
    let scene = Scene::new("{start}.rvl", packets(1), ReadAgain::All);
    for _ in 0..2 {
        let mut sink = scene.sink(1);
        sink.write(&outgoing(0, 0, 1, Some(HOUR_NS))).unwrap();
        sink.write(&outgoing(0, 1, 1, Some(HOUR_NS))).unwrap();
        Box::new(sink).finish().unwrap();
    }
    let name = "1970-01-01T01";
    assert_eq!(
        scene.files(),
        [format!("{name}-1.rvl"), format!("{name}-2.rvl"), format!("{name}-3.rvl"), format!("{name}.rvl")]
    );

    let scene = Scene::new("{key}-{number}.rvl", Roll::default(), ReadAgain::All);
    for _ in 0..2 {
        let mut sink = scene.sink(2);
        (0..2).for_each(|stream| sink.write(&outgoing(stream, 0, 1, None)).unwrap());
        Box::new(sink).finish().unwrap();
    }
    assert_eq!(scene.files(), ["k%2F0-0.rvl", "k%2F0-1.rvl", "k%2F1-0.rvl", "k%2F1-1.rvl"]);
}

#[test]
fn a_run_that_fails_leaves_whole_segments() {
    let scene = Scene::new("{number}.rvl", packets(2), ReadAgain::All);
    let mut sink = scene.sink(1);
    (0..3).for_each(|frame| sink.write(&outgoing(0, frame, 1, None)).unwrap());
    assert_eq!(scene.files(), ["0.rvl", "1.rvl.partial"]);
    drop(sink);
    assert_eq!(scene.files(), ["0.rvl"]);
    assert_eq!(scene.metric("segments_open{"), "0");
}

#[test]
fn more_keys_than_open_files_are_all_written() {
    let mut scene = Scene::new("{key}-{number}.rvl", Roll::default(), ReadAgain::All);
    scene.options.max_open_segments = NonZeroUsize::new(4).unwrap();
    let mut sink = scene.sink(6);
    for frame in 0..3 {
        for stream in 0..6 {
            sink.write(&outgoing(stream, frame, 1, None)).unwrap();
            assert!(scene.files().iter().filter(|name| name.ends_with(".partial")).count() <= 4);
        }
    }
    Box::new(sink).finish().unwrap();
    let packets = scene.packets();
    assert_eq!(packets.len(), 6);
    assert!(packets.values().all(|packets| *packets == [(0, 1), (1, 1), (2, 1)]), "{packets:?}");
    assert_ne!(scene.metric("segments_total{pipeline=\"ecg\",event=\"closed_early\"}"), "0");
}

#[test]
fn a_segment_gets_its_name_once_it_is_committed() {
    let scene = Scene::new("{number}.rvl", packets(2), ReadAgain::Uncommitted);
    let mut sink = scene.sink(1);
    (0..3).for_each(|frame| sink.write(&outgoing(0, frame, 1, None)).unwrap());
    assert_eq!(scene.files(), ["0.rvl.partial", "1.rvl.partial"]);
    sink.checkpoint(&Checkpoint::default()).unwrap();
    sink.write(&outgoing(0, 3, 1, None)).unwrap();
    assert_eq!(scene.metric("segments_waiting{"), "2");
    sink.committed(1).unwrap();
    assert_eq!(scene.files(), ["0.rvl", "1.rvl.partial"], "the other has a packet behind the checkpoint");
    sink.checkpoint(&Checkpoint::default()).unwrap();
    Box::new(sink).finish().unwrap();
    assert_eq!(scene.files(), ["0.rvl", "1.rvl.partial"]);

    // The source reads again what was not committed.
    let mut sink = scene.sink(1);
    sink.write(&outgoing(0, 3, 1, None)).unwrap();
    assert_eq!(scene.files(), ["0.rvl", "1.rvl.partial"]);
    sink.write(&outgoing(0, 4, 1, None)).unwrap();
    sink.checkpoint(&Checkpoint::default()).unwrap();
    sink.committed(1).unwrap();
    assert_eq!(scene.files(), ["0.rvl", "1.rvl", "2.rvl.partial"]);
    Box::new(sink).finish().unwrap();
    assert_eq!(scene.packets()["t/3/k/0"], (0..5).map(|frame| (frame, 1)).collect::<Vec<_>>());
}

#[test]
fn a_stream_that_does_not_come_back_is_not_waited_for_long() {
    let scene = Scene::new("{number}.rvl", Roll::default(), ReadAgain::Uncommitted);
    let mut sink = scene.sink(2);
    (0..2).for_each(|stream| sink.write(&outgoing(stream, 0, 2, None)).unwrap());
    sink.checkpoint(&Checkpoint::default()).unwrap();
    drop(sink);
    let mut sink = scene.sink(2);
    sink.write(&outgoing(0, 2, 1, None)).unwrap();
    sink.checkpoint(&Checkpoint::default()).unwrap();
    sink.committed(1).unwrap();
    assert_eq!(scene.files(), ["0.rvl.partial", "1.rvl.partial"]);
    NOW.set(61 * SECOND_NS);
    sink.checkpoint(&Checkpoint::default()).unwrap();
    sink.committed(2).unwrap();
    assert_eq!(scene.files(), ["0.rvl", "1.rvl.partial"]);
}

#[test]
fn what_a_port_sent_before_is_kept_and_numbered_anew() {
    let scene = Scene::new("{number}.rvl", Roll::default(), ReadAgain::Nothing);
    for _ in 0..2 {
        let mut sink = scene.sink(1);
        (0..3).for_each(|frame| sink.write(&outgoing(0, frame, 1, None)).unwrap());
    }
    assert_eq!(scene.files(), ["0.rvl", "1.rvl.partial"]);
    drop(scene.sink(1));
    assert_eq!(scene.files(), ["0.rvl", "1.rvl"]);
    assert_eq!(scene.packets()["k/0"], [(0, 1), (1, 1), (2, 1), (0, 1), (1, 1), (2, 1)]);
}

#[test]
fn a_file_that_goes_on_has_a_new_stream_for_each_run_of_a_port() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.rvl");
    for since_ms in 0..2 {
        let mut sink = FileSink::resume(&path, SyncPolicy::Never, ReadAgain::Nothing).unwrap();
        sink.add_stream(5, &info(0), &Origin::Port { path: "/dev/x".into(), since_ms }).unwrap();
        (0..3).for_each(|frame| sink.write(&outgoing(5, frame, 1, None)).unwrap());
        Box::new(sink).finish().unwrap();
    }
    let frames: Vec<_> = read(&path).into_iter().map(|(_, packet)| packet.0).collect();
    assert_eq!(frames, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn files_that_others_write_are_left_alone() {
    let scene = Scene::new("{number}.rvl", Roll::default(), ReadAgain::Uncommitted);
    let mut sink = scene.sink(1);
    sink.write(&outgoing(0, 0, 1, None)).unwrap();
    let error = scene.try_sink(1).err().unwrap().to_string();
    assert!(error.contains("0.rvl.partial: another process writes it"), "{error}");
    drop(sink);

    let (noise, empty) =
        (scene.folder.path().join("7.rvl.partial"), scene.folder.path().join("8.rvl.partial"));
    std::fs::write(&noise, [0; 5000]).unwrap();
    std::fs::write(&empty, []).unwrap();
    let mut sink = scene.sink(1);
    sink.write(&outgoing(0, 0, 1, None)).unwrap();
    sink.write(&outgoing(0, 1, 1, None)).unwrap();
    Box::new(sink).finish().unwrap();
    assert_eq!(scene.files(), ["0.rvl.partial", "7.rvl.partial", "9.rvl.partial"]);
    assert_eq!(std::fs::read(&noise).unwrap(), [0; 5000]);
}

/// What happens to a writer.
#[derive(Clone, Debug)]
enum Step {
    /// The next packet of a stream.
    Write(StreamIndex),
    /// A checkpoint, and whether it is committed at once.
    Checkpoint(bool),
    Commit,
    /// The process is gone: of what no checkpoint covered, files keep some part; of the names given last some are lost.
    Crash(prop::sample::Index, usize),
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..3_usize).prop_map(Step::Write),
        2 => any::<bool>().prop_map(Step::Checkpoint),
        1 => Just(Step::Commit),
        1 => (any::<prop::sample::Index>(), 0..3_usize).prop_map(|(cut, names)| Step::Crash(cut, names)),
        1 => (0..40_i64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..120)
}

fn is_closed(path: &Path) -> bool {
    crate::packet::rvl::recover(std::fs::File::open(path).unwrap()).unwrap().closed
}

/// The sizes of the partial files.
fn partials(scene: &Scene) -> BTreeMap<String, u64> {
    let partials = scene.files().into_iter().filter(|name| name.ends_with(".partial"));
    partials.map(|name| (name.clone(), scene.folder.path().join(name).metadata().unwrap().len())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// A source that is read again from its last commit gives each packet once, in order, over all segments.
    #[test]
    fn every_packet_is_in_the_segments_once_whatever_happens(
        steps in steps(), by_key: bool, roll in 1..6_u64, secs in prop::option::of(5..50_u64), most in 1..4_usize,
    ) {
        let path = if by_key { "{key}/{number:06}.rvl" } else { "{number:06}.rvl" };
        let roll = Roll { secs: secs.and_then(NonZeroU64::new), ..packets(roll) };
        let mut scene = Scene::new(path, roll, ReadAgain::Uncommitted);
        scene.options.max_open_segments = NonZeroUsize::new(most).unwrap();
        let mut sink = scene.sink(3);
        let (mut next, mut passed, mut committed) = ([0_u64; 3], Vec::new(), [0_u64; 3]);
        let (mut durable, mut commits) = (BTreeMap::new(), 0_u64);
        let mut ends = [0_u64; 3];
        let mut started_ns = 0;
        for step in steps {
            match step {
                Step::Write(stream) => {
                    // Packets of one and two frames in turn.
                    let frames = 1 + (next[stream] % 3 == 0) as u32;
                    sink.write(&outgoing(stream, next[stream], frames, None)).unwrap();
                    next[stream] += u64::from(frames);
                    ends[stream] = ends[stream].max(next[stream]);
                }
                Step::Checkpoint(commit) => {
                    sink.checkpoint(&Checkpoint::default()).unwrap();
                    durable = partials(&scene);
                    passed.push(next);
                    if commit {
                        commits += passed.len() as u64;
                        committed = next;
                        passed.clear();
                        sink.committed(commits).unwrap();
                    }
                }
                Step::Commit if !passed.is_empty() => {
                    committed = passed.remove(0);
                    commits += 1;
                    sink.committed(commits).unwrap();
                }
                Step::Commit => {}
                Step::Crash(cut, names) => {
                    drop(sink);
                    // What is closed was forced to disk before anything else was written.
                    let torn = partials(&scene).into_iter();
                    let torn = torn.filter(|(name, _)| !is_closed(&scene.folder.path().join(name)));
                    for (name, size) in torn.collect::<Vec<_>>() {
                        let kept = durable.get(&name).copied().unwrap_or(0);
                        let kept = kept + cut.index((size - kept) as usize + 1) as u64;
                        let file = std::fs::File::options().write(true).open(scene.folder.path().join(name));
                        file.unwrap().set_len(kept).unwrap();
                    }
                    for name in scene.files().iter().rev().filter(|name| name.ends_with(".rvl")).take(names) {
                        let path = scene.folder.path().join(name);
                        std::fs::rename(&path, super::disk::partial_of(&path)).unwrap();
                    }
                    sink = scene.sink(3);
                    started_ns = NOW.get();
                    (next, passed, commits) = (committed, Vec::new(), 0);
                    durable = partials(&scene);
                }
                // Not so long that a stream is given up.
                Step::Wait(secs) if NOW.get() + secs * SECOND_NS < started_ns + 60 * SECOND_NS => {
                    NOW.set(NOW.get() + secs * SECOND_NS);
                    sink.idle().unwrap();
                }
                Step::Wait(_) => {}
            }
        }
        // What was written before a crash and not committed has not come again yet.
        for stream in 0..3 {
            while next[stream] < ends[stream] {
                let frames = 1 + (next[stream] % 3 == 0) as u32;
                sink.write(&outgoing(stream, next[stream], frames, None)).unwrap();
                next[stream] += u64::from(frames);
            }
        }
        Box::new(sink).finish().unwrap();
        let mut sink = scene.sink(0);
        for commit in 1..3 {
            sink.checkpoint(&Checkpoint::default()).unwrap();
            sink.committed(commit).unwrap();
            NOW.set(NOW.get() + 100 * SECOND_NS);
        }
        sink.committed(3).unwrap();
        drop(sink);
        prop_assert!(partials(&scene).is_empty(), "{:?}", scene.files());
        let found = scene.packets();
        for (stream, end) in ends.into_iter().enumerate() {
            let packets = found.get(&format!("t/3/k/{stream}")).cloned().unwrap_or_default();
            let mut expected = 0;
            for (first_frame, frames) in packets {
                prop_assert_eq!(first_frame, expected, "{:?}", scene.files());
                expected += u64::from(frames);
            }
            prop_assert_eq!(expected, end);
        }
        prop_assert_eq!(scene.metric("segments_open{"), "0");
        prop_assert_eq!(scene.metric("segments_waiting{"), "0");
    }
}
