//! A run into segments, which are told what was committed.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::Path;

use super::*;
use crate::packet::rvl::{Event, Reader};
use crate::sink::{FileSinkOptions, PathTemplate, ReadAgain, Roll, SegmentSink, SyncPolicy};

fn segments(folder: &Path) -> SegmentSink {
    let options = FileSinkOptions {
        path: PathTemplate::parse(&format!("{}/{{number:06}}.rvl", folder.display())).unwrap(),
        roll: Roll { packets: NonZeroU64::new(3), ..Roll::default() },
        sync: Some(SyncPolicy::Never),
        max_open_segments: NonZeroUsize::MIN,
        read_again: ReadAgain::Uncommitted,
    };
    SegmentSink::open(options, Telemetry::new().pipeline("test")).unwrap()
}

/// Fails at a call.
struct Failing {
    calls_left: usize,
}

impl Failing {
    fn call(&mut self) -> Result<(), SinkError> {
        self.calls_left = self.calls_left.saturating_sub(1);
        if self.calls_left == 0 { Err(SinkError::Unavailable("it is gone".to_owned())) } else { Ok(()) }
    }
}

impl Sink for Failing {
    fn add_stream(&mut self, _: StreamIndex, _: &Arc<StreamInfo>, _: &Origin) -> Result<(), SinkError> {
        Ok(())
    }

    fn write(&mut self, _: &Outgoing) -> Result<(), SinkError> {
        self.call()
    }

    fn checkpoint(&mut self, _: &Checkpoint) -> Result<(), SinkError> {
        self.call()
    }

    fn finish(self: Box<Self>) -> Result<SinkReport, SinkError> {
        Ok(SinkReport::default())
    }
}

/// A run into the segments of a folder, beside a sink that fails at a call.
fn run_into(folder: &Path, group: &Group, calls: usize) -> Result<Summary, RunError> {
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(Failing { calls_left: calls }), Box::new(segments(folder))];
    let source = Partitions::new(Shape::SMALL, &logs(), group);
    let mut pipeline = pipeline(source, Shape::SMALL, true, sinks);
    pipeline.committer = Some(Box::new(Keeping { group: group.clone(), sinks: Vec::new() }));
    run_through(pipeline, &Arc::default())
}

/// The numbers of the frames of each stream, in the order of the segments, and how many of those have no name yet.
fn frames(folder: &Path) -> (BTreeMap<String, Vec<u64>>, usize) {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut frames = BTreeMap::<String, Vec<u64>>::new();
    for path in &paths {
        let mut reader = Reader::new(std::fs::File::open(path).unwrap());
        let mut keys = BTreeMap::new();
        loop {
            match reader.next_event().unwrap() {
                Event::Stream { number, info, .. } => drop(keys.insert(number, info.key.to_string())),
                Event::Packet { stream, packet, .. } => {
                    let first = packet.header.first_frame;
                    let numbers = first..first + u64::from(packet.header.frames);
                    frames.entry(keys[&stream].clone()).or_default().extend(numbers);
                }
                Event::Damage { error, .. } => panic!("{error}"),
                Event::End { .. } => break,
            }
        }
    }
    let partial = paths.iter().filter(|path| path.extension().is_some_and(|end| end == "partial")).count();
    (frames, partial)
}

#[test]
fn segments_hold_each_frame_once_wherever_a_run_fails() {
    let expected: BTreeMap<String, Vec<u64>> = expected(&logs())
        .into_iter()
        .map(|(key, frames)| {
            let partition = usize::from(key.as_str().starts_with('b'));
            (format!("t/{partition}/{key}"), (0..frames.len() as u64).collect())
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    run_into(folder.path(), &Group::default(), usize::MAX).unwrap();
    assert_eq!(frames(folder.path()), (expected.clone(), 0), "everything is committed at the end");

    for calls in 1..=sure_calls() {
        let folder = tempfile::tempdir().unwrap();
        let group = Group::default();
        run_into(folder.path(), &group, calls).unwrap_err();
        run_into(folder.path(), &group, usize::MAX).unwrap();
        assert_eq!(frames(folder.path()).0, expected, "call {calls}");
    }
}
