//! The streams of a followed path: records become events.

use std::collections::HashMap;
use std::sync::Arc;

use super::Shared;
use super::records::Held;
use super::store::Store;
use super::tail::{Block, Content, Tail, Unit};
use crate::signal::{Chunk, DeadLetter, OriginIndex, Position, Stage, StreamIndex, StreamKey};
use crate::source::SourceEvent;
use crate::source::decoding::Record;
use crate::telemetry::unix_ns;

/// Longer keys are taken for garbage: a key is held in memory as long as its file is followed.
const MAX_KEY_BYTES: usize = 1024;

/// The streams of a path.
pub(super) struct Streams {
    /// The origin.
    origin: Arc<str>,
    /// The stream of records without a key.
    name: String,
    /// True if keys of their own have that name before them.
    prefixed: bool,
    streams: HashMap<String, Stream>,
    announced: StreamIndex,
}

#[derive(Default)]
struct Stream {
    /// None for one that was restored and has not come back yet.
    index: Option<StreamIndex>,
    /// True if its next samples do not follow on its last ones.
    behind_gap: bool,
}

impl Streams {
    pub(super) fn new(origin: Arc<str>, name: String, prefixed: bool) -> Self {
        Self { origin, name, prefixed, streams: HashMap::new(), announced: 0 }
    }

    /// Brings back the streams that were there before.
    pub(super) fn restore(
        &mut self,
        keys: impl Iterator<Item = String>,
        behind_gap: impl IntoIterator<Item = String>,
    ) {
        self.streams.extend(keys.map(|key| (key, Stream::default())));
        for key in behind_gap {
            self.streams.entry(key).or_default().behind_gap = true;
        }
    }

    /// Something is missing before `position`, of whatever streams.
    pub(super) fn gap(&mut self, store: &Store, position: i64) {
        for (key, stream) in self.streams.iter_mut().filter(|(_, stream)| !stream.behind_gap) {
            stream.behind_gap = true;
            store.gap(&self.origin, key, position);
        }
    }

    /// Turns a block of `tail` into events.
    pub(super) fn take(
        &mut self,
        block: &Block,
        tail: &mut Tail,
        origin: OriginIndex,
        shared: &mut Shared,
    ) -> std::io::Result<()> {
        let arrival_ns = unix_ns();
        let header = match shared.parser.has_header() {
            true => tail.header()?.map(<[u8]>::to_vec),
            false => None,
        };
        let messages = match (&block.content, shared.parser.unit()) {
            (Content::Units(bytes), Unit::Line) => bytes.iter().filter(|byte| **byte == b'\n').count(),
            _ => 1,
        };
        shared.telemetry.messages_in(messages as u64);
        shared.telemetry.bytes(Stage::Source, block.end - block.start);
        for piece in shared.parser.pieces(block, header.as_deref()) {
            let next = tail.position(piece.end);
            let position = Position::Offset(next - 1);
            match piece.held {
                Held::Nothing => shared.ready.push_back(SourceEvent::Passed { origin, position }),
                Held::Refused(reason) => {
                    self.refuse(origin, next, format!("{}{reason}", self.elsewhere(tail)), shared);
                }
                Held::Records(records) => {
                    for record in records {
                        self.chunk(record, origin, next, arrival_ns, shared);
                    }
                }
            }
        }
        Ok(())
    }

    /// What is left of a file has no end.
    pub(super) fn unfinished(&mut self, tail: &Tail, origin: OriginIndex, shared: &mut Shared) {
        let (what, why) = match shared.parser.unit() {
            Unit::Line => ("line", "the line has no end"),
            Unit::Row(_) => ("row", "the row is not whole"),
        };
        let reason = format!(
            "{}the last {what}, at byte {}, was left with {} bytes: {why}",
            self.elsewhere(tail),
            tail.consumed(),
            tail.unfinished()
        );
        self.refuse(origin, tail.end(), reason, shared);
    }

    /// Names the file where it does not have the path.
    fn elsewhere(&self, tail: &Tail) -> String {
        let path = tail.path().display().to_string();
        if *path == *self.origin { String::new() } else { format!("{path}: ") }
    }

    /// What ends before `next` cannot be used.
    fn refuse(&mut self, origin: OriginIndex, next: i64, reason: String, shared: &mut Shared) {
        shared.ready.push_back(SourceEvent::DeadLetter { origin, letter: self.letter(next, reason, 0) });
        // Of many streams nobody knows which one it belonged to; their times tell.
        if !shared.parser.has_keys() {
            self.gap(&shared.store, next);
        }
    }

    fn chunk(
        &mut self,
        record: Record,
        origin: OriginIndex,
        next: i64,
        arrival_ns: i64,
        shared: &mut Shared,
    ) {
        let key = match &record.key {
            None => self.name.clone(),
            Some(key) if self.prefixed => format!("{}/{key}", self.name),
            Some(key) => key.clone(),
        };
        let known = self.streams.get(&key).and_then(|stream| stream.index);
        let index = match known {
            Some(index) => index,
            None if key.len() > MAX_KEY_BYTES || shared.streams >= shared.max_streams => {
                let reason = format!(
                    "its stream does not fit: there are {} streams already (window.max_streams is {}), or its key has \
                     more than {MAX_KEY_BYTES} bytes",
                    shared.streams, shared.max_streams
                );
                let letter = self.letter(next, reason, record.samples.len() as u64);
                shared.ready.push_back(SourceEvent::DeadLetter { origin, letter });
                return;
            }
            None => {
                let index = self.announced;
                self.announced += 1;
                shared.streams += 1;
                self.streams.entry(key.clone()).or_default().index = Some(index);
                let info = shared.parser.options().stream_info(StreamKey::new(key.as_str()));
                shared.ready.push_back(SourceEvent::Stream { origin, info });
                index
            }
        };
        let stream = self.streams.get_mut(&key);
        let after_gap = stream.is_some_and(|stream| std::mem::take(&mut stream.behind_gap));
        if after_gap {
            shared.store.close_gap(&self.origin, &key, next);
        }
        shared.ready.push_back(SourceEvent::Chunk(Chunk {
            origin,
            stream: index,
            position: Position::Offset(next - 1),
            arrival_ns: Some(arrival_ns),
            time_ns: record.time_ns,
            after_gap,
            samples: record.samples,
        }));
    }

    fn letter(&self, next: i64, reason: String, samples: u64) -> DeadLetter {
        DeadLetter {
            stage: Stage::Source,
            origin: self.origin.to_string(),
            position: Position::Offset(next - 1),
            reason,
            samples,
            message: None,
        }
    }
}
