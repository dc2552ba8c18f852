//! Packet files as recordings: the packets are decoded with their models, so that another model can encode the
//! samples again.
//!
//! - Streams, their keys, units and sample types are those of the file.
//! - Frames that came before are left out, also where they came in another file of a sequence; what stands behind
//!   missing ones, or is counted anew, stands after a gap.
//! - Damage costs the packets that it hits: each place is a dead letter.

mod progress;

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};

pub(super) use self::progress::Progress;
use self::progress::{LeftOut, Track};
use super::input::Input;
use super::{FileOptions, Recording, Source, SourceError, dead_letter, format_error};
use crate::codec::{Decoder, RvqDecoder};
use crate::model::{LibraryError, ModelId, ModelLibrary};
use crate::packet::rvl::{Event, Reader};
use crate::packet::{ErrorKind, Header, Packet, PacketError};
use crate::signal::{Chunk, Position, StreamIndex, StreamInfo};
use crate::source::SourceEvent;

/// Decoders that are held at a time.
const MAX_LOADED: usize = 16;

/// Opens a packet file.
pub(super) fn open(recording: &Recording<'_>, options: &FileOptions) -> Result<Box<dyn Source>, SourceError> {
    let given = [
        ("sample_rate_hz", options.sample_rate_hz.is_some()),
        ("channels", options.channels.is_some()),
        ("sample_type", options.sample_type.is_some()),
    ];
    if let Some((name, _)) = given.iter().find(|(_, given)| *given) {
        return Err(recording.error(name, "a packet file says it of each stream: leave it out"));
    }
    Ok(Box::new(RvlSource {
        path: recording.path.to_owned(),
        origin: recording.origin(),
        reader: Reader::new(Input::open(recording.path)?),
        models: Models {
            path: recording.path.to_owned(),
            library: ModelLibrary::new(options.models.clone()),
            loaded: HashMap::new(),
        },
        indices: HashMap::new(),
        streams: Vec::new(),
        progress: recording.progress.clone(),
        last_byte: 0,
        ended: false,
        ready: VecDeque::new(),
    }))
}

struct RvlSource {
    path: PathBuf,
    origin: String,
    reader: Reader<Input>,
    models: Models,
    /// By the numbers that the file gives.
    indices: HashMap<u32, StreamIndex>,
    streams: Vec<PacketStream>,
    /// Of the files that were read before.
    progress: Progress,
    /// Where the packet that was read last began.
    last_byte: u64,
    ended: bool,
    ready: VecDeque<SourceEvent>,
}

struct PacketStream {
    info: StreamInfo,
    /// True if the file does not say what the stream is called.
    recovered: bool,
    track: Track,
    after_gap: bool,
}

impl PacketStream {
    /// Why frames of the packet with this header are left out that may not have been read before, and how many samples
    /// of all channels these are, as far as anyone knows.
    fn left_out(&self, left_out: LeftOut, header: &Header) -> (String, u64) {
        let (key, first) = (&self.info.key, header.first_frame);
        match left_out {
            LeftOut::Earlier(frames) => {
                let last = first.saturating_add(frames).saturating_sub(1);
                let reason = format!(
                    "stream '{key}': frames {first} to {last} come behind later ones and are left out: read the files in the order in which they were recorded"
                );
                let rows = frames.saturating_mul(u64::from(header.frame_size)).min(header.valid_samples());
                (reason, rows.saturating_mul(u64::from(header.channels)))
            }
            LeftOut::Untimed => {
                let reason = format!(
                    "stream '{key}': frames with the numbers of frames before are left out as repeats, and carry no time that shows it: read other recordings apart"
                );
                (reason, 0)
            }
        }
    }
}

/// The decoders of a file's packets.
struct Models {
    path: PathBuf,
    library: ModelLibrary,
    loaded: HashMap<ModelId, RvqDecoder>,
}

impl Models {
    fn get(&mut self, id: ModelId, byte: u64) -> Result<Option<&mut RvqDecoder>, SourceError> {
        if !self.loaded.contains_key(&id) {
            let refuse = |reason: String| format_error(&self.path, format_args!("byte {byte}"), reason);
            let model = self.library.load(id).map_err(|error| match error {
                LibraryError::Unknown { id, searched } => refuse(format!(
                    "no model with id {id} in {}: name its directory in source.models",
                    searched.join(", ")
                )),
                error => refuse(error.to_string()),
            })?;
            let decoder = RvqDecoder::new(&model).map_err(|error| refuse(format!("model {id}: {error}")))?;
            if self.loaded.len() >= MAX_LOADED {
                self.loaded.clear();
            }
            self.loaded.insert(id, decoder);
        }
        Ok(self.loaded.get_mut(&id))
    }
}

impl RvlSource {
    fn read_event(&mut self) -> Result<(), SourceError> {
        let event = self.reader.next_event().map_err(|error| self.read_error(&error))?;
        match event {
            Event::Stream { number, info, recovered } => self.add_stream(number, info, recovered)?,
            Event::Packet { stream, packet, offset, .. } => {
                self.last_byte = offset;
                if let Some(index) = self.indices.get(&stream).copied() {
                    self.decode(index, &packet, offset)?;
                }
            }
            // Frames that were in it are missed by their numbers, where others follow.
            Event::Damage { offset, bytes, error } => {
                self.refuse(offset, format!("byte {offset}: {bytes} bytes damaged: {error}"), 0);
            }
            Event::End { torn_bytes, .. } => {
                let damage = self.reader.input().damage();
                let torn = (torn_bytes > 0).then(|| format!("a torn end of {torn_bytes} bytes"));
                if let Some(reason) = damage.or(torn) {
                    self.refuse(self.last_byte, reason, 0);
                }
                self.ended = true;
            }
        }
        Ok(())
    }

    /// A key that comes again is the same stream, which goes on: files are joined, and writers begin again.
    fn add_stream(&mut self, number: u32, info: StreamInfo, recovered: bool) -> Result<(), SourceError> {
        if let Some(index) = self.streams.iter().position(|stream| stream.info.key == info.key) {
            let Some(known) = self.streams.get_mut(index).filter(|known| known.info == info) else {
                let place = format!("stream '{}'", info.key);
                let reason =
                    "comes again with another rate, type or other channels: split the file where it does";
                return Err(format_error(&self.path, place, reason));
            };
            known.track.go_on_with_other();
            self.indices.insert(number, index);
            return Ok(());
        }
        // A name that was made up says nothing about the streams of other files.
        let track = if recovered { Track::default() } else { self.progress.of(&info) };
        self.indices.insert(number, self.streams.len());
        self.ready.push_back(SourceEvent::Stream { origin: 0, info: info.clone() });
        self.streams.push(PacketStream { info, recovered, track, after_gap: false });
        Ok(())
    }

    fn read_error(&self, error: &PacketError) -> SourceError {
        match self.reader.input().damage() {
            Some(damage) if error.kind() != ErrorKind::Io => format_error(&self.path, "file", damage),
            _ => format_error(&self.path, "file", error),
        }
    }

    fn decode(&mut self, index: StreamIndex, packet: &Packet, offset: u64) -> Result<(), SourceError> {
        let Some(stream) = self.streams.get_mut(index) else { return Ok(()) };
        let header = &packet.header;
        let channels = u64::from(header.channels);
        let (step, left_out) = stream.track.take(header);
        let left_out = left_out.map(|left_out| stream.left_out(left_out, header));
        let left_out = left_out.map(|(reason, samples)| (format!("byte {offset}: {reason}"), samples));
        if step.new_frames == 0 {
            if let Some((reason, samples)) = left_out {
                self.refuse(offset, reason, samples);
            }
            return Ok(());
        }
        let repeated = step.repeated_samples(header);
        let decoded = match self.models.get(header.model, offset)? {
            Some(decoder) => decoder.decode(packet),
            None => return Ok(()),
        };
        stream.after_gap |= step.new_count || step.missing_frames > 0 || (header.after_gap && repeated == 0);
        let before = (step.missing_frames > 0).then(|| {
            let reason = format!(
                "byte {offset}: stream '{}': {} frames before frame {} are missing",
                stream.info.key, step.missing_frames, header.first_frame
            );
            let rows = step.missing_frames.saturating_mul(u64::from(header.frame_size));
            (reason, rows.saturating_mul(channels))
        });
        let (chunk, own) = match decoded {
            Ok(samples) => {
                let rows_before = repeated as u64 / channels.max(1);
                let chunk = Chunk {
                    origin: 0,
                    stream: index,
                    arrival_ns: None,
                    position: Position::Byte(offset),
                    time_ns: header
                        .time_ns
                        .map(|time| time.saturating_add(stream.info.duration_ns(rows_before))),
                    after_gap: std::mem::take(&mut stream.after_gap),
                    samples: samples.get(repeated..).unwrap_or_default().to_vec(),
                };
                (Some(chunk).filter(|chunk| !chunk.samples.is_empty()), None)
            }
            Err(error) => {
                stream.after_gap = true;
                let samples = header.valid_samples().saturating_mul(channels) - repeated as u64;
                let reason = format!("byte {offset}: frame {}: {error}", header.first_frame);
                (None, Some((reason, samples)))
            }
        };
        for (reason, samples) in left_out.into_iter().chain(before).chain(own) {
            self.refuse(offset, reason, samples);
        }
        self.ready.extend(chunk.map(SourceEvent::Chunk));
        Ok(())
    }

    fn refuse(&mut self, byte: u64, reason: String, samples: u64) {
        let letter = dead_letter(&self.origin, byte, reason, samples);
        self.ready.push_back(SourceEvent::DeadLetter { origin: 0, letter });
    }
}

impl Drop for RvlSource {
    /// The file may also have been given up in its middle.
    fn drop(&mut self) {
        for stream in self.streams.iter().filter(|stream| !stream.recovered) {
            self.progress.keep(&stream.info, stream.track);
        }
    }
}

impl Source for RvlSource {
    fn next_event(&mut self) -> Result<SourceEvent, SourceError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            if self.ended {
                return Ok(SourceEvent::End);
            }
            self.read_event()?;
        }
    }
}

/// Where models are looked for that nobody names.
pub(super) fn default_models() -> Vec<PathBuf> {
    vec![Path::new("models").to_owned()]
}

#[cfg(test)]
mod tests;
