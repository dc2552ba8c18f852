//! The sink of segments.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::{BUFFER_BYTES, create_error, folder_of, partial_of, sync_folder, write_error};
use super::names::safe_name;
use super::recovery::{Left, end_of, recover};
use super::segment::Segment;
use super::template::Segmentation;
use super::{FileSinkOptions, ReadAgain, SyncPolicy, named};
use crate::signal::{Checkpoint, Origin, StreamIndex, StreamInfo, StreamKey};
use crate::sink::{Outgoing, Sink, SinkError, SinkReport};
use crate::telemetry::{PipelineTelemetry, SegmentEvent, unix_ns};

/// Bytes that are gathered for a segment where each key has its own.
const SMALL_BUFFER_BYTES: usize = 1 << 12;
/// How often what was written reaches the system where there are no checkpoints.
const FLUSH_EVERY_NS: i64 = 1_000_000_000;
/// How long after the first commit a stream that a segment of an earlier run holds may take to come back. One that
/// was committed to its end has no reason to.
const RETURN_NS: i64 = 60_000_000_000;

/// Writes packets to segments.
///
/// What the source may send again after a crash is in partial files only: a segment gets its name once it is closed
/// and everything in it is committed. So what is left out when it comes again is known from those files alone.
pub struct SegmentSink {
    options: FileSinkOptions,
    telemetry: Arc<PipelineTelemetry>,
    clock: fn() -> i64,
    streams: HashMap<StreamIndex, Stream>,
    /// Frames that are in segments, where they may come again.
    next_frames: HashMap<StreamKey, u64>,
    /// Segments that grow, by key; one for all where the path has none.
    open: HashMap<Arc<str>, Segment>,
    /// Segments that are closed and have no name yet, in the order in which they were closed.
    closed: Vec<Closed>,
    /// The number of the next segment, by key.
    numbers: HashMap<Arc<str>, u64>,
    checkpoints: u64,
    committed: u64,
    first_commit_ns: Option<i64>,
    bytes_written: u64,
    /// Counts packets, to tell which segment was written longest ago.
    turn: u64,
    flushed_ns: i64,
    told_early: bool,
}

struct Stream {
    info: Arc<StreamInfo>,
    /// The key of its segments.
    segment: Arc<str>,
}

/// A segment that is closed and has no name yet.
struct Closed {
    path: PathBuf,
    /// Frames of an earlier run that the source has not passed yet: the frame after the last one of each stream.
    ends: HashMap<StreamKey, u64>,
    /// The checkpoint behind its last packet, once `ends` is empty.
    checkpoint: u64,
    /// Keeps others from a segment of an earlier run.
    _lock: Option<File>,
}

impl SegmentSink {
    /// Takes up what earlier runs have left; the first segment is created with the first packet.
    ///
    /// # Errors
    /// [`SinkError::Write`] or [`SinkError::Packets`] where a partial file cannot be gone on with,
    /// [`SinkError::Unavailable`] where another process writes it.
    pub fn open(options: FileSinkOptions, telemetry: Arc<PipelineTelemetry>) -> Result<Self, SinkError> {
        Self::with_clock(options, telemetry, unix_ns)
    }

    pub(super) fn with_clock(
        options: FileSinkOptions,
        telemetry: Arc<PipelineTelemetry>,
        clock: fn() -> i64,
    ) -> Result<Self, SinkError> {
        let mut sink = Self {
            options,
            telemetry,
            clock,
            streams: HashMap::new(),
            next_frames: HashMap::new(),
            open: HashMap::new(),
            closed: Vec::new(),
            numbers: HashMap::new(),
            checkpoints: 0,
            committed: 0,
            first_commit_ns: None,
            bytes_written: 0,
            turn: 0,
            flushed_ns: clock(),
            told_early: false,
        };
        let lives_on = sink.options.read_again != ReadAgain::All;
        if lives_on || sink.options.path.has_number() {
            let left = Left::find(&sink.options.path);
            sink.numbers = left.numbers.into_iter().map(|(key, number)| (key.into(), number)).collect();
            if lives_on {
                let mut frames = HashMap::new();
                left.partials.into_iter().try_for_each(|path| sink.take_up(path, &mut frames))?;
                if sink.options.read_again == ReadAgain::Uncommitted {
                    sink.next_frames =
                        frames.into_iter().map(|(key, ranges)| (key, end_of(ranges))).collect();
                }
            }
        }
        sink.settle()?;
        Ok(sink)
    }

    /// Takes up a segment of an earlier run, and adds its frames to those that are there.
    fn take_up(
        &mut self,
        path: PathBuf,
        frames: &mut HashMap<StreamKey, Vec<(u64, u64)>>,
    ) -> Result<(), SinkError> {
        let partial = partial_of(&path);
        let Some(recovered) = recover(&partial, self.syncs_segments())? else { return Ok(()) };
        tracing::info!("{}: taken up from an earlier run", partial.display());
        self.telemetry.segments_waiting(1);
        let mut ends = HashMap::new();
        if self.options.read_again == ReadAgain::Uncommitted {
            for (key, range) in recovered.frames {
                ends.insert(key.clone(), range.1);
                frames.entry(key).or_default().push(range);
            }
        }
        self.closed.push(Closed { path, ends, checkpoint: u64::MAX, _lock: Some(recovered.lock) });
        Ok(())
    }

    /// True if the packet with these frames is in a segment already; segments of earlier runs learn that the source
    /// has passed it.
    fn is_repeat(&mut self, key: &StreamKey, end: u64) -> bool {
        if self.options.read_again != ReadAgain::Uncommitted {
            return false;
        }
        for closed in self.closed.iter_mut().filter(|closed| !closed.ends.is_empty()) {
            if closed.ends.get(key).is_some_and(|last| *last <= end) {
                closed.ends.remove(key);
                if closed.ends.is_empty() {
                    closed.checkpoint = self.checkpoints + 1;
                }
            }
        }
        match self.next_frames.get_mut(key) {
            Some(next) if end <= *next => true,
            Some(next) => {
                *next = end;
                false
            }
            None => {
                self.next_frames.insert(key.clone(), end);
                false
            }
        }
    }

    /// True if the segment that grows takes no packet of this time any more.
    fn is_over(&self, segment: &Segment, time_ns: i64) -> bool {
        let age_ns = (self.clock)().saturating_sub(segment.opened_ns);
        let too_old = self.options.roll.secs.is_some_and(|secs| {
            age_ns >= i64::try_from(secs.get()).unwrap_or(i64::MAX).saturating_mul(1_000_000_000)
        });
        // Time that goes back, as from one stream to another, begins no new segment.
        let path = &self.options.path;
        too_old || time_ns > segment.start_ns && path.start(time_ns) != path.start(segment.start_ns)
    }

    fn is_full(&self, segment: &Segment) -> bool {
        let roll = self.options.roll;
        roll.packets.is_some_and(|packets| segment.packets >= packets.get())
            || roll.bytes.is_some_and(|bytes| segment.bytes() >= bytes.get())
    }

    /// The segment of a key, opened where there is none.
    fn segment(&mut self, key: &Arc<str>, time_ns: Option<i64>) -> Result<&mut Segment, SinkError> {
        let time_ns = time_ns.unwrap_or_else(self.clock);
        if self.open.get(key).is_some_and(|segment| self.is_over(segment, time_ns)) {
            self.close(key)?;
        }
        if !self.open.contains_key(key) {
            self.make_room()?;
            let segment = self.create(key, time_ns)?;
            self.open.insert(Arc::clone(key), segment);
            self.telemetry.segment(SegmentEvent::Opened);
            self.telemetry.segments_open(1);
        }
        let unannounced = || SinkError::Unavailable("a segment went missing".to_owned());
        self.open.get_mut(key).ok_or_else(unannounced)
    }

    fn create(&mut self, key: &Arc<str>, start_ns: i64) -> Result<Segment, SinkError> {
        let next = self.numbers.entry(Arc::clone(key)).or_default();
        let number = *next;
        *next += 1;
        let buffer_bytes = if self.options.path.has_key() { SMALL_BUFFER_BYTES } else { BUFFER_BYTES };
        let discarded = self.options.read_again == ReadAgain::All;
        for copy in 0.. {
            let path = self.options.path.path(&Segmentation { key, start_ns, number, copy });
            let folder = folder_of(&path).to_owned();
            std::fs::create_dir_all(&folder).map_err(|error| create_error(&folder, error))?;
            let times_ns = ((self.clock)(), start_ns);
            if let Some(segment) = Segment::create(path, times_ns, buffer_bytes, discarded)? {
                if self.syncs_checkpoints() {
                    sync_folder(&folder)?;
                }
                return Ok(segment);
            }
        }
        Err(SinkError::Unavailable("no name is left for a segment".to_owned()))
    }

    /// Closes the segment that was written longest ago where as many are open as may be.
    fn make_room(&mut self) -> Result<(), SinkError> {
        let most = self.options.max_open_segments.get();
        if self.open.len() < most {
            return Ok(());
        }
        let oldest = self.open.iter().min_by_key(|(_, segment)| segment.written);
        let Some(oldest) = oldest.map(|(key, _)| Arc::clone(key)) else { return Ok(()) };
        if !std::mem::replace(&mut self.told_early, true) {
            tracing::warn!(
                "more than {most} keys have segments: the one that was written longest ago is closed early, which \
                 makes many small files; raise max_open_segments, or leave {{key}} out of the path"
            );
        }
        self.telemetry.segment(SegmentEvent::ClosedEarly);
        self.close(&oldest)
    }

    fn close(&mut self, key: &Arc<str>) -> Result<(), SinkError> {
        let Some(segment) = self.open.remove(key) else { return Ok(()) };
        self.telemetry.segments_open(-1);
        let (path, checkpoint) = (segment.path.clone(), segment.checkpoint);
        self.bytes_written += segment.close(self.syncs_segments())?;
        self.telemetry.segment(SegmentEvent::Closed);
        self.telemetry.segments_waiting(1);
        self.closed.push(Closed { path, ends: HashMap::new(), checkpoint, _lock: None });
        if self.options.read_again != ReadAgain::Uncommitted {
            self.settle()?;
        }
        Ok(())
    }

    fn close_where(&mut self, over: impl Fn(&Self, &Segment) -> bool) -> Result<(), SinkError> {
        let keys: Vec<_> = self.open.iter().filter(|(_, segment)| over(self, segment)).collect();
        let keys: Vec<_> = keys.into_iter().map(|(key, _)| Arc::clone(key)).collect();
        keys.iter().try_for_each(|key| self.close(key))
    }

    /// Gives closed segments their names, of which nothing can come again, in the order in which they were closed: the
    /// partial files of a stream are its last ones, with nothing missing between them.
    fn settle(&mut self) -> Result<(), SinkError> {
        let waits = self.options.read_again == ReadAgain::Uncommitted;
        let late =
            self.first_commit_ns.is_some_and(|first| (self.clock)().saturating_sub(first) >= RETURN_NS);
        for mut closed in std::mem::take(&mut self.closed) {
            if waits && late && !closed.ends.is_empty() {
                closed.ends.clear();
                closed.checkpoint = self.checkpoints;
            }
            let is_next = self.closed.is_empty();
            if waits && !(is_next && closed.ends.is_empty() && closed.checkpoint <= self.committed) {
                self.closed.push(closed);
                continue;
            }
            self.name(&closed)?;
            self.telemetry.segments_waiting(-1);
            self.telemetry.segment(SegmentEvent::Named);
        }
        Ok(())
    }

    /// Renames without replacing anything, whoever may have made a file of that name meanwhile.
    fn name(&self, closed: &Closed) -> Result<(), SinkError> {
        let partial = partial_of(&closed.path);
        let mut path = closed.path.clone();
        for copy in 1.. {
            if path.symlink_metadata().is_err() {
                break;
            }
            let stem = closed.path.file_stem().unwrap_or_default().to_string_lossy();
            let extension = closed.path.extension().map(|end| format!(".{}", end.to_string_lossy()));
            path = closed.path.with_file_name(format!("{stem}-{copy}{}", extension.unwrap_or_default()));
        }
        std::fs::rename(&partial, &path).map_err(|error| write_error(&path, error))?;
        if self.options.sync == Some(SyncPolicy::Never) { Ok(()) } else { sync_folder(folder_of(&path)) }
    }

    fn syncs_segments(&self) -> bool {
        self.options.sync != Some(SyncPolicy::Never)
    }

    /// True if what a checkpoint covers is to be on disk.
    fn syncs_checkpoints(&self) -> bool {
        match self.options.sync {
            Some(policy) => policy == SyncPolicy::Checkpoint,
            None => self.options.read_again != ReadAgain::All,
        }
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let to_disk = self.syncs_checkpoints();
        self.open.values_mut().try_for_each(|segment| segment.flush(to_disk))
    }

    /// Flushes now and then where no checkpoint does.
    fn flush_in_time(&mut self) -> Result<(), SinkError> {
        let now = (self.clock)();
        if self.options.read_again != ReadAgain::Nothing
            || now.saturating_sub(self.flushed_ns) < FLUSH_EVERY_NS
        {
            return Ok(());
        }
        self.flushed_ns = now;
        self.flush()
    }
}

impl Sink for SegmentSink {
    fn idle(&mut self) -> Result<(), SinkError> {
        let roll = self.options.roll;
        if roll.secs.is_some() {
            self.close_where(|sink, segment| sink.is_over(segment, segment.start_ns))?;
        }
        self.flush_in_time()?;
        self.settle()
    }

    fn add_stream(
        &mut self,
        stream: StreamIndex,
        info: &Arc<StreamInfo>,
        origin: &Origin,
    ) -> Result<(), SinkError> {
        let segment = match self.options.path.has_key() {
            true => safe_name(info.key.as_str()).into(),
            false => "".into(),
        };
        self.streams.insert(stream, Stream { info: named(info, origin), segment });
        Ok(())
    }

    fn remove_stream(&mut self, stream: StreamIndex) {
        self.streams.remove(&stream);
    }

    fn write(&mut self, outgoing: &Outgoing) -> Result<(), SinkError> {
        let unknown = || SinkError::UnknownStream(outgoing.stream);
        let Stream { info, segment: key } = self.streams.get(&outgoing.stream).ok_or_else(unknown)?;
        let (info, key) = (Arc::clone(info), Arc::clone(key));
        let header = &outgoing.packet.header;
        let end = header.first_frame.saturating_add(u64::from(header.frames));
        if self.is_repeat(&info.key, end) {
            return Ok(());
        }
        self.turn += 1;
        let (turn, checkpoint) = (self.turn, self.checkpoints + 1);
        let segment = self.segment(&key, header.time_ns)?;
        (segment.written, segment.checkpoint) = (turn, checkpoint);
        segment.write(outgoing.stream, &info, &outgoing.bytes)?;
        if self.open.get(&key).is_some_and(|segment| self.is_full(segment)) {
            self.close(&key)?;
        }
        self.flush_in_time()
    }

    fn checkpoint(&mut self, _: &Checkpoint) -> Result<(), SinkError> {
        if self.options.roll.secs.is_some() {
            self.close_where(|sink, segment| sink.is_over(segment, segment.start_ns))?;
        }
        self.flush()?;
        self.checkpoints += 1;
        Ok(())
    }

    fn committed(&mut self, checkpoints: u64) -> Result<(), SinkError> {
        self.committed = checkpoints;
        self.first_commit_ns.get_or_insert_with(self.clock);
        self.settle()
    }

    fn finish(mut self: Box<Self>) -> Result<SinkReport, SinkError> {
        self.close_where(|_, _| true)?;
        self.settle()?;
        Ok(SinkReport { bytes_written: Some(self.bytes_written), mirror: None })
    }
}

impl Drop for SegmentSink {
    fn drop(&mut self) {
        self.telemetry.segments_open(-(self.open.len() as i64));
        self.telemetry.segments_waiting(-(self.closed.len() as i64));
    }
}
