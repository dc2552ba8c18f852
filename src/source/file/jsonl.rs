//! JSON lines: on each line an object, or an array of them, that the `json` codec decodes.
//!
//! - Lines with the same key are one stream; without a key in them the file is one.
//! - What follows on in time, within half a sample, becomes one chunk.
//! - A line that cannot be decoded becomes a dead letter with its place. Where the file is one stream, what comes
//!   next stands after a gap; which of several streams it belonged to is not known.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::lines::Lines;
use super::rows::MAX_CHUNK_VALUES;
use super::{FileOptions, Recording, Source, SourceError, dead_letter};
use crate::signal::{Chunk, DeadLetter, Message, Position, StreamIndex, StreamKey};
use crate::source::SourceEvent;
use crate::source::decoding::{DecodeError, DecodingOptions, MessageDecoder, Place, Record};

/// Bytes of a key, at most.
const MAX_KEY_BYTES: usize = 1024;

/// Opens a file of JSON lines.
pub(super) fn open(recording: &Recording<'_>, options: &FileOptions) -> Result<Box<dyn Source>, SourceError> {
    let Some(decoding) = &options.decoding else {
        let reason = "JSON lines need a table [source.decoding] in a pipeline file, with codec = \"json\" and where the \
                      samples are";
        return Err(recording.error("decoding", reason));
    };
    let lines = Lines::open(recording.path, "a file of JSON lines")?;
    let channels = decoding.channels.len().max(1);
    Ok(Box::new(JsonlSource {
        lines,
        decoder: MessageDecoder::new(DecodingOptions::clone(decoding)),
        origin: recording.origin(),
        name: recording.name.to_owned(),
        channels,
        chunk_values: options.chunk_samples.saturating_mul(channels).min(MAX_CHUNK_VALUES),
        indices: HashMap::new(),
        streams: Vec::new(),
        waiting_values: 0,
        records: Vec::new(),
        ended: false,
        ready: VecDeque::new(),
    }))
}

struct JsonlSource {
    lines: Lines,
    decoder: MessageDecoder,
    origin: String,
    /// The key where a line has none.
    name: String,
    channels: usize,
    chunk_values: usize,
    indices: HashMap<String, StreamIndex>,
    streams: Vec<Waiting>,
    /// Values that wait in all streams.
    waiting_values: usize,
    records: Vec<Record>,
    ended: bool,
    ready: VecDeque<SourceEvent>,
}

/// The chunk of a stream so far.
#[derive(Default)]
struct Waiting {
    samples: Vec<f64>,
    time_ns: Option<i64>,
    after_gap: bool,
}

impl JsonlSource {
    fn read_line(&mut self) -> Result<(), SourceError> {
        if !self.lines.next()? {
            (0..self.streams.len()).for_each(|stream| self.flush(stream));
            if let Some(reason) = self.lines.damage() {
                self.refuse(self.lines.end_byte, reason, 0, None);
            }
            self.ended = true;
            return Ok(());
        }
        let mut records = std::mem::take(&mut self.records);
        records.clear();
        if let Err(error) = self.decoder.decode(&self.lines.text, &mut records) {
            let reason = self.reason(&error);
            if self.streams.len() == 1 {
                self.flush(0);
                self.streams.iter_mut().for_each(|stream| stream.after_gap = true);
            }
            let line = Message { key: None, value: self.lines.text.clone() };
            self.refuse(self.lines.start_byte, reason, 0, Some(Arc::new(line)));
        }
        for record in records.drain(..) {
            self.take(record);
        }
        self.records = records;
        if self.waiting_values > MAX_CHUNK_VALUES {
            (0..self.streams.len()).for_each(|stream| self.flush(stream));
        }
        Ok(())
    }

    /// Where in the file something is wrong, and what.
    fn reason(&self, error: &DecodeError) -> String {
        let (line, reason) = (self.lines.number, error.reason());
        match error.place() {
            Place::Message | Place::Line(_) => format!("line {line}: {reason}"),
            Place::Character { column, .. } => format!("line {line}, character {column}: {reason}"),
            place => format!("line {line}, {place}: {reason}"),
        }
    }

    fn take(&mut self, record: Record) {
        let key = record.key.as_deref().unwrap_or(&self.name);
        if key.len() > MAX_KEY_BYTES {
            let reason = format!(
                "line {}: its key has {} bytes, {MAX_KEY_BYTES} are possible",
                self.lines.number,
                key.len()
            );
            return self.refuse(self.lines.start_byte, reason, record.samples.len() as u64, None);
        }
        let number = match self.indices.get(key) {
            Some(number) => *number,
            None => {
                let info = self.decoder.options().stream_info(StreamKey::new(key));
                self.ready.push_back(SourceEvent::Stream { origin: 0, info });
                self.indices.insert(key.to_owned(), self.streams.len());
                self.streams.push(Waiting::default());
                self.streams.len() - 1
            }
        };
        if self.is_apart(number, record.time_ns) {
            self.flush(number);
        }
        let Some(stream) = self.streams.get_mut(number) else { return };
        if stream.samples.is_empty() {
            stream.time_ns = record.time_ns;
        }
        self.waiting_values += record.samples.len();
        stream.samples.extend(record.samples);
        if stream.samples.len() >= self.chunk_values {
            self.flush(number);
        }
    }

    /// True if samples of that time do not follow on those that wait.
    fn is_apart(&self, stream: StreamIndex, time_ns: Option<i64>) -> bool {
        let Some(waiting) = self.streams.get(stream) else { return false };
        let (Some(start_ns), Some(time_ns)) = (waiting.time_ns, time_ns) else { return false };
        let rate_hz = self.decoder.options().sample_rate_hz;
        let rows = (waiting.samples.len() / self.channels) as u64;
        let expected_ns = start_ns.saturating_add(crate::signal::duration_ns(rate_hz, rows));
        let half_a_sample_ns = crate::signal::duration_ns(rate_hz, 1) / 2;
        !waiting.samples.is_empty() && time_ns.abs_diff(expected_ns) > half_a_sample_ns.unsigned_abs()
    }

    fn flush(&mut self, number: StreamIndex) {
        let Some(stream) = self.streams.get_mut(number).filter(|stream| !stream.samples.is_empty()) else {
            return;
        };
        self.waiting_values -= stream.samples.len();
        self.ready.push_back(SourceEvent::Chunk(Chunk {
            origin: 0,
            stream: number,
            arrival_ns: None,
            position: Position::Byte(self.lines.end_byte),
            time_ns: stream.time_ns,
            after_gap: std::mem::take(&mut stream.after_gap),
            samples: std::mem::take(&mut stream.samples),
        }));
    }

    fn refuse(&mut self, byte: u64, reason: String, samples: u64, message: Option<Arc<Message>>) {
        let letter = DeadLetter { message, ..dead_letter(&self.origin, byte, reason, samples) };
        self.ready.push_back(SourceEvent::DeadLetter { origin: 0, letter });
    }
}

impl Source for JsonlSource {
    fn next_event(&mut self) -> Result<SourceEvent, SourceError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            if self.ended {
                return Ok(SourceEvent::End);
            }
            self.read_line()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::signal::{ChannelInfo, SampleType};
    use crate::source::decoding::{Codec, JsonFields, JsonLayout, TimeField, TimeUnit};
    use crate::source::file::{Format, open};

    fn options(keyed: bool) -> FileOptions {
        let fields = JsonFields {
            samples: vec!["v".parse().unwrap()],
            layout: JsonLayout::Rows,
            time: Some(TimeField { at: "t".parse().unwrap(), unit: TimeUnit::Milliseconds }),
            key: keyed.then(|| "bed".parse().unwrap()),
        };
        FileOptions {
            format: Some(Format::Jsonl),
            decoding: Some(Box::new(DecodingOptions {
                sample_rate_hz: 100.0,
                sample_type: SampleType::I16,
                channels: vec![ChannelInfo::unscaled("")],
                codec: Codec::Json(fields),
            })),
            ..FileOptions::default()
        }
    }

    /// What a file says: `+key`, samples (`|` after a gap), `!reason`.
    fn told(text: &[u8], keyed: bool) -> Result<Vec<String>, SourceError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("night.jsonl");
        std::fs::write(&path, text).unwrap();
        let mut source = open(&path, &options(keyed))?;
        let mut told = Vec::new();
        loop {
            told.push(match source.next_event()? {
                SourceEvent::Stream { info, .. } => format!("+{}", info.key),
                SourceEvent::Chunk(chunk) => {
                    let gap = if chunk.after_gap { "|" } else { "" };
                    let time_ms = chunk.time_ns.unwrap() / 1_000_000;
                    format!("{gap}{} {time_ms} {:?}", chunk.stream, chunk.samples)
                }
                SourceEvent::DeadLetter { letter, .. } => format!("!{}", letter.reason),
                SourceEvent::End => return Ok(told),
                other => panic!("{other:?}"),
            });
        }
    }

    #[test]
    fn lines_that_follow_on_become_one_chunk() {
        let text = "{\"t\":0,\"v\":[1,2]}\r\n\n{\"t\":20,\"v\":3}\n{\"t\":500,\"v\":4}";
        assert_eq!(told(text.as_bytes(), false).unwrap(), ["+night", "0 0 [1.0, 2.0, 3.0]", "0 500 [4.0]"]);
    }

    #[test]
    fn keys_are_streams() {
        let text =
            "[{\"bed\":7,\"t\":0,\"v\":1},{\"bed\":\"b\",\"t\":0,\"v\":5}]\n{\"bed\":7,\"t\":10,\"v\":2}\n";
        assert_eq!(told(text.as_bytes(), true).unwrap(), ["+7", "+b", "0 0 [1.0, 2.0]", "1 0 [5.0]"]);
    }

    #[test]
    fn lines_that_cannot_be_decoded_are_told_with_their_place() {
        let text = "{\"t\":0,\"v\":1}\n{\"t\":10,\"v\":\n{\"t\":20,\"v\":40000}\nx,y\n{\"t\":30,\"v\":NaN}\n{\"t\":40,\"v\":2}\n";
        let told = told(text.as_bytes(), false).unwrap();
        assert_eq!(told[..2], ["+night", "0 0 [1.0]"]);
        assert!(told[2].starts_with("!line 2, character 12: not JSON"), "{told:?}");
        assert!(told[3].starts_with("!line 3, v: 40000 is not a whole number that fits i16"), "{told:?}");
        assert!(told[4].starts_with("!line 4, character 1: not JSON"), "{told:?}");
        assert!(told[5].starts_with("!line 5, character"), "{told:?}");
        assert_eq!(told[6], "|0 40 [2.0]");
    }

    #[test]
    fn what_is_no_text_is_refused_line_by_line() {
        let told = told(&[0xff, 0x02, 0x80, b'\n', 0x01], false).unwrap();
        assert_eq!(told.len(), 2);
        assert!(told.iter().all(|line| line.starts_with("!line ")), "{told:?}");
        let error = super::tests::told(&[0, 1, b'\n'], false).unwrap_err().to_string();
        assert!(error.contains("not a file of JSON lines"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "{}").unwrap();
        let error = open(&path, &FileOptions::default()).err().unwrap().to_string();
        assert!(error.contains("[source.decoding]"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), keyed in any::<bool>()) {
            let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
            if let Ok(told) = told(&bytes, keyed) {
                prop_assert!(told.len() <= lines + 1);
            }
        }
    }
}
