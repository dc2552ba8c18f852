//! Decodes `.rvl` files.

use std::collections::HashMap;

use super::append::{Appending, Columns};
use super::format::Format;
use super::names::FileNames;
use super::output::{Column, Output};
use super::troubles::Troubles;
use super::{Arguments, usage};
use crate::cli::segments::{
    Contents, ROUNDING, Range, Segment, SegmentReader, Stream, Window, refuse_output,
};
use crate::cli::{CliError, exit, warn};
use crate::packet::rvl::Event;
use crate::packet::{Continuity, Header, MAX_FRAMES};
use crate::pipeline::Decoders;
use crate::signal::StreamKey;

pub(super) fn run(arguments: &Arguments, format: Format) -> Result<(), CliError> {
    let range = arguments.range();
    let recording = Recording::new(Contents::of(&arguments.inputs, !range.is_all())?, range)?;
    let chosen = recording.choose(&arguments.streams)?;
    let into_folder = arguments.wants_folder();
    let groups: Vec<Vec<&Stream>> =
        if into_folder { chosen.iter().map(|stream| vec![*stream]).collect() } else { vec![chosen] };

    let mut decoders = Decoders::new(arguments.library(), None);
    let mut names = FileNames::default();
    let mut troubles = Troubles::default();
    for group in groups {
        let key = group.first().map_or("stream", |stream| stream.info.key.as_str());
        let output = match into_folder {
            true => arguments.output.join(names.name(key, format)),
            false => arguments.output.clone(),
        };
        if format == Format::Raw || !into_folder {
            recording.check_alignment(&group, format)?;
        }
        for written in [output.as_path(), &format.data_path(&output)] {
            let inputs = recording.contents.segments.iter().map(|segment| segment.path.as_path());
            refuse_output(inputs, written)?;
        }
        let output = Output::create(&output, format, columns(&group, arguments.physical))?;
        troubles.add(&recording.decode(&group, output, &mut decoders)?);
    }
    let name = recording.name();
    if troubles.repeated_frames > 0 {
        warn(&format!("{name}: {} repeated frames left out", troubles.repeated_frames));
    }
    troubles.into_result(&name)
}

/// Files and the part of them that is wanted.
struct Recording {
    contents: Contents,
    streams: Vec<Stream>,
    range: Range,
}

/// A stream on its way to its columns.
struct Track {
    columns: Columns,
    continuity: Continuity,
    window: Window,
    /// Where the rows begin, if the stream has to wait for that: nanoseconds as its window counts them.
    rows_from_ns: Option<i64>,
    /// Number of the stream that its last packet was of, in the file that is read.
    number: Option<u32>,
}

impl Recording {
    fn new(contents: Contents, range: Range) -> Result<Self, CliError> {
        let streams = contents.streams();
        for (segment, stream) in
            contents.segments.iter().flat_map(|segment| segment.streams.iter().map(move |s| (segment, &s.1)))
        {
            let first = streams.iter().find(|first| first.info.key == stream.info.key);
            let shape = |stream: &Stream| {
                let info = &stream.info;
                format!(
                    "{} channels of {} at {} Hz",
                    info.channels.len(),
                    info.sample_type,
                    info.sample_rate_hz
                )
            };
            let (expected, found) = (first.map(shape), shape(stream));
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                return Err(usage(format_args!(
                    "{}: stream '{}' has {found} and {expected} before; decode the files apart",
                    segment.path.display(),
                    stream.info.key
                )));
            }
        }
        Ok(Self { contents, streams, range })
    }

    fn name(&self) -> String {
        match &self.contents.segments[..] {
            [segment] => segment.path.display().to_string(),
            segments => format!("{} files", segments.len()),
        }
    }

    fn choose(&self, keys: &[String]) -> Result<Vec<&Stream>, CliError> {
        let known = || {
            let keys: Vec<&str> = self.streams.iter().map(|stream| stream.info.key.as_str()).collect();
            keys.join(", ")
        };
        if self.streams.is_empty() {
            return Err(CliError::new(
                exit::DATA,
                format_args!("{}: no streams: nothing to decode", self.name()),
            ));
        }
        if keys.is_empty() {
            return Ok(self.streams.iter().collect());
        }
        keys.iter()
            .map(|key| {
                let stream = self.streams.iter().find(|stream| stream.info.key.as_str() == key);
                stream.ok_or_else(|| usage(format_args!("no stream '{key}' in the file; it has {}", known())))
            })
            .collect()
    }

    /// Rows of one file need one sample rate; raw files also one length and one sample type.
    fn check_alignment(&self, group: &[&Stream], format: Format) -> Result<(), CliError> {
        let Some((Stream { info: first, samples: first_len, .. }, others)) = group.split_first() else {
            return Ok(());
        };
        for Stream { info, samples: len, .. } in others {
            let difference = if info.sample_rate_hz != first.sample_rate_hz {
                format!("sample rates ({} and {} Hz)", first.sample_rate_hz, info.sample_rate_hz)
            } else if format == Format::Raw && info.sample_type != first.sample_type {
                format!("sample types ({} and {})", first.sample_type, info.sample_type)
            } else if format == Format::Raw && self.range.is_all() && len != first_len {
                format!("lengths ({first_len} and {len} samples)")
            } else {
                continue;
            };
            return Err(usage(format_args!(
                "streams '{}' and '{}' have different {difference} and do not fit one file; choose one with --stream, or give a folder: -o DIR/",
                first.key, info.key
            )));
        }
        Ok(())
    }

    /// The streams of `group` with their columns.
    fn tracks(&self, group: &[&Stream], first: &Segment) -> Result<HashMap<StreamKey, Track>, CliError> {
        let first_frame = group.iter().filter_map(|stream| stream.first_frame).min().unwrap_or(0);
        // Damage at the beginning may have cost what one packet held.
        let cut = first.damaged && first_frame <= u64::from(MAX_FRAMES);
        let first_frame = if cut { 0 } else { first_frame };
        let mut tracks = HashMap::new();
        let mut first_column = 0;
        for stream in group {
            let window = match self.range.is_all() {
                true => Window::ALL,
                false => self
                    .range
                    .of_stream(stream.first_ns)
                    .map_err(|error| usage(format_args!("stream '{}' {error}", stream.info.key)))?,
            };
            let channels = stream.info.channels.len();
            let columns = Columns { first: first_column, channels };
            first_column += channels;
            let continuity = match self.range.is_all() {
                true => Continuity::from_frame(first_frame),
                false => Continuity::new(),
            };
            let track = Track { columns, continuity, window, rows_from_ns: None, number: None };
            tracks.insert(stream.info.key.clone(), track);
        }
        if group.len() > 1 && !self.range.is_all() {
            let begins = group.iter().filter_map(|stream| stream.first_ns).min();
            for track in tracks.values_mut() {
                let begin = if track.window.timed { begins.unwrap_or(i64::MIN) } else { 0 };
                track.rows_from_ns = Some(track.window.from_ns.max(begin));
            }
        }
        Ok(tracks)
    }

    /// Decodes the streams of `group` into `output`.
    fn decode(
        &self,
        group: &[&Stream],
        mut output: Output,
        decoders: &mut Decoders,
    ) -> Result<Troubles, CliError> {
        let mut troubles = Troubles::default();
        let segments = self.contents.in_order(&|key| group.iter().any(|stream| stream.info.key == *key));
        if let Some(first) = segments.first() {
            let mut tracks = self.tracks(group, first)?;
            for segment in segments {
                self.decode_segment(segment, &mut tracks, &mut output, decoders, &mut troubles)?;
            }
        }
        output.finish()?;
        Ok(troubles)
    }

    fn decode_segment(
        &self,
        segment: &Segment,
        tracks: &mut HashMap<StreamKey, Track>,
        output: &mut Output,
        decoders: &mut Decoders,
        troubles: &mut Troubles,
    ) -> Result<(), CliError> {
        let path = &segment.path;
        let mut reader = match self.range.is_all() {
            true => SegmentReader::whole(path)?,
            false => {
                let windows = segment
                    .streams
                    .iter()
                    .filter_map(|(number, stream)| Some((*number, tracks.get(&stream.info.key)?.window)));
                SegmentReader::part(path, windows.collect())?
            }
        };
        let mut keys: HashMap<u32, StreamKey> = HashMap::new();
        tracks.values_mut().for_each(|track| track.number = None);
        loop {
            match reader.next_event(path)? {
                Event::Stream { number, info, .. } => {
                    keys.insert(number, info.key);
                }
                Event::Damage { offset, bytes, error } => {
                    troubles
                        .tell(&format!("{}: byte {offset}: {bytes} bytes damaged: {error}", path.display()));
                }
                Event::End { torn_bytes, closed } => {
                    troubles.torn_bytes += torn_bytes;
                    if !closed && torn_bytes == 0 {
                        warn(&format!(
                            "{}: its writer has not closed it; there may be more to come",
                            path.display()
                        ));
                    }
                    return Ok(());
                }
                Event::Packet { stream, packet, .. } => {
                    let track = keys.get(&stream).and_then(|key| tracks.get_mut(key));
                    let Some(track) = track else { continue };
                    let kept = track.window.samples(&packet.header);
                    if kept.is_empty() {
                        continue;
                    }
                    if track.number.replace(stream) != Some(stream) {
                        track.continuity.go_on_with_other();
                    }
                    track.lead(&packet.header, kept.start, output)?;
                    let mut appending = Appending { decoders, troubles };
                    let place = || path.display().to_string();
                    let Track { columns, continuity, .. } = track;
                    appending.append(&packet, continuity, output, *columns, kept, &place)?;
                }
            }
        }
    }
}

impl Track {
    /// Before the first packet: rows without values from where the other streams may have begun.
    fn lead(&mut self, header: &Header, kept_from: u64, output: &mut Output) -> Result<(), CliError> {
        let Some(rows_from_ns) = self.rows_from_ns.take() else { return Ok(()) };
        let late_ns = self.window.start_of(header).saturating_sub(rows_from_ns).max(0);
        let late = (late_ns as f64 * header.sample_rate_hz / 1e9 - ROUNDING).ceil().max(0.0) as u64;
        // Where the packet begins before the rows do, its first sample is one that is wanted.
        let rows = if kept_from > 0 { 0 } else { late };
        if rows > 0 && self.window.timed {
            output.at(self.columns.first, rows_from_ns);
        }
        output.skip(self.columns.first, self.columns.channels, rows.min(super::append::MAX_FILLED_ROWS))
    }
}

fn columns(group: &[&Stream], physical: bool) -> Vec<Column> {
    let mut columns = Vec::new();
    for Stream { info, .. } in group {
        let several = info.channels.len() > 1;
        for channel in &info.channels {
            let name = if several { format!("{}/{}", info.key, channel.name) } else { info.key.to_string() };
            columns.push(Column {
                name,
                sample_type: info.sample_type,
                sample_rate_hz: info.sample_rate_hz,
                channel: channel.clone(),
                physical,
            });
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::ModelDirectory;
    use crate::packet::rvl::Writer;
    use crate::packet::{ChannelSide, Header, Packet};
    use crate::signal::{ChannelInfo, SampleType, StreamInfo, StreamKey};

    /// Frames of one value each: their number, without its thousands.
    fn packet(model: &ModelDirectory, first_frame: u64, frames: u32) -> Packet {
        let side =
            (first_frame..).take(frames as usize).map(|number| ChannelSide::Constant((number % 1000) as f64));
        Packet {
            header: Header {
                model: model.id(),
                key_packet: true,
                after_gap: false,
                sample_type: SampleType::I16,
                channels: 1,
                sample_rate_hz: 360.0,
                frame_size: 512,
                first_frame,
                time_ns: None,
                frames,
                last_valid: 512,
            },
            side: side.collect(),
            layers: Vec::new(),
        }
    }

    /// Decodes a file of packets of so many frames, and returns the rows of each frame and what was said.
    fn decoded(packets: &[(u64, u32)]) -> (Vec<String>, Troubles) {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let model = ModelDirectory::load(&models.join("ecg-16x")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("a.rvl"), folder.path().join("a.csv"));
        let mut writer = Writer::new(Vec::new()).unwrap();
        let info = StreamInfo {
            key: StreamKey::new("a"),
            sample_rate_hz: 360.0,
            sample_type: SampleType::I16,
            stored_bits: 16,
            channels: vec![ChannelInfo::unscaled("")],
        };
        let stream = writer.add_stream(&info).unwrap();
        for (first_frame, frames) in packets {
            let bytes = packet(&model, *first_frame, *frames).to_bytes().unwrap();
            writer.write_packet(stream, &bytes).unwrap();
        }
        std::fs::write(&input, writer.finish().unwrap().0).unwrap();
        let contents = Contents::of(std::slice::from_ref(&input), false).unwrap();
        let recording = Recording::new(contents, Range::default()).unwrap();
        let group = recording.choose(&[]).unwrap();
        let mut decoders = Decoders::new(crate::model::ModelLibrary::new(vec![models]), None);
        let sink = Output::create(&output, Format::Csv, columns(&group, false)).unwrap();
        let troubles = recording.decode(&group, sink, &mut decoders).unwrap();
        let text = std::fs::read_to_string(output).unwrap();
        let rows: Vec<&str> = text.lines().skip(1).collect();
        let frames = rows.chunks(512).map(|frame| {
            assert!(frame.len() == 512 && frame.iter().all(|row| row == &frame[0]));
            frame[0].to_owned()
        });
        (frames.collect(), troubles)
    }

    #[test]
    fn frames_that_come_again_are_left_out() {
        let (frames, troubles) = decoded(&[(0, 2), (0, 2), (1, 3), (0, 1), (4, 1)]);
        assert_eq!(frames, ["0", "1", "2", "3", "4"]);
        assert_eq!((troubles.repeated_frames, troubles.lost_samples, troubles.places), (4, 0, 0));
        troubles.into_result("a").unwrap();
    }

    #[test]
    fn frames_that_are_missing_are_rows_without_values() {
        let (frames, troubles) = decoded(&[(1, 1), (4, 1), (3, 2)]);
        assert_eq!(frames, ["1", "", "", "4"], "a segment begins with any frame");
        assert_eq!((troubles.repeated_frames, troubles.lost_samples), (2, 2 * 512));
        assert_eq!(troubles.into_result("a").unwrap_err().code, exit::DATA);
    }

    #[test]
    fn a_hole_that_would_fill_the_disk_is_told_and_not_filled() {
        let (frames, troubles) = decoded(&[(0, 1), (1 << 40, 1)]);
        assert_eq!((frames.len(), troubles.places), (2, 1));
        assert_eq!(troubles.lost_samples, ((1 << 40) - 1) * 512);
    }
}
