//! The streams of one origin: cut into frames, gathered into runs, and how far they have come.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::encode::{EncodeError, EncodeOptions, Run, StateKept};
use crate::signal::{
    Chunk, DeadLetter, Frame, Origin, OriginCheckpoint, Position, Stage, StreamIndex, StreamInfo, StreamKey,
};
use crate::window::{Framer, WindowError};

pub(super) struct OriginStreams {
    origin: Origin,
    framer: Framer,
    frames_per_packet: usize,
    state: StateKept,
    /// By the index that the source gives.
    inputs: Vec<Input>,
    /// By the index that the framer gives: what the stream is called in packets' company.
    outputs: Vec<(StreamIndex, Arc<StreamInfo>)>,
    /// Frames that wait for their packet to fill, by the framer's index.
    waiting: BTreeMap<StreamIndex, Waiting>,
    waiting_frames: usize,
    /// Reused between calls.
    frames: Vec<Frame>,
    /// The next position to be read.
    next: i64,
    /// True if `next` has changed since the last checkpoint.
    moved: bool,
    /// Inputs whose state has changed since the last checkpoint.
    changed: Vec<StreamIndex>,
    /// Of restored streams that have not come back yet.
    restored: HashMap<StreamKey, Resumed>,
    /// True if a stream that was restored goes on after a gap.
    after_gap: bool,
    /// The last note, for a stream that has not come back yet.
    note: Option<String>,
}

/// Where a stream goes on.
#[derive(Clone, Copy, Default)]
struct Resumed {
    /// Positions before this one are part of the state already.
    skip_before: i64,
    /// Rows of the message at that position that are, too.
    skip_rows: usize,
}

/// A stream of the source.
struct Input {
    info: Arc<StreamInfo>,
    resumed: Resumed,
    after_gap: bool,
    changed: bool,
    touched: Instant,
    /// The message that was taken last, and its rows so far.
    message: (i64, usize),
    /// Where the open frame begins: a message and a row of it.
    opened: (i64, usize),
    /// Why the stream was not taken.
    refused: Option<String>,
}

struct Waiting {
    frames: Vec<Frame>,
    since: Instant,
}

impl OriginStreams {
    pub(super) fn new(origin: Origin, framer: Framer, options: &EncodeOptions, next: i64) -> Self {
        Self {
            origin,
            framer,
            frames_per_packet: options.frames_per_packet.get(),
            state: options.state,
            inputs: Vec::new(),
            outputs: Vec::new(),
            waiting: BTreeMap::new(),
            waiting_frames: 0,
            frames: Vec::new(),
            next,
            moved: false,
            changed: Vec::new(),
            restored: HashMap::new(),
            after_gap: false,
            note: None,
        }
    }

    /// Brings back what a checkpoint held.
    pub(super) fn resume(
        &mut self,
        windows: &[Vec<u8>],
        note: Option<&str>,
        after_gap: bool,
    ) -> Result<(), EncodeError> {
        self.after_gap = after_gap;
        let failed = |reason: String| EncodeError::Resume { origin: self.origin.clone(), reason };
        for window in windows {
            let (key, skip_before) =
                self.framer.restore(window).map_err(|error| failed(error.to_string()))?;
            self.restored.insert(key, Resumed { skip_before, skip_rows: 0 });
        }
        if let Some(note) = note.filter(|_| self.state == StateKept::Start) {
            let (window, skip_rows) = parse_note(note)
                .ok_or_else(|| failed(format!("its note {note:?} was not written by this program")))?;
            let (key, skip_before) =
                self.framer.restore(&window).map_err(|error| failed(error.to_string()))?;
            self.restored.insert(key, Resumed { skip_before, skip_rows });
            self.note = Some(note.to_owned());
        }
        Ok(())
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Streams that packets belong to.
    pub(super) fn len(&self) -> usize {
        self.outputs.len()
    }

    pub(super) fn stream_indices(&self) -> impl Iterator<Item = StreamIndex> + '_ {
        self.outputs.iter().map(|(index, _)| *index)
    }

    pub(super) fn open_samples(&self) -> usize {
        (0..self.inputs.len()).map(|stream| self.framer.open_samples(stream)).sum()
    }

    /// Takes the origin's next stream, `others` being open elsewhere.
    pub(super) fn add_stream(
        &mut self,
        info: Arc<StreamInfo>,
        announced: &mut StreamIndex,
        others: usize,
    ) -> Result<Vec<(StreamIndex, Arc<StreamInfo>)>, EncodeError> {
        let resumed = self.restored.remove(&info.key);
        let mut input = Input {
            info: Arc::clone(&info),
            resumed: resumed.unwrap_or_default(),
            after_gap: self.after_gap && resumed.is_some(),
            changed: false,
            touched: Instant::now(),
            message: (i64::MIN, 0),
            opened: (self.next, 0),
            refused: None,
        };
        let first = self.inputs.first().map(|first| &first.info.key).or_else(|| self.restored.keys().next());
        if let (StateKept::Start, Some(first)) = (self.state, first) {
            return Err(EncodeError::Resume {
                origin: self.origin.clone(),
                reason: format!(
                    "it holds the streams '{}' and '{}', but state = \"none\" is for one stream a partition; set \
                     delivery.state to \"changelog\"",
                    first, info.key
                ),
            });
        }
        let result = match self.framer.add_stream_beside(&info, others) {
            Ok(added) => {
                let first = *announced;
                *announced += added.len();
                let added: Vec<_> = (first..).zip(added).collect();
                self.outputs.extend_from_slice(&added);
                Ok(added)
            }
            Err(error) => {
                input.refused = Some(error.to_string());
                Err(error.into())
            }
        };
        self.inputs.push(input);
        result
    }

    pub(super) fn push(&mut self, mut chunk: Chunk, now: Instant, full: &mut Vec<Run>) -> Option<DeadLetter> {
        self.pass(chunk.position);
        let Some(input) = self.inputs.get_mut(chunk.stream) else {
            return Some(letter(
                &self.origin,
                WindowError::UnknownStream { index: chunk.stream }.to_string(),
                &chunk,
            ));
        };
        if let Some(reason) = &input.refused {
            return Some(letter(&self.origin, reason.clone(), &chunk));
        }
        input.touched = now;
        let first_row = input.take(&mut chunk)?;
        // A chunk that cannot be cut may still have closed the frame before it.
        let refused = self.framer.push(&chunk, &mut self.frames).err();
        if let (Position::Offset(offset), Some(first_row)) = (chunk.position, first_row) {
            let rows = chunk.samples.len() / input.info.channels.len().max(1);
            let open = self.framer.open_samples(chunk.stream);
            if open <= rows {
                input.opened = (offset, first_row + rows - open);
            }
        }
        self.note_change(chunk.stream);
        self.collect(now, full);
        refused.map(|error| letter(&self.origin, error.to_string(), &chunk))
    }

    fn note_change(&mut self, stream: StreamIndex) {
        let kept = self.state == StateKept::Windows && self.origin != Origin::Whole;
        if let Some(input) = self.inputs.get_mut(stream).filter(|input| kept && !input.changed) {
            input.changed = true;
            self.changed.push(stream);
        }
    }

    /// Notes that everything at `position` has been seen.
    pub(super) fn pass(&mut self, position: Position) {
        if let Position::Offset(offset) = position
            && offset >= self.next
        {
            self.next = offset.saturating_add(1);
            self.moved = true;
        }
    }

    pub(super) fn flush_waiting(&mut self, before: Instant, full: &mut Vec<Run>) {
        let due: Vec<_> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.since <= before)
            .map(|(stream, _)| *stream)
            .collect();
        due.into_iter().for_each(|stream| self.send(stream, full));
    }

    pub(super) fn flush(&mut self, full: &mut Vec<Run>) {
        while let Some((stream, _)) = self.waiting.first_key_value() {
            let stream = *stream;
            self.send(stream, full);
        }
    }

    /// Frames that wait for their packets to fill.
    pub(super) fn waiting_frames(&self) -> usize {
        self.waiting_frames
    }

    pub(super) fn finish(&mut self, full: &mut Vec<Run>) {
        self.framer.close(&mut self.frames);
        self.collect(Instant::now(), full);
        self.flush(full);
    }

    pub(super) fn close_idle(&mut self, before: Instant, full: &mut Vec<Run>) {
        for stream in 0..self.inputs.len() {
            let idle = self.inputs.get(stream).is_some_and(|input| input.touched <= before);
            if idle && self.framer.open_samples(stream) > 0 {
                self.framer.close_stream(stream, &mut self.frames);
                self.note_change(stream);
                self.moved = true;
            }
        }
        self.collect(Instant::now(), full);
    }

    pub(super) fn has_moved(&self) -> bool {
        self.moved && self.origin != Origin::Whole
    }

    pub(super) fn checkpoint(&mut self) -> Result<Option<OriginCheckpoint>, EncodeError> {
        if !self.has_moved() {
            return Ok(None);
        }
        let mut checkpoint = OriginCheckpoint {
            origin: self.origin.clone(),
            next: self.next,
            note: None,
            windows: Vec::with_capacity(self.changed.len()),
        };
        for stream in self.changed.drain(..) {
            let Some(input) = self.inputs.get_mut(stream) else { continue };
            input.changed = false;
            // What is read again may not have come as far as the state that it is skipped for.
            let next = self.next.max(input.resumed.skip_before);
            checkpoint.windows.push((input.info.key.clone(), self.framer.snapshot(stream, next)?));
        }
        if self.state == StateKept::Start {
            if let Some(input) = self.inputs.first().filter(|input| input.refused.is_none()) {
                let mut skip_rows = 0;
                if self.framer.open_samples(0) > 0 {
                    (checkpoint.next, skip_rows) = input.opened;
                }
                let window = self.framer.snapshot_of_start(0, checkpoint.next)?;
                self.note = Some(note(&window, skip_rows));
            }
            checkpoint.note.clone_from(&self.note);
        }
        self.moved = false;
        Ok(Some(checkpoint))
    }

    /// Moves frames to their streams, and full packets out of them.
    fn collect(&mut self, now: Instant, full: &mut Vec<Run>) {
        let frame_size = self.framer.frame_size();
        let mut frames = std::mem::take(&mut self.frames);
        for frame in frames.drain(..) {
            let stream = frame.stream;
            if frame.after_gap {
                self.send(stream, full);
            }
            let short = (frame.valid as usize) < frame_size;
            let waiting =
                self.waiting.entry(stream).or_insert_with(|| Waiting { frames: Vec::new(), since: now });
            waiting.frames.push(frame);
            self.waiting_frames += 1;
            if short || waiting.frames.len() == self.frames_per_packet {
                self.send(stream, full);
            }
        }
        self.frames = frames;
    }

    fn send(&mut self, stream: StreamIndex, full: &mut Vec<Run>) {
        let Some(Waiting { frames, .. }) = self.waiting.remove(&stream) else { return };
        self.waiting_frames -= frames.len();
        if let Some((index, info)) = self.outputs.get(stream) {
            full.push(Run { stream: *index, info: Arc::clone(info), frames });
        }
    }
}

impl Input {
    /// Takes off a chunk what is part of the state already; none where that is all of it. Returns which row of its
    /// message the chunk now begins with, where it has one.
    fn take(&mut self, chunk: &mut Chunk) -> Option<Option<usize>> {
        let Position::Offset(offset) = chunk.position else { return Some(None) };
        if offset < self.resumed.skip_before {
            return None;
        }
        if self.message.0 != offset {
            self.message = (offset, 0);
        }
        let channels = self.info.channels.len().max(1);
        let rows = chunk.samples.len() / channels;
        let mut first_row = self.message.1;
        self.message.1 += rows;
        if offset == self.resumed.skip_before && first_row < self.resumed.skip_rows {
            let skipped = rows.min(self.resumed.skip_rows - first_row);
            if skipped == rows {
                return None;
            }
            chunk.samples.drain(..skipped * channels);
            chunk.time_ns =
                chunk.time_ns.map(|time_ns| time_ns.saturating_add(self.info.duration_ns(skipped as u64)));
            chunk.after_gap = false;
            first_row += skipped;
        }
        chunk.after_gap |= std::mem::take(&mut self.after_gap);
        Some(Some(first_row))
    }
}

/// The dead letter of a chunk that cannot be used.
fn letter(origin: &Origin, reason: String, chunk: &Chunk) -> DeadLetter {
    DeadLetter {
        stage: Stage::Window,
        origin: match origin {
            Origin::Whole => "window".to_owned(),
            partition => partition.to_string(),
        },
        position: chunk.position,
        reason,
        samples: chunk.samples.len() as u64,
        message: None,
    }
}

/// A window and the rows of its first message that are not part of it, as text.
fn note(window: &[u8], skip_rows: usize) -> String {
    let hex: String = window.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}:{skip_rows}")
}

fn parse_note(note: &str) -> Option<(Vec<u8>, usize)> {
    let (hex, skip_rows) = note.split_once(':')?;
    let digits = hex.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    Some((digits.chunks_exact(2).map(byte).collect::<Option<_>>()?, skip_rows.parse().ok()?))
}
