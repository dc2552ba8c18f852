//! Decodes a `.rvl` file.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use super::append::{Appending, Columns};
use super::format::Format;
use super::names::FileNames;
use super::output::{Column, Output};
use super::troubles::Troubles;
use super::{Arguments, read_error, usage};
use crate::cli::{CliError, exit, warn};
use crate::packet::Continuity;
use crate::packet::rvl::{Event, Reader};
use crate::pipeline::Decoders;
use crate::signal::StreamInfo;

pub(super) fn run(arguments: &Arguments, format: Format) -> Result<(), CliError> {
    let path = &arguments.input;
    let contents = Contents::scan(path)?;
    let chosen = contents.choose(&arguments.streams)?;
    let into_folder = arguments.wants_folder();
    let groups: Vec<Vec<u32>> =
        if into_folder { chosen.iter().map(|number| vec![*number]).collect() } else { vec![chosen] };

    let mut decoders = Decoders::new(arguments.library(), None);
    let mut names = FileNames::default();
    let mut troubles = Troubles::default();
    for group in groups {
        let output = match into_folder {
            true => arguments.output.join(names.name(contents.key(&group), format)),
            false => arguments.output.clone(),
        };
        if format == Format::Raw || !into_folder {
            contents.check_alignment(&group, format)?;
        }
        let output = Output::create(&output, format, contents.columns(&group, arguments.physical))?;
        troubles.add(&decode(path, &group, &contents, output, &mut decoders)?);
    }
    if troubles.repeated_frames > 0 {
        let frames = troubles.repeated_frames;
        warn(&format!("{}: {frames} repeated frames left out", path.display()));
    }
    troubles.into_result(&path.display().to_string())
}

/// What a file holds, found by one pass over it without decoding.
struct Contents {
    streams: BTreeMap<u32, (StreamInfo, u64)>,
}

impl Contents {
    fn scan(path: &Path) -> Result<Self, CliError> {
        let mut streams = BTreeMap::<u32, (StreamInfo, u64)>::new();
        let mut reader = open(path)?;
        loop {
            match reader.next_event().map_err(|error| read_error(path, &error))? {
                Event::Stream { number, info, .. } => {
                    streams.entry(number).or_insert((info, 0));
                }
                Event::Packet { stream, packet, .. } => {
                    if let Some((_, end)) = streams.get_mut(&stream) {
                        *end += packet.header.valid_samples();
                    }
                }
                Event::Damage { .. } => {}
                Event::End { .. } => return Ok(Self { streams }),
            }
        }
    }

    fn choose(&self, keys: &[String]) -> Result<Vec<u32>, CliError> {
        let known = || {
            let keys: Vec<&str> = self.streams.values().map(|(info, _)| info.key.as_str()).collect();
            if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
        };
        if self.streams.is_empty() {
            return Err(CliError::new(exit::DATA, "the file has no streams: nothing to decode"));
        }
        if keys.is_empty() {
            return Ok(self.streams.keys().copied().collect());
        }
        keys.iter()
            .map(|key| {
                self.streams
                    .iter()
                    .find(|(_, (info, _))| info.key.as_str() == key)
                    .map(|(number, _)| *number)
                    .ok_or_else(|| usage(format_args!("no stream '{key}' in the file; it has {}", known())))
            })
            .collect()
    }

    /// Rows of one file need one sample rate; raw files also one length and one sample type.
    fn check_alignment(&self, group: &[u32], format: Format) -> Result<(), CliError> {
        let mut streams = group.iter().filter_map(|number| self.streams.get(number));
        let Some((first, first_len)) = streams.next() else { return Ok(()) };
        for (info, len) in streams {
            let difference = if info.sample_rate_hz != first.sample_rate_hz {
                format!("sample rates ({} and {} Hz)", first.sample_rate_hz, info.sample_rate_hz)
            } else if format == Format::Raw && info.sample_type != first.sample_type {
                format!("sample types ({} and {})", first.sample_type, info.sample_type)
            } else if format == Format::Raw && len != first_len {
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

    fn columns(&self, group: &[u32], physical: bool) -> Vec<Column> {
        let mut columns = Vec::new();
        for (info, _) in group.iter().filter_map(|number| self.streams.get(number)) {
            let several = info.channels.len() > 1;
            for channel in &info.channels {
                let name =
                    if several { format!("{}/{}", info.key, channel.name) } else { info.key.to_string() };
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

    /// The key of a group's first stream.
    fn key(&self, group: &[u32]) -> &str {
        let first = group.first().and_then(|number| self.streams.get(number));
        first.map_or("stream", |(info, _)| info.key.as_str())
    }
}

/// Decodes the streams of `group` into `output`.
fn decode(
    path: &Path,
    group: &[u32],
    contents: &Contents,
    mut output: Output,
    decoders: &mut Decoders,
) -> Result<Troubles, CliError> {
    let mut troubles = Troubles::default();
    let mut first = 0;
    let mut places = BTreeMap::new();
    for number in group {
        let channels = contents.streams.get(number).map_or(0, |(info, _)| info.channels.len());
        places.insert(*number, (Columns { first, channels }, Continuity::from_frame(0)));
        first += channels;
    }
    let mut reader = open(path)?;
    loop {
        match reader.next_event().map_err(|error| read_error(path, &error))? {
            Event::Stream { .. } => {}
            Event::Damage { offset, bytes, error } => {
                troubles.tell(&format!("{}: byte {offset}: {bytes} bytes damaged: {error}", path.display()));
            }
            Event::End { torn_bytes, closed } => {
                troubles.torn_bytes = torn_bytes;
                if !closed && torn_bytes == 0 {
                    warn(&format!(
                        "{}: its writer has not closed it; there may be more to come",
                        path.display()
                    ));
                }
                break;
            }
            Event::Packet { stream, packet, .. } => {
                let Some((columns, continuity)) = places.get_mut(&stream) else { continue };
                let mut appending = Appending { decoders, troubles: &mut troubles };
                let place = || path.display().to_string();
                appending.append(&packet, continuity, &mut output, *columns, &place)?;
            }
        }
    }
    output.finish()?;
    Ok(troubles)
}

fn open(path: &Path) -> Result<Reader<File>, CliError> {
    let file = File::open(path)
        .map_err(|error| CliError::new(exit::NO_INPUT, format_args!("{}: {error}", path.display())))?;
    Ok(Reader::new(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelDirectory;
    use crate::packet::rvl::Writer;
    use crate::packet::{ChannelSide, Header, Packet};
    use crate::signal::{ChannelInfo, SampleType, StreamKey};

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
        let contents = Contents::scan(&input).unwrap();
        let mut decoders = Decoders::new(crate::model::ModelLibrary::new(vec![models]), None);
        let sink = Output::create(&output, Format::Csv, contents.columns(&[0], false)).unwrap();
        let troubles = decode(&input, &[0], &contents, sink, &mut decoders).unwrap();
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
        assert_eq!(frames, ["", "1", "", "", "4"]);
        assert_eq!((troubles.repeated_frames, troubles.lost_samples), (2, 3 * 512));
        assert_eq!(troubles.into_result("a").unwrap_err().code, exit::DATA);
    }

    #[test]
    fn a_hole_that_would_fill_the_disk_is_told_and_not_filled() {
        let (frames, troubles) = decoded(&[(0, 1), (1 << 40, 1)]);
        assert_eq!((frames.len(), troubles.places), (2, 1));
        assert_eq!(troubles.lost_samples, ((1 << 40) - 1) * 512);
    }
}
