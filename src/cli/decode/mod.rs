//! `rivulet decode`: turns packets back into samples.

mod output;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use self::output::{Column, Format, Output};
use super::{CliError, exit};
use crate::codec::{CodecError, Decoder, RvqDecoder};
use crate::model::{LibraryError, ModelId, ModelLibrary};
use crate::packet::Packet;
use crate::packet::rvl::{Event, Reader};
use crate::signal::StreamInfo;

/// Damaged places beyond this many are counted but not told one by one.
const TOLD_DAMAGE: u64 = 10;

/// Arguments of `rivulet decode`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The .rvl file.
    file: PathBuf,
    /// Where the samples go: FILE.csv, FILE.raw, or a folder for one CSV file a stream.
    #[arg(short, long)]
    output: PathBuf,
    /// Write csv or raw, whatever the output's extension is.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Decode this stream only; may be repeated.
    #[arg(long = "stream", value_name = "KEY")]
    streams: Vec<String>,
    /// A model directory, or a folder of them; may be repeated. The folder `models` is searched last.
    #[arg(long = "model", value_name = "DIR")]
    models: Vec<PathBuf>,
    /// Write physical values, (sample - baseline) / gain, instead of samples.
    #[arg(long)]
    physical: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let format = match arguments.format {
        Some(format) => format,
        None => Format::of(&arguments.output)?,
    };
    let contents = Contents::scan(&arguments.file)?;
    let chosen = contents.choose(&arguments.streams)?;
    let into_folder =
        arguments.output.is_dir() || arguments.output.as_os_str().to_string_lossy().ends_with('/');
    let groups: Vec<Vec<u32>> =
        if into_folder { chosen.iter().map(|number| vec![*number]).collect() } else { vec![chosen] };

    let mut folders = arguments.models.clone();
    folders.push(PathBuf::from("models"));
    let mut decoders = Decoders { library: ModelLibrary::new(folders), loaded: HashMap::new() };
    let mut troubles = Troubles::default();
    for group in groups {
        let path = if into_folder {
            arguments.output.join(contents.file_name(&group, format))
        } else {
            arguments.output.clone()
        };
        let columns = contents.columns(&group, arguments.physical);
        if format == Format::Raw || !into_folder {
            contents.check_alignment(&group, format)?;
        }
        let output = Output::create(&path, format, columns)?;
        troubles.add(decode(&arguments.file, &group, &contents, output, &mut decoders)?);
    }
    troubles.into_result(&arguments.file)
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
                    .ok_or_else(|| {
                        CliError::new(
                            exit::USAGE,
                            format_args!("no stream '{key}' in the file; it has {}", known()),
                        )
                    })
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
            return Err(CliError::new(
                exit::USAGE,
                format_args!(
                    "streams '{}' and '{}' have different {difference} and do not fit one file; choose one with --stream, or give a folder: -o DIR/",
                    first.key, info.key
                ),
            ));
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
                    physical: physical.then_some((channel.gain, channel.baseline)),
                });
            }
        }
        columns
    }

    /// A file name for a stream: its key with what file systems dislike replaced.
    fn file_name(&self, group: &[u32], format: Format) -> String {
        let key = group
            .first()
            .and_then(|number| self.streams.get(number))
            .map_or("stream", |(info, _)| info.key.as_str());
        let safe: String =
            key.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
        let safe = safe.trim_start_matches('.');
        format!("{}.{}", if safe.is_empty() { "stream" } else { safe }, format.extension())
    }
}

/// Decoders of the models that packets name, loaded when first needed.
struct Decoders {
    library: ModelLibrary,
    loaded: HashMap<ModelId, RvqDecoder>,
}

impl Decoders {
    fn decode(&mut self, packet: &Packet) -> Result<Result<Vec<f64>, CodecError>, CliError> {
        let id = packet.header.model;
        if !self.loaded.contains_key(&id) {
            let model = self.library.load(id).map_err(|error| library_error(&error))?;
            let decoder = RvqDecoder::new(&model).map_err(|error| CliError::new(exit::CONFIG, error))?;
            self.loaded.insert(id, decoder);
        }
        match self.loaded.get_mut(&id) {
            Some(decoder) => Ok(decoder.decode(packet)),
            None => Err(CliError::new(exit::INTERNAL, "a decoder went missing")),
        }
    }
}

/// What could not be decoded.
#[derive(Default)]
struct Troubles {
    places: u64,
    lost_samples: u64,
    torn_bytes: u64,
}

impl Troubles {
    fn tell(&mut self, what: &str) {
        self.places += 1;
        if self.places <= TOLD_DAMAGE {
            super::warn(what);
        }
        if self.places == TOLD_DAMAGE {
            super::warn("further damage is counted, not told");
        }
    }

    fn add(&mut self, other: Self) {
        self.places = self.places.max(other.places);
        self.lost_samples += other.lost_samples;
        self.torn_bytes = self.torn_bytes.max(other.torn_bytes);
    }

    fn into_result(self, path: &Path) -> Result<(), CliError> {
        if self.places == 0 && self.torn_bytes == 0 {
            return Ok(());
        }
        let torn = match self.torn_bytes {
            0 => String::new(),
            bytes => format!(", a torn end of {bytes} bytes left out"),
        };
        Err(CliError::new(
            exit::DATA,
            format_args!(
                "{}: {} damaged places, {} samples lost{torn}; everything else was decoded",
                path.display(),
                self.places,
                self.lost_samples
            ),
        ))
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
    let mut first_column = 0;
    let mut places = BTreeMap::new();
    for number in group {
        let channels = contents.streams.get(number).map_or(0, |(info, _)| info.channels.len());
        places.insert(*number, Place { first_column, channels, next_frame: 0 });
        first_column += channels;
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
                    super::warn(&format!(
                        "{}: its writer has not closed it; there may be more to come",
                        path.display()
                    ));
                }
                break;
            }
            Event::Packet { stream, packet, .. } => {
                let Some(place) = places.get_mut(&stream) else { continue };
                let header = &packet.header;
                let missing = header.first_frame.saturating_sub(place.next_frame);
                if missing > 0 {
                    // Lost frames were full ones, as far as anyone can tell.
                    let samples = missing * u64::from(header.frame_size);
                    troubles.lost_samples += samples * place.channels as u64;
                    output.skip(place.first_column, place.channels, samples)?;
                }
                place.next_frame = header.first_frame + u64::from(header.frames);
                match decoders.decode(&packet)? {
                    Ok(samples) => output.push(place.first_column, place.channels, &samples)?,
                    Err(error) => {
                        let samples = header.valid_samples();
                        troubles.lost_samples += samples * place.channels as u64;
                        troubles.tell(&format!("{}: frame {}: {error}", path.display(), header.first_frame));
                        output.skip(place.first_column, place.channels, samples)?;
                    }
                }
            }
        }
    }
    output.finish()?;
    Ok(troubles)
}

struct Place {
    first_column: usize,
    channels: usize,
    next_frame: u64,
}

fn open(path: &Path) -> Result<Reader<File>, CliError> {
    let file = File::open(path)
        .map_err(|error| CliError::new(exit::NO_INPUT, format_args!("{}: {error}", path.display())))?;
    Ok(Reader::new(file))
}

fn read_error(path: &Path, error: &crate::packet::PacketError) -> CliError {
    CliError::new(exit::DATA, format_args!("{}: {error}", path.display()))
}

fn library_error(error: &LibraryError) -> CliError {
    CliError::new(exit::CONFIG, error)
}
