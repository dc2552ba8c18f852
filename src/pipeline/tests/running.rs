//! Runs on threads: barriers, going back, and ends.

mod segments;

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::*;
use crate::pipeline::encoding::{CommitPace, Pace};
use crate::pipeline::stage::CodecStage;
use crate::pipeline::{Pipeline, Progress, RunError, Summary, run};
use crate::sink::{Outgoing, Sink, SinkError, SinkReport};
use crate::source::{CloseOrigins, Committer, Source, SourceError, SourceEvent};
use crate::telemetry::Telemetry;

/// No run takes as long unless it hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// What is left of a run, and what its parts have seen.
#[derive(Clone, Default)]
struct Group(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    kept: BTreeMap<usize, Kept>,
    frames: Vec<(StreamKey, Frame)>,
    /// The checkpoint that each sink has passed last, since the source has gone back.
    passed: BTreeMap<&'static str, BTreeMap<usize, i64>>,
    rewinds: usize,
    /// What every sink had passed when the source was told that its origins are closed.
    at_close: Vec<BTreeMap<&'static str, BTreeMap<usize, i64>>>,
}

impl Group {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

fn partition_of(origin: &Origin) -> usize {
    match origin {
        Origin::Partition { partition, .. } => *partition as usize,
        _ => unreachable!(),
    }
}

impl State {
    fn keep(&mut self, checkpoint: &Checkpoint) {
        for origin in &checkpoint.origins {
            let kept = self.kept.entry(partition_of(&origin.origin)).or_default();
            kept.keep(Checkpoint { origins: vec![origin.clone()], closed: Vec::new() });
        }
    }

    fn pass(&mut self, sink: &'static str, checkpoint: &Checkpoint) {
        let passed = self.passed.entry(sink).or_default();
        passed.extend(checkpoint.origins.iter().map(|origin| (partition_of(&origin.origin), origin.next)));
    }
}

/// Partitions in memory, from where the group has them.
struct Partitions {
    shape: Shape,
    logs: Vec<Vec<Message>>,
    group: Group,
    /// False for a source that has nothing to say once all is read.
    ends: bool,
    opened: OriginIndex,
    open: Vec<Partition>,
    ready: VecDeque<SourceEvent>,
    phase: Phase,
}

enum Phase {
    Starting,
    Reading,
    Closing(Receiver<()>),
    Rewinding(Receiver<()>),
    Closed,
}

impl Partitions {
    fn new(shape: Shape, logs: &[Vec<Message>], group: &Group) -> Self {
        Self {
            shape,
            logs: logs.to_vec(),
            group: group.clone(),
            ends: true,
            opened: 0,
            open: Vec::new(),
            ready: VecDeque::new(),
            phase: Phase::Starting,
        }
    }

    fn start(&mut self) {
        for partition in 0..self.logs.len() {
            self.opened += 1;
            let kept = self.group.state().kept.get(&partition).cloned().unwrap_or_default();
            self.ready.push_back(SourceEvent::Open(OpenOrigin {
                index: self.opened,
                origin: Origin::Partition { topic: "t".into(), partition: partition as i32 },
                next: kept.next,
                note: None,
                windows: kept.windows.into_values().collect(),
                after_gap: false,
            }));
            self.open.push(Partition { origin: self.opened, next: kept.next as usize, keys: Vec::new() });
        }
        self.phase = Phase::Reading;
    }

    /// The events of the next message, of the partition that has been read least.
    fn read(&mut self) {
        let unread = self.open.iter_mut().zip(&self.logs).filter(|(open, log)| open.next < log.len());
        let Some((Partition { origin, next, keys }, log)) = unread.min_by_key(|(open, _)| open.next) else {
            if self.ends {
                self.close();
            }
            return;
        };
        let (origin, message, position) = (*origin, &log[*next], Position::Offset(*next as i64));
        *next += 1;
        if message.chunks.is_empty() {
            self.ready.push_back(SourceEvent::Passed { origin, position });
            return;
        }
        let stream = keys.iter().position(|key| *key == message.key).unwrap_or_else(|| {
            keys.push(message.key.clone());
            let info = self.shape.info(&message.key);
            self.ready.push_back(SourceEvent::Stream { origin, info });
            keys.len() - 1
        });
        for (time_ns, samples) in &message.chunks {
            let (time_ns, samples) = (*time_ns, samples.clone());
            self.ready.push_back(SourceEvent::Chunk(Chunk {
                origin,
                stream,
                position,
                arrival_ns: None,
                time_ns,
                after_gap: false,
                samples,
            }));
        }
    }

    fn close(&mut self) {
        let (done, told) = sync_channel(1);
        let origins = self.open.drain(..).map(|open| open.origin).collect();
        self.ready.push_back(SourceEvent::Close(CloseOrigins { origins, commit: true, done }));
        self.phase = Phase::Closing(told);
    }

    /// True if it was told; false if it takes longer.
    fn is_told(told: &Receiver<()>) -> bool {
        !matches!(told.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout))
    }

    fn is_committed(&self) -> bool {
        let state = self.group.state();
        let next = |partition: usize| state.kept.get(&partition).map_or(0, |kept| kept.next as usize);
        self.logs.iter().enumerate().all(|(partition, log)| next(partition) == log.len())
    }
}

impl Source for Partitions {
    fn next_event(&mut self) -> Result<SourceEvent, SourceError> {
        if self.ready.is_empty() {
            match &self.phase {
                Phase::Starting => self.start(),
                Phase::Reading => self.read(),
                Phase::Closing(told) if Self::is_told(told) => {
                    let mut state = self.group.state();
                    let passed = state.passed.clone();
                    state.at_close.push(passed);
                    drop(state);
                    self.phase = Phase::Closed;
                }
                Phase::Rewinding(told) if Self::is_told(told) => self.start(),
                Phase::Closing(_) | Phase::Rewinding(_) => {}
                Phase::Closed if self.is_committed() => return Ok(SourceEvent::End),
                // The commit has failed: whoever aborted it will have everything come again.
                Phase::Closed => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        Ok(self.ready.pop_front().unwrap_or(SourceEvent::Idle))
    }

    fn stop(&mut self) -> Result<Option<SourceEvent>, SourceError> {
        if matches!(self.phase, Phase::Starting | Phase::Reading) {
            self.close();
        }
        let closing =
            matches!(&self.phase, Phase::Closing(told) | Phase::Rewinding(told) if !Self::is_told(told));
        let event = self.ready.pop_front();
        Ok(event.or_else(|| closing.then_some(SourceEvent::Idle)))
    }

    fn rewind(&mut self) -> Result<(), SourceError> {
        if !matches!(self.phase, Phase::Rewinding(_)) {
            let (done, told) = sync_channel(1);
            self.ready.clear();
            self.open.clear();
            self.ready.push_back(SourceEvent::Rewound { done });
            self.phase = Phase::Rewinding(told);
            self.group.state().rewinds += 1;
        }
        Ok(())
    }
}

/// What a sink does at some of its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Abort,
    Fail,
    Stop,
}

/// Commits frames and positions together, or neither.
struct Committing {
    group: Group,
    progress: Arc<Progress>,
    names: HashMap<StreamIndex, StreamKey>,
    open: Vec<(StreamKey, Frame)>,
    /// By the number of the call.
    troubles: BTreeMap<usize, Trouble>,
    calls: usize,
    void: bool,
}

impl Committing {
    fn new(group: &Group, progress: &Arc<Progress>, troubles: BTreeMap<usize, Trouble>) -> Self {
        let (group, progress) = (group.clone(), Arc::clone(progress));
        Self { group, progress, names: HashMap::new(), open: Vec::new(), troubles, calls: 0, void: false }
    }

    fn call(&mut self) -> Result<(), SinkError> {
        assert!(!self.void, "nothing is taken until the source has gone back");
        self.calls += 1;
        match self.troubles.get(&(self.calls - 1)) {
            None => Ok(()),
            Some(Trouble::Abort) => {
                self.void = true;
                self.open.clear();
                Err(SinkError::Aborted("an accident".to_owned()))
            }
            Some(Trouble::Fail) => Err(SinkError::Unavailable("it is gone".to_owned())),
            Some(Trouble::Stop) => {
                self.progress.stop.store(true, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}

impl Sink for Committing {
    fn add_stream(
        &mut self,
        stream: StreamIndex,
        info: &Arc<StreamInfo>,
        _: &Origin,
    ) -> Result<(), SinkError> {
        self.names.insert(stream, info.key.clone());
        Ok(())
    }

    fn remove_stream(&mut self, stream: StreamIndex) {
        assert!(self.names.remove(&stream).is_some());
    }

    fn write(&mut self, outgoing: &Outgoing) -> Result<(), SinkError> {
        let key = &self.names[&outgoing.stream];
        self.open.extend(outgoing.frames.iter().map(|frame| (key.clone(), nameless(frame.clone()))));
        self.call()
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), SinkError> {
        self.call()?;
        let mut state = self.group.state();
        state.frames.append(&mut self.open);
        state.keep(checkpoint);
        state.pass("committing", checkpoint);
        Ok(())
    }

    fn rewound(&mut self) -> Result<(), SinkError> {
        self.open.clear();
        self.void = false;
        self.group.state().passed.remove("committing");
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<SinkReport, SinkError> {
        Ok(SinkReport::default())
    }
}

/// Looks at packets, and takes its time.
struct Looking {
    name: &'static str,
    group: Group,
    streams: BTreeSet<StreamIndex>,
    delay: Duration,
    fails: bool,
}

impl Looking {
    fn new(name: &'static str, group: &Group, delay: Duration) -> Self {
        Self { name, group: group.clone(), streams: BTreeSet::new(), delay, fails: false }
    }
}

impl Sink for Looking {
    fn add_stream(&mut self, stream: StreamIndex, _: &Arc<StreamInfo>, _: &Origin) -> Result<(), SinkError> {
        assert!(self.streams.insert(stream), "an index is never used again");
        Ok(())
    }

    fn is_output(&self) -> bool {
        false
    }

    fn remove_stream(&mut self, stream: StreamIndex) {
        assert!(self.streams.remove(&stream));
    }

    fn write(&mut self, outgoing: &Outgoing) -> Result<(), SinkError> {
        assert!(self.streams.contains(&outgoing.stream), "a packet of a stream that is gone");
        std::thread::sleep(self.delay);
        Ok(())
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), SinkError> {
        std::thread::sleep(self.delay);
        self.group.state().pass(self.name, checkpoint);
        match self.fails {
            true => Err(SinkError::Unavailable("it is gone".to_owned())),
            false => Ok(()),
        }
    }

    fn rewound(&mut self) -> Result<(), SinkError> {
        self.group.state().passed.remove(self.name);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<SinkReport, SinkError> {
        Ok(SinkReport::default())
    }
}

/// Keeps positions once every sink has passed them.
struct Keeping {
    group: Group,
    sinks: Vec<&'static str>,
}

impl Committer for Keeping {
    fn commit(&mut self, checkpoint: &Checkpoint) -> Result<(), SourceError> {
        let mut state = self.group.state();
        for origin in &checkpoint.origins {
            for sink in &self.sinks {
                let passed = state.passed[sink].get(&partition_of(&origin.origin));
                assert!(passed.is_some_and(|next| *next >= origin.next), "{sink} has not passed");
            }
        }
        state.keep(checkpoint);
        Ok(())
    }
}

/// At every frame, or only when the source asks.
fn pace(often: bool) -> Pace {
    let (interval, frames) = if often { (Duration::ZERO, 1) } else { (Duration::MAX, u64::MAX) };
    Pace {
        commit: Some(CommitPace { interval, frames, bytes: u64::MAX }),
        max_packet_delay: None,
        idle_timeout: None,
    }
}

fn pipeline(source: impl Source + 'static, shape: Shape, often: bool, sinks: Vec<Box<dyn Sink>>) -> Pipeline {
    Pipeline {
        name: "test".to_owned(),
        source: Box::new(source),
        committer: None,
        stage: CodecStage::Encode(shape.stage()),
        pace: pace(often),
        sinks,
        nominal_ratio: Some(1.0),
        telemetry: Telemetry::new().pipeline("test"),
        abandoned: Arc::default(),
        instance: None,
    }
}

fn run_through(pipeline: Pipeline, progress: &Arc<Progress>) -> Result<Summary, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let ended =
        runtime.block_on(async { tokio::time::timeout(DEADLINE, run(pipeline, Arc::clone(progress))).await });
    ended.expect("the run hangs")
}

/// Two partitions of two keys each, whose frames straddle messages.
fn logs() -> Vec<Vec<Message>> {
    let log = |name: &str| {
        let mut written = [0; 2];
        let sizes = (0..12_u32).map(|n| (n as usize % 2, n * 5 % 8));
        let log = sizes.map(|(key, rows)| {
            let first = written[key];
            written[key] += rows;
            message(&format!("{name}{key}"), first..first + rows)
        });
        log.collect()
    };
    vec![log("a"), log("b")]
}

fn expected(logs: &[Vec<Message>]) -> Frames {
    logs.iter().flat_map(|log| undisturbed(Shape::SMALL, log)).collect()
}

/// A run into a sink that commits, with these troubles, and two that look, one of them slow.
fn run_with(
    group: &Group,
    often: bool,
    ends: bool,
    troubles: impl IntoIterator<Item = (usize, Trouble)>,
) -> Result<Summary, RunError> {
    let progress = Arc::<Progress>::default();
    let source = Partitions { ends, ..Partitions::new(Shape::SMALL, &logs(), group) };
    let sinks: Vec<Box<dyn Sink>> = vec![
        Box::new(Looking::new("fast", group, Duration::ZERO)),
        Box::new(Committing::new(group, &progress, troubles.into_iter().collect())),
        Box::new(Looking::new("slow", group, Duration::from_micros(200))),
    ];
    run_through(pipeline(source, Shape::SMALL, often, sinks), &progress)
}

/// Calls of the committing sink that every run without troubles makes: its packets, and one commit.
fn sure_calls() -> usize {
    expected(&logs()).values().map(Vec::len).sum::<usize>() + 1
}

#[test]
fn an_abort_at_any_call_has_everything_come_again_once() {
    for often in [false, true] {
        for call in 0..sure_calls() {
            let group = Group::default();
            let troubles = [(call, Trouble::Abort), (call + 9, Trouble::Abort)];
            run_with(&group, often, true, troubles).unwrap();
            let state = group.state();
            assert!(state.rewinds > 0, "call {call}");
            assert_eq!(by_key(state.frames.clone()), expected(&logs()), "call {call}");
        }
    }
}

#[test]
fn a_transaction_that_never_succeeds_ends_the_run() {
    let group = Group::default();
    let error = run_with(&group, true, true, (0..1000).map(|call| (call, Trouble::Abort))).unwrap_err();
    assert!(error.to_string().starts_with("5 transactions were aborted"), "{error}");
    assert_eq!(group.state().frames, []);
}

#[test]
fn a_close_is_done_once_every_sink_has_passed() {
    for often in [false, true] {
        let group = Group::default();
        run_with(&group, often, true, []).unwrap();
        let state = group.state();
        let all: BTreeMap<_, _> = logs().iter().map(|log| log.len() as i64).enumerate().collect();
        let sinks = ["committing", "fast", "slow"].map(|sink| (sink, all.clone()));
        assert_eq!(state.at_close, [BTreeMap::from(sinks)]);
        assert_eq!(state.rewinds, 0);
    }
}

#[test]
fn a_run_that_is_stopped_goes_on_where_it_was() {
    for often in [false, true] {
        for call in 0..sure_calls() {
            let group = Group::default();
            run_with(&group, often, true, [(call, Trouble::Stop)]).unwrap();
            assert!(!group.state().frames.is_empty(), "what was read is committed");
            run_with(&group, often, true, []).unwrap();
            assert_eq!(by_key(group.state().frames.clone()), expected(&logs()), "call {call}");
        }
    }
}

#[test]
fn a_sink_that_fails_ends_the_run_even_where_nothing_comes_any_more() {
    for ends in [true, false] {
        for call in 0..sure_calls() {
            let group = Group::default();
            let error = run_with(&group, true, ends, [(call, Trouble::Fail)]).unwrap_err();
            assert!(
                matches!(&error, RunError::Sink(SinkError::Unavailable(reason)) if reason == "it is gone"),
                "{error}"
            );
        }
    }
}

#[test]
fn positions_are_kept_once_every_sink_has_passed_them() {
    for (often, fails) in [(true, false), (false, false), (false, true)] {
        let group = Group::default();
        let sinks: Vec<Box<dyn Sink>> = vec![
            Box::new(Looking::new("fast", &group, Duration::ZERO)),
            Box::new(Looking { fails, ..Looking::new("slow", &group, Duration::from_micros(200)) }),
        ];
        let source = Partitions::new(Shape::SMALL, &logs(), &group);
        let mut pipeline = pipeline(source, Shape::SMALL, often, sinks);
        pipeline.committer = Some(Box::new(Keeping { group: group.clone(), sinks: vec!["fast", "slow"] }));
        let ended = run_through(pipeline, &Arc::default());
        assert_eq!(ended.is_err(), fails);
        let kept: Vec<_> = group.state().kept.values().map(|kept| kept.next).collect();
        assert_eq!(kept, if fails { vec![] } else { vec![12, 12] });
    }
}

/// Gives what it was made with.
struct Listed(VecDeque<SourceEvent>);

impl Source for Listed {
    fn next_event(&mut self) -> Result<SourceEvent, SourceError> {
        Ok(self.0.pop_front().unwrap_or(SourceEvent::End))
    }
}

#[test]
fn no_packet_follows_the_end_of_its_stream() {
    let origin = Origin::Partition { topic: "t".into(), partition: 0 };
    let (done, told) = sync_channel(1);
    let chunk = |position, samples: usize| {
        SourceEvent::Chunk(Chunk {
            origin: 1,
            stream: 0,
            position: Position::Offset(position),
            arrival_ns: None,
            time_ns: None,
            after_gap: false,
            samples: vec![1.0; samples],
        })
    };
    let events = [
        SourceEvent::Open(OpenOrigin {
            index: 1,
            origin,
            next: 0,
            note: None,
            windows: Vec::new(),
            after_gap: false,
        }),
        SourceEvent::Stream { origin: 1, info: Shape::SMALL.info(&StreamKey::new("a")) },
        chunk(0, 9),
        SourceEvent::Close(CloseOrigins { origins: vec![1], commit: false, done }),
    ];
    let group = Group::default();
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(Looking::new("only", &group, Duration::ZERO))];
    let source = Listed(events.into_iter().collect());
    let summary = run_through(pipeline(source, Shape::SMALL, true, sinks), &Arc::default()).unwrap();
    assert_eq!((summary.streams, summary.packets), (1, 0));
    assert!(told.recv_timeout(DEADLINE).is_err(), "nothing was committed");
}
