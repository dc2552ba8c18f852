//! What files hold, found without decoding, and in which order they are read.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::{SegmentReader, files, open_error, read_error};
use crate::cli::CliError;
use crate::packet::Header;
use crate::packet::rvl::{Event, Part};
use crate::signal::{StreamInfo, StreamKey};

/// The streams of a file.
#[derive(Debug)]
pub(in crate::cli) struct Segment {
    pub(in crate::cli) path: PathBuf,
    /// In the order of their numbers.
    pub(in crate::cli) streams: Vec<(u32, Stream)>,
    /// True if it has damaged places.
    pub(in crate::cli) damaged: bool,
}

/// What is known of a stream in a file.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Stream {
    pub(in crate::cli) info: StreamInfo,
    /// The number of the first packet's first frame.
    pub(in crate::cli) first_frame: Option<u64>,
    /// Time of the earliest packet that has one, in nanoseconds since the Unix epoch.
    pub(in crate::cli) first_ns: Option<i64>,
    /// Samples per channel; of a file that was read by its index with the padding of short frames.
    pub(in crate::cli) samples: u64,
}

impl Stream {
    fn new(info: StreamInfo) -> Self {
        Self { info, first_frame: None, first_ns: None, samples: 0 }
    }

    fn add(&mut self, first_frame: u64, time_ns: Option<i64>, samples: u64) {
        self.first_frame.get_or_insert(first_frame);
        self.first_ns = [self.first_ns, time_ns].into_iter().flatten().min();
        self.samples = self.samples.saturating_add(samples);
    }
}

impl Segment {
    /// Reads a file from front to back.
    pub(in crate::cli) fn scan(path: &Path) -> Result<Self, CliError> {
        let mut streams = HashMap::new();
        let mut damaged = false;
        let mut reader = SegmentReader::whole(path)?;
        loop {
            match reader.next_event(path)? {
                Event::Stream { number, info, .. } => {
                    streams.entry(number).or_insert_with(|| Stream::new(info));
                }
                Event::Packet { stream, packet, .. } => {
                    let Header { first_frame, time_ns, .. } = packet.header;
                    if let Some(stream) = streams.get_mut(&stream) {
                        stream.add(first_frame, time_ns, packet.header.valid_samples());
                    }
                }
                Event::Damage { .. } => damaged = true,
                Event::End { .. } => return Ok(Self::new(path, streams, damaged)),
            }
        }
    }

    /// Reads the index of a file and the first packet of each stream, or all of it where that does not say enough.
    pub(in crate::cli) fn look(path: &Path) -> Result<Self, CliError> {
        let file = File::open(path).map_err(|error| open_error(path, &error))?;
        let error = |error| read_error(path, &error);
        let Some(mut part) = Part::open(file).map_err(error)? else { return Self::scan(path) };
        let infos = part.streams().iter().map(|(number, info)| (*number, Stream::new(info.clone())));
        let mut streams: HashMap<u32, Stream> = infos.collect();
        let mut earliest = HashMap::new();
        while let Some(placed) = part.next_placed().map_err(error)? {
            // The record of the stream is lost.
            let Some(stream) = streams.get_mut(&placed.entry.stream) else { return Self::scan(path) };
            let samples = u64::from(placed.entry.frames) * u64::from(placed.timing.frame_size);
            let time_ns = placed.timing.time_ms.map(|time| time.saturating_mul(1_000_000));
            let before = stream.first_ns;
            stream.add(placed.entry.first_frame, time_ns, samples);
            if stream.first_ns != before {
                earliest.insert(placed.entry.stream, placed.entry);
            }
        }
        // The index has whole milliseconds only.
        for (number, entry) in earliest {
            let time_ns = part.packet(&entry).ok().and_then(|packet| packet.header.time_ns);
            if let Some(stream) = streams.get_mut(&number) {
                stream.first_ns = time_ns.or(stream.first_ns);
            }
        }
        Ok(Self::new(path, streams, false))
    }

    fn new(path: &Path, streams: HashMap<u32, Stream>, damaged: bool) -> Self {
        let mut streams: Vec<_> = streams.into_iter().collect();
        streams.sort_by_key(|(number, _)| *number);
        Self { path: path.to_owned(), streams, damaged }
    }

    /// What to order the file by: the earliest time and the lowest frame of the streams with these keys.
    fn begin(&self, wanted: &dyn Fn(&StreamKey) -> bool) -> Option<(Option<i64>, u64)> {
        let streams = || self.streams.iter().map(|(_, stream)| stream).filter(|s| wanted(&s.info.key));
        let first_frame = streams().filter_map(|stream| stream.first_frame).min()?;
        Some((streams().filter_map(|stream| stream.first_ns).min(), first_frame))
    }
}

/// Files as one recording.
#[derive(Debug)]
pub(in crate::cli) struct Contents {
    pub(in crate::cli) segments: Vec<Segment>,
}

impl Contents {
    /// Looks through files and folders: all of them, or where their indices say enough, only those.
    pub(in crate::cli) fn of(paths: &[PathBuf], by_index: bool) -> Result<Self, CliError> {
        let look = if by_index { Segment::look } else { Segment::scan };
        let segments = files(paths)?.iter().map(|path| look(path)).collect::<Result<_, _>>()?;
        Ok(Self { segments })
    }

    /// The files that have packets of the wanted streams: by time, without times by frame number, else as they were
    /// given.
    pub(in crate::cli) fn in_order(&self, wanted: &dyn Fn(&StreamKey) -> bool) -> Vec<&Segment> {
        let mut begun: Vec<_> =
            self.segments.iter().filter_map(|segment| Some((segment.begin(wanted)?, segment))).collect();
        if begun.iter().all(|((time, _), _)| time.is_some()) {
            begun.sort_by_key(|(begin, _)| *begin);
        } else if begun.iter().all(|((time, _), _)| time.is_none()) {
            begun.sort_by_key(|((_, frame), _)| *frame);
        }
        begun.into_iter().map(|(_, segment)| segment).collect()
    }

    /// The streams, by key, in the order in which the files name them.
    pub(in crate::cli) fn streams(&self) -> Vec<Stream> {
        let mut places: HashMap<StreamKey, usize> = HashMap::new();
        let mut streams: Vec<Stream> = Vec::new();
        for (_, stream) in self.segments.iter().flat_map(|segment| &segment.streams) {
            let known = places.get(&stream.info.key).and_then(|place| streams.get_mut(*place));
            match known {
                Some(known) => {
                    // Frames may be counted anew in a later file: times go before numbers.
                    let is_earlier = match (stream.first_ns, known.first_ns) {
                        (Some(own), Some(known)) => own < known,
                        _ => known
                            .first_frame
                            .is_none_or(|known| stream.first_frame.is_some_and(|own| own < known)),
                    };
                    if is_earlier && stream.first_frame.is_some() {
                        known.first_frame = stream.first_frame;
                    }
                    known.first_ns = [known.first_ns, stream.first_ns].into_iter().flatten().min();
                    known.samples = known.samples.saturating_add(stream.samples);
                }
                None => {
                    places.insert(stream.info.key.clone(), streams.len());
                    streams.push(stream.clone());
                }
            }
        }
        streams
    }
}
